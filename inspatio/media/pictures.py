"""Still pictures as a source: one image, or several views of one place; decoded, upright, in sRGB.

PNG, JPEG and WebP are read with Pillow, HEIC with pillow-heif (extra ``heic``). A picture is turned upright by its EXIF
orientation, converted to sRGB by its colour profile, reduced to 8 bits, laid on white where it is transparent, and
brought to at most :data:`LONGEST` pixels a side, which is beyond what any working frame shows. What of this is more
than a user may expect is said in notes.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import numpy as np
from PIL import Image as pillow
from PIL import ImageCms, ImageOps

from inspatio.errors import ClipError
from inspatio.media.fit import Fit
from inspatio.types import FitMode, Frames, Image

FRAME_RATE = Fraction(15)
"""Frames per second of a still scene's result, as of InSpatio-World 1.5."""
LONGEST, SHORTEST = 3840, 16
"""Pixels: larger pictures are reduced, smaller ones refused."""
SHOWN_SHAPE = 0.02
"""Views whose aspect ratios differ by more are cut to the first one's with a note."""
CACHE_BYTES = 128 << 20
"""What the fitted pictures of one reader may take."""
_HEIF = frozenset((".heic", ".heif"))


@dataclass(frozen=True)
class PictureInfo:
    """Pictures that can be read: one image, or the views of one place in the order of their names.

    ``path`` is the image, or the folder of the views; ``names`` are the files below it, none for one image. ``size`` is
    (height, width) of the first picture as read, to which the others are brought (scaled, and cut where their shape is
    another one). ``file_size`` is of all files, in bytes.
    """

    path: Path
    names: tuple[str, ...]
    size: tuple[int, int]
    file_size: int
    frame_rate: Fraction = FRAME_RATE
    notes: tuple[str, ...] = ()
    """What was done to the pictures that a user should know."""

    has_audio: ClassVar[bool] = False
    variable_frame_rate: ClassVar[bool] = False

    @property
    def files(self) -> list[Path]:
        return [self.path / name for name in self.names] or [self.path]

    @property
    def frame_count(self) -> int:
        return len(self.names) or 1


def probe_pictures(path: Path, names: Sequence[str] = (), frame_rate: Fraction = FRAME_RATE) -> PictureInfo:
    """Read the pictures once and return their record.

    Raises:
        ClipError: one of them cannot be read whole, is too small, or has too many pixels.
    """
    files = [path / name for name in names] or [path]
    size, notes = None, []
    for file in files:
        image, remarks = load_picture(file)
        notes += remarks
        shape = (image.shape[0], image.shape[1])
        size = size or shape
        if abs(shape[1] * size[0] / (shape[0] * size[1]) - 1) > SHOWN_SHAPE:
            notes.append(
                f"{file.name} is {shape[1]}x{shape[0]} and {files[0].name} {size[1]}x{size[0]}: "
                f"{Fit.make(shape, size).cut_share:.0%} of it is cut away to make one shape of both"
            )
    assert size is not None, "there is at least one picture"
    return PictureInfo(path, tuple(names), size, sum(file.stat().st_size for file in files), frame_rate, tuple(notes))


class PictureReader:
    """Pictures fitted to ``size`` (height, width), None: their own: a :class:`inspatio.scene.FrameSource`.

    As a ``VideoReader`` it may be closed and used in a ``with``, but it holds no file open.
    """

    def __init__(self, info: PictureInfo, size: tuple[int, int] | None = None, fit: FitMode = "crop") -> None:
        self.info = info
        self.fit = Fit.make(info.size, size or info.size, fit)
        self._capacity = max(CACHE_BYTES // (3 * self.fit.target[0] * self.fit.target[1]), 1)
        self._cache: OrderedDict[int, Image] = OrderedDict()

    def __len__(self) -> int:
        return self.info.frame_count

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was read."""
        self._cache.clear()

    def read(self, indices: Sequence[int]) -> Frames:
        """``t h w 3`` uint8 RGB pictures, in any order, repeats allowed.

        Raises:
            IndexError: an index outside ``0 .. len - 1``.
            ClipError: a picture cannot be read any more.
        """
        frames = np.empty((len(indices), *self.fit.target, 3), np.uint8)
        for place, index in enumerate(indices):
            if not 0 <= index < len(self):
                raise IndexError(f"{self.info.path}: picture {index} of {len(self)}")
            frames[place] = self._picture(index)
        return frames

    def _picture(self, index: int) -> Image:
        if index not in self._cache:
            image, _ = load_picture(self.info.files[index])
            own = (image.shape[0], image.shape[1])
            self._cache[index] = self.fit.image(Fit.make(own, self.info.size).image(image))
        self._cache.move_to_end(index)
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return self._cache[index]


def load_picture(path: Path) -> tuple[Image, list[str]]:
    """Decode a picture: ``h w 3`` uint8, upright, sRGB, at most :data:`LONGEST` a side; and what to tell of it.

    Raises:
        ClipError: it is cut short, damaged, not an image, too small, or has too many pixels.
    """
    if path.suffix.lower() in _HEIF:
        _register_heif(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # 90 to 179 megapixels are photos
            with pillow.open(path) as opened:
                return _decoded(path, opened)
    except pillow.DecompressionBombError as error:
        raise ClipError(f"{path}: too many pixels ({error}). Reduce the picture first.") from error
    except FileNotFoundError as error:
        raise ClipError(f"{path}: no such file; expected a picture") from error
    # What decoders raise for damaged files differs by format and place.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        fault = " ".join(str(error).split()) or type(error).__name__
        raise ClipError(f"{path}: cannot be read ({fault}), expected a whole picture. Copy it again.") from error


def _decoded(path: Path, opened: pillow.Image) -> tuple[Image, list[str]]:
    notes = []
    width, height = opened.size
    if min(width, height) < SHORTEST:
        raise ClipError(f"{path}: {width}x{height} pixels, expected at least {SHORTEST} a side to show a place")
    profile = opened.info.get("icc_profile")
    image: pillow.Image = opened
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        deep = np.clip(np.asarray(image, np.int64), 0, 65535)
        image = pillow.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
        image.info.update(opened.info)
    image.thumbnail((LONGEST, LONGEST), pillow.Resampling.LANCZOS, reducing_gap=3.0)
    image = ImageOps.exif_transpose(image)
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    image, fault = _in_srgb(image, profile)
    if fault:
        notes.append(f"{path.name}: its colour profile cannot be used ({fault}); taken as sRGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        page = pillow.new("RGB", image.size, (255, 255, 255))
        page.paste(image, mask=alpha)
        image = page
        notes.append(f"{path.name} is transparent in places: laid on white")
    return np.asarray(image, np.uint8), notes


def _in_srgb(image: pillow.Image, profile: bytes | None) -> tuple[pillow.Image, str | None]:
    """The picture in sRGB, and why its profile could not be used; without one, sRGB (or plain CMYK) is assumed."""
    fault = None
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            done = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert done is not None, "a copy is made unless inPlace is asked for"
            return done, None
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            fault = " ".join(str(error).split())
    return image.convert("RGB"), fault


def _register_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ClipError(
            f"{path}: HEIC pictures need the package pillow-heif, which is not installed. "
            "Install it (pip install 'inspatio[heic]'), or save the picture as JPEG."
        ) from error
    register_heif_opener()
