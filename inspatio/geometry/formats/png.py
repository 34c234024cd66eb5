"""Read PNG depth maps, and refuse a damaged one before the decoder sees it.

OpenCV and libpng write lines of their own to standard error about a damaged file, and decode some of them to wrong
numbers. So everything that libpng looks at is checked first: the chunks' sizes and checksums, the header, and that the
compressed rows are whole. Only the chunks that values depend on are decoded, so others, such as colour profiles, may
be damaged.

Source: PNG specification, third edition (W3C).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.errors import ClipError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by colour type."""
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_MAX_PIXELS = 1 << 28
_LAST_FILTER = 4
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced image: first column and row, and the steps between columns and rows."""


def read_png(path: Path) -> NDArray:
    """Read a PNG image unchanged: ``h w`` or ``h w c`` (RGB or RGBA), 8 or 16 bits.

    Raises:
        ClipError: the file is missing, damaged or no PNG image.
    """
    try:
        content = _checked(path.read_bytes())
    except OSError as error:
        raise ClipError(f"{path}: {error.strerror or error}; expected a depth map") from None
    except ValueError as error:
        raise ClipError(f"{path}: not a readable image: {error}; expected a depth map as PNG") from None
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ClipError(f"{path}: not a readable image; expected a depth map as PNG")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return image


def _checked(data: bytes) -> bytes:
    """The same image with its essential chunks only; ValueError says what is wrong with it."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("it does not begin like a PNG")
    chunks = list(_chunks(data))
    names = [name for name, _ in chunks]
    if names[:1] != [b"IHDR"] or names.count(b"IHDR") > 1 or names[-1:] != [b"IEND"] or b"IDAT" not in names:
        raise ValueError("its chunks are not header, data and end")
    header = chunks[0][1]
    if len(header) != 13:
        raise ValueError(f"got a header of {len(header)} bytes, expected 13")
    width, height, bits, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if not 0 < width * height <= _MAX_PIXELS:
        raise ValueError(f"got {width}x{height} pixels")
    if bits not in _BIT_DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        raise ValueError(f"got bit depth {bits}, colour type {color}, interlacing {interlace}")
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in (_ADAM7 if interlace else _WHOLE)]
    rows = [(count, 1 + (columns * bits * _SAMPLES[color] + 7) // 8) for columns, count in sizes if columns > 0]
    _check_rows(b"".join(body for name, body in chunks if name == b"IDAT"), rows)
    palette = [body for name, body in chunks if name == b"PLTE"] if color == 3 else []
    if color == 3 and (len(palette) != 1 or len(palette[0]) % 3 or not 3 <= len(palette[0]) <= 768):
        raise ValueError("its palette is missing or has a wrong size")
    kept = [chunks[0], *((b"PLTE", body) for body in palette), *(each for each in chunks if each[0] == b"IDAT")]
    return _SIGNATURE + b"".join(_chunk(name, body) for name, body in [*kept, (b"IEND", b"")])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE)
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 12 + length
        if end > len(data):
            raise ValueError(f"cut short: got {len(data)} bytes, expected at least {end}")
        name, body = data[place + 4 : place + 8], data[place + 8 : end - 4]
        if zlib.crc32(name + body) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"the checksum of {name!r} at byte {place} is wrong")
        yield name, body
        if name == b"IEND":
            return
        place = end


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _check_rows(compressed: bytes, passes: Sequence[tuple[int, int]]) -> None:
    """Decompress the rows of all passes, (count, bytes of a row) each, and never more than there should be.

    The first byte of a row names its filter.
    """
    expected = sum(count * length for count, length in passes)
    decoder = zlib.decompressobj()
    try:
        rows = decoder.decompress(compressed, expected + 1)
    except zlib.error as error:
        raise ValueError(f"its data are damaged ({error})") from None
    if len(rows) != expected or not decoder.eof:
        raise ValueError(f"got {len(rows)} bytes of rows, expected {expected}")
    start = 0
    for count, length in passes:
        if count and max(rows[start : start + count * length : length]) > _LAST_FILTER:
            raise ValueError("a row has an unknown filter")
        start += count * length
