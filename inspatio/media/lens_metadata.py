"""Read the focal length that a phone or a camera wrote into a QuickTime or MP4 file, or into a picture.

Cameras of some phones write the lens's focal length, as it would be on 35 mm film, into the metadata of the video track
(key ``com.apple.quicktime.camera.focal_length.35mm_equivalent``), where FFmpeg does not look. The boxes are those of
the QuickTime File Format ("Metadata"): ``keys`` has names, ``ilst`` the values by the names' numbers from 1 on.
Pictures have the same number in their EXIF data (FocalLengthIn35mmFilm).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image as pillow

from inspatio.media.listing import is_image_name

FOCAL_KEY = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"
FILM_DIAGONAL = math.hypot(36, 24)
"""Millimetres; equivalent focal lengths compare the diagonals of pictures."""
EXIF_IFD, EXIF_FOCAL = 0x8769, 0xA405
SENSIBLE = (5.0, 1000.0)
"""Focal lengths in millimetres that a camera may have; others are not believed."""
LARGEST_INDEX = 64 << 20
"""Bytes of an index (``moov``) that is read."""
_HOLDERS = (b"moov", b"trak", b"udta")
_NUMBERS = {21: "signed", 22: "unsigned", 23: ">f", 24: ">d"}
"""Well-known types of values that are numbers: integers of any length, floats, doubles. 1 is text."""


def focal_length_in_pixels(path: Path, size: tuple[int, int]) -> float | None:
    """The focal length in pixels of upright frames of a (height, width), as far as the file says; None: it does not.

    It is the lens's. Stabilisation and modes that use a part of the sensor can make the picture's a few percent longer.
    """
    if not path.is_file():
        return None
    if is_image_name(path):
        values = _picture_values(path)
    else:
        with path.open("rb") as file:
            values = _values(_read_index(file), FOCAL_KEY)
    for value in values:
        if SENSIBLE[0] <= value <= SENSIBLE[1]:
            return value / FILM_DIAGONAL * math.hypot(*size)
    return None


def _picture_values(path: Path) -> Iterator[float]:
    """The focal length in a picture's EXIF data; nothing where it has none, or none that can be read."""
    try:
        with pillow.open(path) as opened:
            value = opened.getexif().get_ifd(EXIF_IFD).get(EXIF_FOCAL)
        yield float(value or 0)
    except (OSError, SyntaxError, ValueError, TypeError, struct.error, pillow.DecompressionBombError):
        return  # probing reports what is wrong with the picture itself


def _read_index(file: BinaryIO) -> bytes:
    """The box ``moov`` of a file; empty where there is none."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        skipped = 8
        if length == 1:
            length, skipped = int.from_bytes(file.read(8), "big"), 16
        if kind == b"moov":
            return head + file.read(length - 8) if 8 <= length <= LARGEST_INDEX else b""
        if length < skipped:
            return b""
        file.seek(length - skipped, 1)
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of the boxes that follow one another; what does not look like a box ends them."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length < 8 or at + length > len(data):
            return
        yield kind, data[at + 8 : at + length]
        at += length


def _values(data: bytes, key: bytes) -> Iterator[float]:
    """The numbers under a key in all metadata boxes within ``data``."""
    for kind, content in _boxes(data):
        if kind in _HOLDERS:
            yield from _values(content, key)
        elif kind == b"meta":
            # In MP4 the box begins with four bytes of version and flags, in QuickTime it does not.
            children = dict(_boxes(content if content[4:8] == b"hdlr" else content[4:]))
            names = _names(children.get(b"keys", b""))
            for number, item in _boxes(children.get(b"ilst", b"")):
                place = int.from_bytes(number, "big") - 1
                value = _number(dict(_boxes(item)).get(b"data", b""))
                if place < len(names) and names[place] == key and value is not None:
                    yield value


def _names(content: bytes) -> list[bytes]:
    """The names in a ``keys`` box; each has its length, a namespace of four bytes, and itself."""
    return [name for _, name in _boxes(content[8:])]


def _number(content: bytes) -> float | None:
    """The value of a ``data`` box: type, locale, and the bytes of a number or a text such as "26" or "26.00mm"."""
    if len(content) < 9:
        return None
    kind, value = int.from_bytes(content[:4], "big"), content[8:]
    if kind == 1:
        try:
            return float(value.decode("ascii").strip().removesuffix("mm"))
        except ValueError:
            return None
    form = _NUMBERS.get(kind)
    if form in ("signed", "unsigned"):
        return float(int.from_bytes(value, "big", signed=form == "signed"))
    if form and struct.calcsize(form) == len(value):
        return float(struct.unpack(form, value)[0])
    return None
