"""Read one channel of an OpenEXR image: scan lines of half or full floats, uncompressed or zip-compressed.

That is what depth is written as; OpenCV's wheel has no OpenEXR, and FFmpeg's reader wants red, green and blue.
Source of the layout: the OpenEXR file layout document of openexr.com.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

MAGIC = 20000630
_LINES_TO_A_BLOCK = {0: 1, 2: 1, 3: 16}
"""By compression: none, zip of single lines, zip of sixteen lines."""
_PIXEL_TYPES = {1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LARGEST_SIDE = 65536


def read_exr(data: bytes, channel: str) -> NDArray[np.floating]:
    """Decode the ``h w`` values of a channel.

    Raises:
        ValueError: not such a file, damaged, or no such channel; half a sentence.
    """
    try:
        return _read(data, channel)
    except (struct.error, IndexError, zlib.error, KeyError) as error:
        raise ValueError(f"damaged or of an unknown kind ({type(error).__name__}: {error})") from None


def _read(data: bytes, channel: str) -> NDArray[np.floating]:
    magic, flags = struct.unpack_from("<ii", data)
    if magic != MAGIC or flags & ~0xFF & ~0x400:  # long names are harmless; tiles, deep data and several parts are not
        raise ValueError("not an OpenEXR image of scan lines")
    attributes, at = _attributes(data, 8)
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise ValueError(f"{width}x{height} pixels")
    channels = _channels(attributes["channels"])
    if channel not in channels:
        raise ValueError(f"channels {', '.join(channels)}, expected {channel}")
    step = _LINES_TO_A_BLOCK[attributes["compression"][0]]
    offset = width * sum(_PIXEL_TYPES[kind].itemsize for name, kind in channels.items() if name < channel)
    kind = _PIXEL_TYPES[channels[channel]]
    line = width * sum(_PIXEL_TYPES[kind].itemsize for kind in channels.values())
    image = np.zeros((height, width), kind)
    for block in range(-(-height // step)):
        (start,) = struct.unpack_from("<Q", data, at + 8 * block)
        first, size = struct.unpack_from("<ii", data, start)
        rows = min(step, bottom + 1 - first)
        raw = data[start + 8 : start + 8 + size]
        if size < rows * line:
            raw = _unzipped(raw)
        lines = np.frombuffer(raw[: rows * line], np.uint8).reshape(rows, line)
        values = np.ascontiguousarray(lines[:, offset : offset + width * kind.itemsize]).view(kind)
        image[first - top : first - top + rows] = values
    return image


def _attributes(data: bytes, at: int) -> tuple[dict[str, bytes], int]:
    """The header's values by name, and where it ends."""
    found = {}
    while data[at]:
        name, at = _text(data, at)
        _, at = _text(data, at)
        (size,) = struct.unpack_from("<i", data, at)
        found[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return found, at + 1


def _channels(value: bytes) -> dict[str, int]:
    """Pixel types by name, in the file's order, which is alphabetical."""
    found, at = {}, 0
    while value[at]:
        name, at = _text(value, at)
        (found[name],) = struct.unpack_from("<i", value, at)
        at += 16
    return found


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode("latin-1"), end + 1


def _unzipped(data: bytes) -> bytes:
    """Undo zip, the differences between neighbouring bytes, and the split into even and odd bytes."""
    differences = np.frombuffer(zlib.decompress(data), np.uint8).astype(np.int64)
    differences[1:] -= 128
    stored = (np.cumsum(differences) & 0xFF).astype(np.uint8)
    half = (len(stored) + 1) // 2
    restored = np.empty_like(stored)
    restored[0::2], restored[1::2] = stored[:half], stored[half:]
    return restored.tobytes()
