"""Point clouds and camera paths as binary glTF 2.0 files (.glb).

glTF's axes are x right, y up, z towards the viewer: y and z of this package's OpenCV axes change sign.

Source: glTF 2.0 specification (https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html).
"""

from __future__ import annotations

import json
import struct

import numpy as np
from numpy.typing import NDArray

from inspatio.export.points import PointCloud

_FLOAT, _BYTE = 5126, 5121
"""glTF's component types float32 and uint8."""
_POINTS, _LINES = 0, 1
"""glTF's primitive modes."""
_VERTEX_BUFFER = 34962
_TO_GLTF = np.array([1.0, -1.0, -1.0])


def glb_bytes(cloud: PointCloud, path: NDArray[np.float64]) -> bytes:
    """Encode a point cloud and a camera path (camera centres ``n 3``, drawn as a line) as a .glb file."""
    positions = (cloud.points * _TO_GLTF).astype("<f4")
    # Four bytes per colour, because glTF requires vertex attributes to be aligned to four bytes.
    colours = np.concatenate([cloud.colours, np.full((len(positions), 1), 255, np.uint8)], axis=-1)
    line = (path * _TO_GLTF).astype("<f4")
    if len(line) > 1:
        # One segment per step, because not every reader supports line strips.
        line = np.stack([line[:-1], line[1:]], axis=1).reshape(-1, 3)
    parts, views, accessors, primitives = [], [], [], []
    offset = 0

    def store(array: NDArray, kind: str, component: int, **more: object) -> int:
        """Append an array to the buffer and return the index of its accessor."""
        nonlocal offset
        data = array.tobytes()
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(data), "target": _VERTEX_BUFFER})
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": component, "count": len(array), "type": kind, **more}
        )
        parts.append(data)
        offset += len(data)
        return len(accessors) - 1

    def store_positions(array: NDArray) -> int:
        return store(array, "VEC3", _FLOAT, min=array.min(axis=0).tolist(), max=array.max(axis=0).tolist())

    if len(positions):
        attributes = {"POSITION": store_positions(positions), "COLOR_0": store(colours, "VEC4", _BYTE, normalized=True)}
        primitives.append({"attributes": attributes, "mode": _POINTS})
    primitives.append({"attributes": {"POSITION": store_positions(line)}, "mode": _LINES if len(line) > 1 else _POINTS})
    document = {
        "asset": {"version": "2.0", "generator": "inspatio"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": primitives}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", offset, b"BIN\0") + b"".join(parts)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
