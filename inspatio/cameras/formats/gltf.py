"""Write a camera path as a glTF 2.0 animation, which Blender, Unreal, Unity and three.js open.

One JSON file with its numbers inside. glTF's axes are x right, y up, z towards the viewer, for the world and for
cameras, which look along -z: y and z of this package's OpenCV axes change sign on both sides of a pose. Rotations are
quaternions x y z w, times are seconds.

Source: glTF 2.0 specification (https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html).
"""

from __future__ import annotations

import base64
import json
import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.types import CameraToWorld

_FLOAT = 5126
_AXES = np.diag([1.0, -1.0, -1.0, 1.0])


def write_gltf_camera(path: CameraToWorld, frame_rate: float, focal: float, size: tuple[int, int]) -> str:
    """The text of a .gltf file.

    Args:
        path: ``n 4 4`` poses, one a frame.
        frame_rate: frames a second.
        focal: vertical focal length in pixels.
        size: (height, width) in pixels.
    """
    poses = _AXES @ path @ _AXES
    height, width = size
    data, views, accessors = b"", [], []

    def store(array: NDArray[np.float64], kind: str, **more: object) -> int:
        nonlocal data
        content = array.astype("<f4").tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(content)})
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": _FLOAT, "count": len(array), "type": kind, **more}
        )
        data += content
        return len(accessors) - 1

    times = np.arange(len(poses)) / frame_rate
    time = store(times, "SCALAR", min=[0.0], max=[float(np.float32(times[-1]))])
    rotations = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    # Neighbours on one side of the sphere: interpolation takes the short way.
    flips = np.cumprod(np.where((rotations[1:] * rotations[:-1]).sum(1) < 0, -1.0, 1.0))
    rotations[1:] *= flips[:, None]
    moves = {"translation": store(poses[:, :3, 3], "VEC3"), "rotation": store(rotations, "VEC4")}
    document = {
        "asset": {"version": "2.0", "generator": "inspatio"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "flight", "camera": 0}],
        "cameras": [
            {
                "type": "perspective",
                "perspective": {
                    "yfov": 2 * math.atan(height / 2 / focal),
                    "aspectRatio": width / height,
                    "znear": 0.01,
                },
            }
        ],
        "animations": [
            {
                "samplers": [{"input": time, "output": each, "interpolation": "LINEAR"} for each in moves.values()],
                "channels": [{"sampler": i, "target": {"node": 0, "path": name}} for i, name in enumerate(moves)],
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [
            {
                "byteLength": len(data),
                "uri": "data:application/octet-stream;base64," + base64.b64encode(data).decode(),
            }
        ],
    }
    return json.dumps(document)
