"""The header of a picture on its way to the page: binary, before the bytes of the JPEG or the H.264 packet."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from typing import Any, Literal, TypeAlias

Codec: TypeAlias = Literal["jpeg", "h264"]
_HEADER = struct.Struct("<BBHIIIIfffd3f4f")
HEADER_SIZE = _HEADER.size
KIND_PICTURE = 1
CODEC_JPEG, CODEC_H264_KEY, CODEC_H264_DELTA = 0, 1, 2
"""A delta needs all pictures since the last key."""
FLAG_GENERATED, FLAG_WARPED = 1, 2
"""Generated content is in the picture; it was warped to this camera."""


@dataclass(frozen=True)
class PictureHeader:
    """What stands before the bytes of a picture.

    ``seq`` is the newest pose that it shows, ``generated`` the number of the generated frame in it (0: none) and
    ``answers`` the newest pose that this frame was made for. ``age_ms`` is the time since then, ``coverage`` the share
    of the picture that the source shows.
    """

    kind: int
    codec: int
    flags: int
    frame: int
    seq: int
    generated: int
    answers: int
    source_frame: float
    coverage: float
    age_ms: float
    server_time: float
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]

    def pack(self) -> bytes:
        *numbers, position, quaternion = astuple(self)
        return _HEADER.pack(*numbers, *position, *quaternion)

    @classmethod
    def unpack(cls, data: bytes) -> PictureHeader:
        values: tuple[Any, ...] = _HEADER.unpack_from(data)
        return cls(*values[:11], position=values[11:14], quaternion=values[14:18])
