"""Convert a decoded frame, whatever its pixel format and orientation, to the upright 8-bit RGB that a player shows.

This is the only place where the colour of a video is interpreted; everything after it works on uint8 RGB, full range,
as ``types.py`` says. The colour matrix and range come from the frame's own tags. Where the matrix is not tagged, the
rule of the common players decides (BT.709 from 720 lines or 1280 columns on, else BT.601), so that a clip and what is
made from it look alike side by side. Interlaced frames stay woven.

High dynamic range (PQ and HLG, which phones record by default) becomes BT.709: both are read as display light with
reference white at 1 (203 cd/m2, ITU-R BT.2408), taken from BT.2020 to BT.709 primaries (BT.2087), highlights are
compressed smoothly below 1 with the hue kept, and the result is stored for a display of gamma 2.4 (BT.1886). Up to
three quarters of reference white nothing is compressed. Transfer functions: ITU-R BT.2100.

The picture is scaled while it is converted: a 4K frame that is wanted at 832x480 never exists as 4K RGB. The scaler's
rule for positions is the one of ``fit.py`` (pixel centres at integers, ``u`` goes to ``(u + 0.5) s - 0.5``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

import av
import cv2
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from inspatio.types import Image

HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
"""PQ and HLG."""

ACCURATE_CONVERSION = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without these two, the scaler repeats chroma instead of interpolating it and truncates sums instead of rounding."""
_UNTAGGED_MATRIX = (0, 2)
_BT2020_CONSTANT_LUMINANCE = 10
_LIMITED_TO_FULL = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)

_REFERENCE_WHITE = 203.0
"""cd/m2 of a white sheet of paper, ITU-R BT.2408."""
_HLG_PEAK = 1000.0
"""cd/m2 of the display that HLG is shown on, ITU-R BT.2100."""
_BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0729], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1188]], np.float32
)
_KNEE = 0.75
"""Up to this share of reference white, highlights are not compressed."""


@dataclass(frozen=True)
class Orientation:
    """How stored frames are turned to stand upright: rows and columns swapped first, then either axis reversed."""

    swap: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """The orientation that a frame's display matrix asks for, at the nearest quarter turn.

        The matrix takes a stored (x, y) to (a x + c y, b x + d y), in rows of three numbers: a b u, c d v. Ask this of
        few frames: PyAV ties a frame whose side data was looked at to itself, so that only the garbage collector
        frees it, and it does not know how large frames are.
        """
        side_data = cast("Mapping[SideDataType, Buffer]", frame.side_data)
        data = side_data.get(SideDataType.DISPLAYMATRIX)
        if data is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, reverse_rows=d < 0, reverse_columns=a < 0)
        return cls(True, reverse_rows=b < 0, reverse_columns=c < 0)

    @classmethod
    def from_rotation(cls, degrees: int, *, mirrored: bool) -> Orientation:
        """The orientation with these ``degrees`` (0, 90, 180 or 270) and ``is_mirrored``, which define it."""
        if degrees in (90, 270):
            return cls(True, reverse_rows=(degrees == 270) != mirrored, reverse_columns=degrees == 90)
        if degrees in (0, 180):
            return cls(False, reverse_rows=degrees == 180, reverse_columns=(degrees == 180) != mirrored)
        raise ValueError(f"rotation: got {degrees!r}, expected 0, 90, 180 or 270 degrees")

    @property
    def degrees(self) -> int:
        """The clockwise rotation: 0, 90, 180 or 270; of a mirror image, the rotation that remains of it."""
        return (90 if self.reverse_columns else 270) if self.swap else (180 if self.reverse_rows else 0)

    @property
    def is_mirrored(self) -> bool:
        """Whether left and right change places: each swap or reversal mirrors once."""
        return (self.swap + self.reverse_rows + self.reverse_columns) % 2 == 1

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of a turned picture of (height, width) ``size``; its own inverse."""
        return (size[1], size[0]) if self.swap else size

    def image(self, image: Image) -> Image:
        """An ``h w c`` picture, turned."""
        if self.swap:
            image = image.transpose(1, 0, 2)
        if self.reverse_rows:
            image = image[::-1]
        if self.reverse_columns:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)


def upright_rgb(
    frame: av.VideoFrame, orientation: Orientation, size: tuple[int, int], reformatter: VideoReformatter
) -> Image:
    """Convert a decoded frame to an upright ``h w 3`` uint8 RGB picture of (height, width) ``size``.

    Raises:
        av.FFmpegError: the frame's pixel format or colour matrix cannot be converted.
    """
    height, width = orientation.size(size)
    is_hdr = frame.color_trc in HDR_TRANSFERS
    converted = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb48le" if is_hdr else "rgb24",
        interpolation=ACCURATE_CONVERSION | _filter(frame, height, width),
        threads=1,
        **_source_colour(frame),
    )
    if is_hdr:
        return orientation.image(hdr_to_bt709(np.asarray(converted.to_ndarray(), np.uint16), frame.color_trc))
    image = np.asarray(converted.to_ndarray(), np.uint8)
    if frame.format.name.startswith("gray") and frame.color_range == ColorRange.MPEG:
        image = _LIMITED_TO_FULL[image]  # the converter takes every gray for full range
    return orientation.image(image)


def hdr_to_bt709(image: NDArray[np.uint16], transfer: int) -> Image:
    """Tone-map an ``h w 3`` 16-bit RGB picture in BT.2020 primaries and one of ``HDR_TRANSFERS`` to 8-bit BT.709."""
    light = _light_table(transfer)[image]
    if transfer == ColorTrc.ARIB_STD_B67:
        light *= (light @ _BT2020_LUMINANCE)[..., None] ** 0.2 * (_HLG_PEAK / _REFERENCE_WHITE)
    light = np.maximum(cv2.transform(light, _BT2020_TO_BT709), 0)
    brightest = light.max(axis=-1, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0)
    compressed = brightest - over + over * (1 - _KNEE) / (1 - _KNEE + over)
    light *= compressed / np.maximum(brightest, 1e-6)
    return (255 * light ** (1 / 2.4) + 0.5).astype(np.uint8)


@cache
def _light_table(transfer: int) -> NDArray[np.float32]:
    """The light of each 16-bit value: in units of reference white for PQ, of the scene's peak for HLG."""
    signal = np.arange(65536) / 65535
    if transfer == ColorTrc.ARIB_STD_B67:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    root = signal ** (1 / 78.84375)
    light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return (light * 10000 / _REFERENCE_WHITE).astype(np.float32)


def _filter(frame: av.VideoFrame, height: int, width: int) -> Interpolation:
    if height < frame.height or width < frame.width:
        return Interpolation.AREA
    if height > frame.height or width > frame.width:
        return Interpolation.BICUBIC
    return Interpolation.BILINEAR


def _source_colour(frame: av.VideoFrame) -> dict[str, int]:
    """The arguments that say how the frame's numbers are meant and that plain RGB is wanted."""
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return {}
    colour: dict[str, int] = {}
    if frame.colorspace in _UNTAGGED_MATRIX:
        high_definition = frame.height >= 720 or frame.width >= 1280
        colour["src_colorspace"] = Colorspace.ITU709 if high_definition else Colorspace.ITU601
    elif frame.colorspace in (Colorspace.BT2020, _BT2020_CONSTANT_LUMINANCE):
        # Constant luminance is nearly always a wrong tag for the usual matrix, and the converter knows only that one.
        colour["src_colorspace"] = Colorspace.BT2020
    if frame.color_range == ColorRange.UNSPECIFIED and not frame.format.name.startswith("yuvj"):
        colour["src_color_range"] = ColorRange.MPEG
    return colour
