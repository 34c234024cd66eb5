"""Write glTF 2.0 files: camera paths as animations, points and lines, for Blender, Unreal, Unity and three.js.

glTF's axes are x right, y up, z towards the viewer, for the world and for cameras, which look along -z: y and z of this
package's OpenCV axes change sign on both sides of a pose (``conventions.py``). Rotations are quaternions x y z w, times
are seconds. A focal length that changes is animated by the extension KHR_animation_pointer; programs that do not know
it show the first one.

Source: glTF 2.0 specification (https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html).
"""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.conventions import from_camera_to_world
from inspatio.cameras.formats.lenses import vertical_fov
from inspatio.cameras.poses import compose, invert

FLOAT, SHORT = 5126, 5123
"""glTF's component types float32 and uint16."""
POINTS, LINES = 0, 1
"""glTF's primitive modes."""
VERTEX_BUFFER = 34962
POINTER = "KHR_animation_pointer"
_NEAR = 0.01


class GltfDocument:
    """A glTF document under construction: nodes, cameras, meshes and animations with their numbers in one buffer."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._samplers: list[dict[str, Any]] = []
        self._channels: list[dict[str, Any]] = []

    def store(self, array: NDArray, kind: str, component: int = FLOAT, target: int | None = None, **more: Any) -> int:
        """Append numbers to the buffer (of four bytes, or an even count of two bytes); returns their accessor."""
        content = (array.astype("<f4") if component == FLOAT else array).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._data), "byteLength": len(content)}
        view |= {} if target is None else {"target": target}
        accessor = {"bufferView": self._add("bufferViews", view), "componentType": component, "count": len(array)}
        self._data += content
        return self._add("accessors", {**accessor, "type": kind, **more})

    def store_positions(self, points: NDArray[np.float64]) -> int:
        """Append world points ``n 3`` (this package's axes); returns their accessor."""
        poses = from_camera_to_world("gltf", compose(np.eye(3), np.asarray(points, np.float64)))
        values = poses[:, :3, 3].astype("<f4")
        lowest, highest = values.min(axis=0).tolist(), values.max(axis=0).tolist()
        return self.store(values, "VEC3", target=VERTEX_BUFFER, min=lowest, max=highest)

    def add_mesh(self, primitives: list[dict[str, Any]], name: str) -> None:
        """Add a mesh and a node that shows it."""
        self._add("nodes", {"name": name, "mesh": self._add("meshes", {"primitives": primitives})})

    def add_camera_path(self, name: str, cameras: Cameras, frame_rate: float, size: tuple[int, int]) -> None:
        """Add an animated camera for frames of (height, width) ``size``, one pose a frame."""
        poses = from_camera_to_world("gltf", invert(cameras.world_to_camera))
        fov = vertical_fov(cameras.intrinsics, size)
        perspective = {"yfov": float(fov[0]), "aspectRatio": size[1] / size[0], "znear": _NEAR}
        camera = self._add("cameras", {"name": name, "type": "perspective", "perspective": perspective})
        node = self._add("nodes", {"name": name, "camera": camera})
        times = np.arange(len(poses)) / frame_rate
        time = self.store(times, "SCALAR", min=[0.0], max=[float(np.float32(times[-1]))])
        rotations = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
        # Neighbours on one side of the sphere: interpolation takes the short way.
        flips = np.cumprod(np.where((rotations[1:] * rotations[:-1]).sum(1) < 0, -1.0, 1.0))
        rotations[1:] *= flips[:, None]
        self._animate(time, self.store(poses[:, :3, 3], "VEC3"), {"node": node, "path": "translation"})
        self._animate(time, self.store(rotations, "VEC4"), {"node": node, "path": "rotation"})
        if np.ptp(fov) > 0:
            pointer = {"pointer": f"/cameras/{camera}/perspective/yfov"}
            self._animate(time, self.store(fov, "SCALAR"), {"path": "pointer", "extensions": {POINTER: pointer}})

    def text(self) -> str:
        """The document as .gltf, with its numbers inside."""
        uri = "data:application/octet-stream;base64," + base64.b64encode(self._data).decode()
        return json.dumps(self._document({"uri": uri}))

    def binary(self) -> bytes:
        """The document as .glb."""
        text = json.dumps(self._document({})).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self._data), b"BIN\0") + bytes(self._data)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def _add(self, kind: str, entry: dict[str, Any]) -> int:
        entries = self._lists.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def _animate(self, time: int, output: int, target: dict[str, Any]) -> None:
        self._samplers.append({"input": time, "output": output, "interpolation": "LINEAR"})
        self._channels.append({"sampler": len(self._samplers) - 1, "target": target})

    def _document(self, buffer: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "inspatio"},
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self._lists.get("nodes", []))))}],
            **self._lists,
            "buffers": [{"byteLength": len(self._data), **buffer}],
        }
        if self._channels:
            document["animations"] = [{"samplers": self._samplers, "channels": self._channels}]
        if any(channel["target"]["path"] == "pointer" for channel in self._channels):
            document["extensionsUsed"] = [POINTER]
        return document


def write_gltf_camera(cameras: Cameras, frame_rate: float, size: tuple[int, int]) -> str:
    """The text of a .gltf file with one animated camera."""
    document = GltfDocument()
    document.add_camera_path("camera", cameras, frame_rate, size)
    return document.text()
