"""Read camera paths from glTF 2.0 files (.gltf, .glb), as Blender and this project write them.

Of several cameras, one named ``source`` is taken as the source clip's own, and the last of the others as the path.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from inspatio.cameras.camera_path import CameraPath
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.checks import check_fov, poses_from_quaternions, rising
from inspatio.cameras.formats.conventions import to_camera_to_world
from inspatio.cameras.formats.gltf import FLOAT, POINTER
from inspatio.cameras.formats.lenses import from_vertical_fov
from inspatio.cameras.poses import compose, invert
from inspatio.errors import ClipError

SOURCE = "source"
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_DEPTH = 64
"""Nodes above each other in a tree; more is a circle."""
_MAGIC, _JSON, _BINARY = b"glTF", b"JSON", b"BIN\0"


def read_gltf(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read the camera animation of a .gltf or .glb file.

    Raises:
        ClipError: the file has no camera, or is not whole.
    """
    try:
        document, binary = _load(path)
        return _read(path, _Gltf(path, document, binary), size)
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError, struct.error) as error:
        raise ClipError(f"{path}: not a whole glTF 2.0 file ({type(error).__name__}: {error})") from None


def _load(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error.strerror})") from None
    if content[:4] != _MAGIC:
        return json.loads(content.decode("utf-8-sig")), b""
    chunks, offset = {}, 12
    while offset + 8 <= len(content):
        length, kind = struct.unpack_from("<I4s", content, offset)
        chunks.setdefault(kind, content[offset + 8 : offset + 8 + length])
        offset += 8 + length
    return json.loads(chunks[_JSON]), chunks.get(_BINARY, b"")


class _Gltf:
    """A parsed document with what is needed of it: nodes, their parents, and the numbers of accessors."""

    def __init__(self, path: Path, document: dict[str, Any], binary: bytes) -> None:
        self._path, self._binary = path, binary
        self.document = document
        self.nodes: list[dict[str, Any]] = document.get("nodes", [])
        self.parents = {child: index for index, node in enumerate(self.nodes) for child in node.get("children", [])}

    def numbers(self, accessor: int) -> NDArray[np.float64]:
        """The float32 numbers of an accessor, ``count width``."""
        entry = self.document["accessors"][accessor]
        if entry["componentType"] != FLOAT or "sparse" in entry:
            raise ValueError("an animation whose numbers are not plain float32")
        view = self.document["bufferViews"][entry["bufferView"]]
        width, count = _WIDTHS[entry["type"]], entry["count"]
        offset = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        data = self._buffer(view["buffer"])
        if view.get("byteStride", 4 * width) != 4 * width:
            raise ValueError("an animation whose numbers are interleaved")
        return np.frombuffer(data, "<f4", count * width, offset).reshape(count, width).astype(np.float64)

    def _buffer(self, index: int) -> bytes:
        uri = self.document["buffers"][index].get("uri")
        if uri is None:
            return self._binary
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        file = (self._path.parent / uri).resolve()
        if not file.is_relative_to(self._path.parent.resolve()):
            raise ValueError(f"a buffer outside the file's folder: {uri}")
        return file.read_bytes() if file.is_file() else b""


def _read(path: Path, gltf: _Gltf, size: tuple[int, int]) -> CameraPath:
    found = [index for index, node in enumerate(gltf.nodes) if "camera" in node]
    if not found:
        raise ClipError(f"{path}: has no camera, expected a glTF file with an animated camera")
    names = {index: gltf.nodes[index].get("name", f"node {index}") for index in found}
    own = [index for index in found if names[index] != SOURCE]
    chosen = own[-1] if own else found[-1]
    times, camera_to_world = _animated(path, gltf, chosen)
    cameras = _with_lens(path, gltf, chosen, times, camera_to_world, size)
    source = [index for index in found if names[index] == SOURCE and index != chosen]
    notes = [f"{path.name}: camera {names[chosen]!r} of {', '.join(names.values())}"] if len(found) > 1 else []
    return CameraPath(
        cameras,
        has_intrinsics=True,
        times=times,
        source=invert(_animated(path, gltf, source[0])[1]) if source else None,
        notes=tuple(notes),
    )


