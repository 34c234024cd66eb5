"""Point clouds as binary PLY files. Axes are OpenCV's (x right, y down, z forward)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ply_bytes(points: NDArray[np.float64], colours: NDArray[np.uint8]) -> bytes:
    """Encode points ``v 3`` and their colours as a binary little-endian PLY file: float32 and 8 bits."""
    names = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    records = np.empty(len(points), names)
    for axis, name in enumerate("xyz"):
        records[name] = points[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        records[name] = colours[:, channel]
    properties = [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in names]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(records)}", *properties, "end_header", ""]
    return "\n".join(header).encode() + records.tobytes()
