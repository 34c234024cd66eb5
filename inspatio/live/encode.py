"""Encode pictures for a page: JPEG, each by itself, or H.264 for slow connections, each one from the last.

H.264 is made by an encoder to each page, since what is sent depends on what that page was sent before. It is set for no
delay: a picture in is a picture out. Nothing is lost on a WebSocket, so a key picture is sent only at the start, after
a cut, and when the page asks because its decoder failed.
"""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from inspatio.live.picture_header import Codec
from inspatio.media.color import ACCURATE_CONVERSION
from inspatio.types import Image

QUALITY = 85
"""Of JPEG."""
RATE_FACTOR = 20
"""Of H.264, x264's crf."""
MAX_RATE = 60
"""Pictures a second that the encoder is told of; it only sets the level."""
NO_KEY = 1 << 30
"""Pictures between keys that nobody asked for."""
_BT709 = 1


def encode_jpeg(image: Image) -> bytes:
    """One picture ``h w 3`` as a JPEG."""
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert encoded, "JPEG takes any picture of 8 bits"
    return data.tobytes()


def codecs(size: tuple[int, int]) -> tuple[Codec, ...]:
    """What pictures of (height, width) can be sent as: H.264 at 4:2:0 needs even sides."""
    even = size[0] % 2 == 0 and size[1] % 2 == 0
    return ("jpeg", "h264") if even and "libx264" in av.codecs_available else ("jpeg",)


class H264Encoder:
    """An H.264 stream of pictures of (height, width) ``size``, as Annex B with its parameter sets in every key."""

    def __init__(self, size: tuple[int, int]) -> None:
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, VideoCodecContext), "x264 encodes video"
        context.height, context.width = size
        context.pix_fmt, context.framerate = "yuv420p", Fraction(MAX_RATE)
        context.gop_size, context.thread_count = NO_KEY, 1
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "main",
            "crf": str(RATE_FACTOR),
            "forced-idr": "1",
            "x264-params": "repeat-headers=1:annexb=1",
        }
        self._context, self._count = context, 0
        self._reformatter = VideoReformatter()

    def encode(self, image: Image, *, key: bool) -> tuple[bytes, bool]:
        """The next picture ``h w 3``, and whether it is a key: the first one is, and others where ``key`` asks."""
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=ACCURATE_CONVERSION,
            threads=1,
        )
        frame.pts = self._count
        frame.pict_type = PictureType.I if key else PictureType.NONE
        self._count += 1
        (packet,) = self._context.encode(frame)
        return bytes(packet), packet.is_keyframe
