"""The focal length in a phone's file: found in its track's or the file's metadata, of every kind of number."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.clips import encode

from inspatio.media import probe
from inspatio.media.lens_metadata import FOCAL_KEY, focal_length_in_pixels

SIZE = (48, 96)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def metadata(kind: int, value: bytes, key: bytes = FOCAL_KEY, prefix: bytes = b"") -> bytes:
    """A ``meta`` box with another key before this one; ``prefix``: version and flags, as MP4 has them."""
    names = b"".join(box(b"mdta", name) for name in (b"com.apple.quicktime.make", key))
    items = (box(b"data", struct.pack(">II", 1, 0) + b"Maker"), box(b"data", struct.pack(">II", kind, 0) + value))
    listed = b"".join(box(struct.pack(">I", number), item) for number, item in enumerate(items, 1))
    handler = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    return box(b"meta", prefix + handler + box(b"keys", struct.pack(">II", 0, 2) + names) + box(b"ilst", listed))


def file_with(folder: Path, meta: bytes, *, in_track: bool) -> Path:
    """A real clip, its index at the end, with a box added to the file's or to the video track's metadata."""
    data = encode(folder / "clip.mp4", count=2, size=SIZE).read_bytes()
    moov = data.rindex(b"moov") - 4
    assert moov + int.from_bytes(data[moov : moov + 4], "big") == len(data), "the index is the last box"
    trak = data.index(b"trak", moov) - 4
    changed = bytearray(data)
    end = len(data)
    for at in (moov, trak) if in_track else (moov,):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + length
        changed[at : at + 4] = struct.pack(">I", length + len(meta))
    changed[end:end] = meta
    path = folder / "phone.mov"
    path.write_bytes(changed)
    return path


@pytest.mark.parametrize(
    ("kind", "value", "millimetres"),
    [
        (21, b"\x1b", 27),
        (22, b"\x00\x00\x00\x1a", 26),
        (23, struct.pack(">f", 13.5), 13.5),
        (1, b"50.00mm", 50),
        (1, b"77", 77),
    ],
)
def test_the_track_says_its_focal_length(kind: int, value: bytes, millimetres: float, tmp_path: Path):
    path = file_with(tmp_path, metadata(kind, value), in_track=True)
    assert probe(path).frame_count == 2, "the file is still a video"
    found = focal_length_in_pixels(path, SIZE)
    assert found == pytest.approx(millimetres / math.hypot(36, 24) * math.hypot(48, 96))
    assert focal_length_in_pixels(path, (96, 48)) == found, "turned by 90 degrees it is the same lens"


def test_the_file_may_say_it_in_either_dialect(tmp_path: Path):
    for prefix in (b"", bytes(4)):
        path = file_with(tmp_path, metadata(21, b"\x1b", prefix=prefix), in_track=False)
        assert focal_length_in_pixels(path, SIZE) is not None


@pytest.mark.parametrize(
    "meta",
    [
        metadata(21, b"\x00"),
        metadata(1, b"wide"),
        metadata(23, b"\x00"),
        metadata(21, b"\x1b", key=b"com.apple.quicktime.camera.iso"),
        box(b"meta", b"\xff" * 40),
        box(b"meta", b""),
    ],
    ids=["zero", "word", "short", "other key", "noise", "empty"],
)
def test_what_makes_no_sense_is_not_believed(meta: bytes, tmp_path: Path):
    assert focal_length_in_pixels(file_with(tmp_path, meta, in_track=True), SIZE) is None


def test_files_without_it(tmp_path: Path):
    assert focal_length_in_pixels(encode(tmp_path / "clip.mp4", count=2, size=SIZE), SIZE) is None
    (tmp_path / "noise").write_bytes(b"\x00\x00\x00\x03free" + bytes(range(256)))
    assert focal_length_in_pixels(tmp_path / "noise", SIZE) is None


def test_a_photo_says_its_focal_length(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 36
    picture = Image.new("RGB", (SIZE[1], SIZE[0]))
    picture.save(tmp_path / "photo.jpg", exif=exif)
    found = focal_length_in_pixels(tmp_path / "photo.jpg", SIZE)
    assert found == pytest.approx(36 * np.hypot(*SIZE) / np.hypot(36, 24))
    picture.save(tmp_path / "plain.jpg")
    assert focal_length_in_pixels(tmp_path / "plain.jpg", SIZE) is None
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:60])
    assert focal_length_in_pixels(tmp_path / "broken.jpg", SIZE) is None
