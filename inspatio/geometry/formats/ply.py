"""Read point clouds from PLY files: ascii or binary, positions and 8-bit or fractional colours of their vertices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.errors import ClipError

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDER = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"))
_LONGEST_HEADER = 1 << 16


def read_ply(path: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Positions ``v 3`` and colours ``v 3`` of a PLY file's vertices; grey where it has no colours.

    Vertices that are not finite, as scanners write for rays that met nothing, are left out.

    Raises:
        ClipError: the file cannot be read, is cut short, or has no finite vertices with x, y and z.
    """
    try:
        with path.open("rb") as handle:
            start = handle.read(_LONGEST_HEADER)
            order, count, names, offset = _read_header(start, path)
            handle.seek(offset)
            record = np.dtype([(name, order + kind) for name, kind in names])
            if order == "=":
                text = handle.read().split(maxsplit=count * len(names))[: count * len(names)]
                values = np.array(text, np.float64).reshape(-1, len(names))
                columns = {name: values[:, i] for i, (name, _) in enumerate(names)}
            else:
                data = handle.read(count * record.itemsize)
                records = np.frombuffer(data, record, count=len(data) // record.itemsize)
                columns = {name: records[name] for name, _ in names}
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error.strerror or error}). Expected a PLY point cloud") from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise ClipError(f"{path}: damaged: {str(error).splitlines()[0]}. Write the point cloud again") from error
    points = np.stack([columns[axis] for axis in "xyz"], axis=-1).astype(np.float32)
    if len(points) < count:
        raise ClipError(f"{path}: cut short: got {len(points)} points, expected {count}. Write the point cloud again")
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise ClipError(f"{path}: got {count} points, none of them finite, expected numbers. Write the file again")
    named = next((channels for channels in _COLOURS if set(channels) <= columns.keys()), None)
    if named is None:
        return points[finite], np.full((int(finite.sum()), 3), 128, np.uint8)
    colours = np.stack([columns[channel] for channel in named], axis=-1)[finite].astype(np.float64)
    if colours.size and colours.max() <= 1.5:  # fractions of full brightness
        colours = colours * 255
    return points[finite], np.clip(colours + 0.5, 0, 255).astype(np.uint8)


def _read_header(start: bytes, path: Path) -> tuple[str, int, list[tuple[str, str]], int]:
    """Byte order, number of vertices, names and types of their properties, and where the data begin."""
    end = start.find(b"end_header")
    if not start.startswith(b"ply") or end < 0:
        raise ClipError(f"{path}: not a PLY file: got {start[:8]!r} as its first bytes and no header's end")
    offset = start.index(b"\n", end) + 1
    order, count, names, element = "", -1, [], ""
    for line in start[:end].decode("ascii", "replace").splitlines():
        match line.split():
            case ["format", name, _]:
                order = _ORDER.get(name, "")
            case ["element", name, number]:
                if count < 0 and name != "vertex":
                    raise ClipError(f"{path}: got element {name} before the vertices, expected vertices first")
                element, count = name, int(number) if name == "vertex" else count
            case ["property", "list", *_] if element == "vertex":
                raise ClipError(f"{path}: got a list among the vertices' properties, expected numbers only")
            case ["property", kind, name] if element == "vertex":
                if kind not in _TYPES:
                    raise ClipError(f"{path}: got a property of type {kind}, expected one of {', '.join(_TYPES)}")
                names.append((name, _TYPES[kind]))
    if not order or count < 1 or not {"x", "y", "z"} <= {name for name, _ in names}:
        raise ClipError(
            f"{path}: got {max(count, 0)} vertices with {', '.join(n for n, _ in names) or 'nothing'}, "
            "expected at least one with x, y and z"
        )
    return order, count, names, offset