def _animated(path: Path, gltf: _Gltf, node: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The key times of a node (and of those above it) and its camera_to_world at each, in this package's axes."""
    chain = [node]
    while chain[-1] in gltf.parents and len(chain) < _DEPTH:
        chain.append(gltf.parents[chain[-1]])
    tracks = {each: _tracks(path, gltf, each) for each in chain}
    keys = [times for moves in tracks.values() for times, _ in moves.values()]
    times = np.unique(np.concatenate(keys)) if keys else np.zeros(1)
    world = np.tile(np.eye(4), (len(times), 1, 1))
    for each in reversed(chain):
        world = world @ _local(path, gltf.nodes[each], tracks[each], times)
    scales = np.linalg.norm(world[:, :3, :3], axis=1)
    if scales.min() <= 0:
        raise ClipError(f"{path}: a node above the camera is scaled to nothing")
    world[:, :3, :3] /= scales[:, None]  # a scale above a camera moves it, but does not distort its picture
    return times, to_camera_to_world("gltf", world)


def _tracks(path: Path, gltf: _Gltf, node: int) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Times and values of a node's animated translation and rotation."""
    found = {}
    for animation in gltf.document.get("animations", []):
        for channel in animation["channels"]:
            target = channel["target"]
            if target.get("node") == node and target["path"] in ("translation", "rotation"):
                found[target["path"]] = _values(path, gltf, animation["samplers"][channel["sampler"]])
    return found


def _values(path: Path, gltf: _Gltf, sampler: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times, values = rising(path, gltf.numbers(sampler["input"])[:, 0]), gltf.numbers(sampler["output"])
    # Of a cubic spline the keys are kept, between its tangents; exporters sample every frame.
    return times, values[1::3] if sampler.get("interpolation") == "CUBICSPLINE" else values


def _local(path: Path, node: dict[str, Any], tracks: dict[str, Any], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """``n 4 4`` transforms of a node to its parent."""
    if "matrix" in node:
        return np.tile(np.array(node["matrix"], np.float64).reshape(4, 4).T, (len(times), 1, 1))
    translation = np.tile(np.array(node.get("translation", [0, 0, 0]), np.float64), (len(times), 1))
    rotation = Rotation.from_quat(np.tile(np.array(node.get("rotation", [0, 0, 0, 1]), np.float64), (len(times), 1)))
    if "translation" in tracks:
        keys, values = tracks["translation"]
        translation = np.stack([np.interp(times, keys, values[:, axis]) for axis in range(3)], axis=1)
    if "rotation" in tracks:
        keys, values = tracks["rotation"]
        turns = Rotation.from_matrix(poses_from_quaternions(path, values, np.zeros((len(values), 3)))[:, :3, :3])
        clipped = np.clip(times, keys[0], keys[-1])
        rotation = Slerp(keys, turns)(clipped) if len(keys) > 1 else Rotation.concatenate([turns] * len(times))
    scale = np.diag(np.array(node.get("scale", [1, 1, 1]), np.float64))
    return compose(rotation.as_matrix() @ scale, translation)


def _with_lens(
    path: Path, gltf: _Gltf, node: int, times: NDArray[np.float64], poses: NDArray[np.float64], size: tuple[int, int]
) -> Cameras:
    """The cameras of a path with their field of view, animated where the file does that."""
    number = gltf.nodes[node]["camera"]
    camera = gltf.document["cameras"][number]
    if camera.get("type") != "perspective":
        raise ClipError(f"{path}: camera type {camera.get('type')!r}, expected perspective")
    fov = np.full(len(times), float(camera["perspective"]["yfov"]))
    for animation in gltf.document.get("animations", []):
        for channel in animation["channels"]:
            pointer = channel["target"].get("extensions", {}).get(POINTER, {}).get("pointer")
            if pointer == f"/cameras/{number}/perspective/yfov":
                keys, values = _values(path, gltf, animation["samplers"][channel["sampler"]])
                fov = np.interp(times, keys, values[:, 0])
    return Cameras(from_vertical_fov(check_fov(path, fov), size), invert(poses))
