"""From a decoded frame, whatever its pixel format and orientation, to the upright RGB picture a player would show.

The colour matrix and range come from the frame's own tags. Where the matrix is not tagged, the rule of the common
players decides (BT.709 from 720 lines or 1280 columns on, else BT.601), so that a clip and what is made from
it look alike side by side. High dynamic range is mapped to BT.709 (``hdr.py``). Interlaced frames stay woven.

The picture is scaled while it is converted: a 4K frame that is wanted at 832x480 never exists as 4K RGB. The scaler's
rule for positions is the one of ``fit.py`` (centres at integers, ``u`` goes to ``(u + 0.5) s - 0.5``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from inspatio.media import hdr
from inspatio.types import Image

# Without these two, chroma is repeated instead of interpolated and sums are cut instead of rounded.
# swscale's flags by number: PyAV names them only from version 18 on, which Python 3.10 does not have.
ACCURATE_RND, FULL_CHR_H_INT, FULL_CHR_H_INP = 0x40000, 0x2000, 0x4000
_EXACT = ACCURATE_RND | FULL_CHR_H_INT
_UNTAGGED_MATRIX = (0, 2)
_BT2020, _BT2020_CONSTANT_LUMINANCE = 9, 10
_LIMITED_TO_FULL = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Turn:
    """How stored frames are turned to stand upright: rows and columns swapped first, then either axis reversed."""

    swap: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Turn:
        """The turn that a frame's display matrix asks for, at the nearest quarter.

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

    @property
    def degrees(self) -> int:
        """The clockwise rotation in it: 0, 90, 180 or 270 (a mirror image counts as what rotation is left of it)."""
        return (90 if self.reverse_columns else 270) if self.swap else (180 if self.reverse_rows else 0)

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


def upright_rgb(frame: av.VideoFrame, turn: Turn, size: tuple[int, int], reformatter: VideoReformatter) -> Image:
    """The frame, turned, as an upright ``h w 3`` picture of (height, width) ``size``.

    Raises:
        av.FFmpegError: the frame's pixel format or colour matrix cannot be converted.
    """
    height, width = turn.size(size)
    is_hdr = frame.color_trc in hdr.TRANSFERS
    converted = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb48le" if is_hdr else "rgb24",
        interpolation=_EXACT | _filter(frame, height, width),
        threads=1,
        **_colour(frame),
    )
    if is_hdr:
        return turn.image(hdr.to_bt709(np.asarray(converted.to_ndarray(), np.uint16), frame.color_trc))
    image = np.asarray(converted.to_ndarray(), np.uint8)
    if frame.format.name.startswith("gray") and frame.color_range == ColorRange.MPEG:
        image = _LIMITED_TO_FULL[image]  # the converter takes every gray for full range
    return turn.image(image)


def _filter(frame: av.VideoFrame, height: int, width: int) -> Interpolation:
    if height < frame.height or width < frame.width:
        return Interpolation.AREA
    if height > frame.height or width > frame.width:
        return Interpolation.BICUBIC
    return Interpolation.BILINEAR


def _colour(frame: av.VideoFrame) -> dict[str, int]:
    """The arguments that say how the frame's numbers are meant and that plain RGB is wanted."""
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return {}
    colour: dict[str, int] = {}
    if frame.colorspace in _UNTAGGED_MATRIX:
        high_definition = frame.height >= 720 or frame.width >= 1280
        colour["src_colorspace"] = Colorspace.ITU709 if high_definition else Colorspace.ITU601
    elif frame.colorspace in (_BT2020, _BT2020_CONSTANT_LUMINANCE):
        # Constant luminance is nearly always a wrong tag for the usual matrix, and the converter knows only that one.
        colour["src_colorspace"] = _BT2020
    if frame.color_range == ColorRange.UNSPECIFIED and not frame.format.name.startswith("yuvj"):
        colour["src_color_range"] = ColorRange.MPEG
    return colour
