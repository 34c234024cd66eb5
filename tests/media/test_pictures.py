"""Pictures as sources: every format and colour space gives the same upright sRGB picture, bad ones a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.pictures import display_p3, encoded, gradient, sideways_phone, wide_gamut_profile, write_picture

from inspatio.errors import ClipError
from inspatio.media import open_source, probe_source
from inspatio.media.pictures import LONGEST, PictureInfo, load_picture, probe_pictures


def error(image: np.ndarray, expected: np.ndarray) -> float:
    assert image.shape == expected.shape
    return float(np.abs(image.astype(float) - expected).mean())


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.jpg", {"quality": 97}, 2),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpeg", {"quality": 97}, 2),
    ],
)
def test_formats(tmp_path: Path, name: str, options: dict[str, Any], tolerance: float):
    path = write_picture(tmp_path / name, **options)
    image, notes = load_picture(path)
    assert error(image, gradient()) <= tolerance
    assert notes == []
    info = probe_source(path)
    assert (info.size, info.frame_count, info.has_audio) == ((48, 80), 1, False)
    with open_source(info, (24, 40)) as reader:
        assert reader.read([0, 0]).shape == (2, 24, 40, 3)
        with pytest.raises(IndexError):
            reader.read([1])


def test_heic(tmp_path: Path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(gradient())).save(tmp_path / "a.heic", quality=95)
    assert error(load_picture(tmp_path / "a.heic")[0], gradient()) < 3


def test_orientation_is_undone(tmp_path: Path):
    image, _ = load_picture(sideways_phone(tmp_path / "phone.jpg"))
    assert error(image, gradient()) < 3


def test_sixteen_bits_are_rounded(tmp_path: Path):
    deep = (np.arange(48 * 80, dtype=np.uint32).reshape(48, 80) * 17 % 65536).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    image, _ = load_picture(tmp_path / "deep.png")
    assert np.array_equal(image[..., 0], np.rint(deep / 257).astype(np.uint8))
    assert np.array_equal(image[..., 0], image[..., 2])


def test_cmyk(tmp_path: Path):
    (tmp_path / "print.jpg").write_bytes(encoded(Image.fromarray(gradient()).convert("CMYK"), "JPEG", quality=97))
    image, _ = load_picture(tmp_path / "print.jpg")
    assert error(image, gradient()) < 4


def test_alpha_is_laid_on_white_and_said(tmp_path: Path):
    picture = np.dstack([gradient(), np.full((48, 80), 255, np.uint8)])
    picture[:, :40, 3] = 0
    image, notes = load_picture(write_picture(tmp_path / "cut out.png", picture))
    assert (image[:, :40] == 255).all()
    assert np.array_equal(image[:, 40:], gradient()[:, 40:])
    assert len(notes) == 1
    assert "cut out.png is transparent" in notes[0]
    picture[..., 3] = 255
    assert load_picture(write_picture(tmp_path / "whole.png", picture))[1] == []


def test_a_colour_profile_is_followed(tmp_path: Path):
    """The same numbers in sRGB and in a profile with another gamma are different colours."""
    lab = wide_gamut_profile()
    image, notes = load_picture(write_picture(tmp_path / "lab.png", icc_profile=lab))
    assert len(notes) == 1, "a profile of another colour space cannot be used"
    assert np.array_equal(image, gradient())
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image, notes = load_picture(write_picture(tmp_path / "srgb.png", icc_profile=same))
    assert notes == []
    assert error(image, gradient()) < 1


def test_a_wide_gamut_photo_has_the_colours_of_srgb(tmp_path: Path):
    """Display P3 to sRGB as the two are defined; read as sRGB it would be paler than it is."""
    photo = np.zeros((16, 48, 3), np.uint8)
    photo[:, :16], photo[:, 16:32], photo[:, 32:] = (200, 110, 90), (90, 160, 100), (128, 128, 128)
    image, notes = load_picture(write_picture(tmp_path / "phone.png", photo, icc_profile=display_p3()))
    light = np.where(photo / 255 <= 0.04045, photo / 255 / 12.92, ((photo / 255 + 0.055) / 1.055) ** 2.4)
    to_srgb = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    light = np.clip(light @ to_srgb.T, 0, 1)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert notes == []
    assert np.abs(image - expected).max() < 2
    assert np.abs(expected - photo).max() > 10


def test_a_hundred_megapixels_are_reduced(tmp_path: Path):
    """Warned of by Pillow as a bomb; the picture is reduced, and its shape stays."""
    path = tmp_path / "huge.jpg"
    Image.new("RGB", (12_000, 8_400), (200, 30, 90)).save(path, quality=50)
    info = probe_pictures(path)
    assert info.size == (2688, LONGEST)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(ClipError, match="too many pixels"):
        load_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("damage", "said"),
    [("truncated", "whole picture"), ("empty", "whole picture"), ("text", "whole picture"), ("dot", "1x1 pixels")],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_bad_pictures_are_refused_in_one_line(tmp_path: Path, name: str, damage: str, said: str):
    path = write_picture(tmp_path / name, np.zeros((1, 1, 3), np.uint8) if damage == "dot" else None)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage != "dot":
        path.write_bytes(b"words" if damage == "text" else b"")
    with pytest.raises(ClipError, match=said) as caught:
        load_picture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_views_of_two_sizes_are_one_size(tmp_path: Path):
    write_picture(tmp_path / "0.png")
    write_picture(tmp_path / "1.png", np.asarray(Image.fromarray(gradient()).resize((160, 96))))
    info = probe_pictures(tmp_path, ["0.png", "1.png"])
    assert isinstance(info, PictureInfo)
    assert info.notes == ()
    with open_source(info) as reader:
        first, second = reader.read([0, 1])
    assert error(second, first) < 3
