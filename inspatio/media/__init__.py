"""Video in and out: probe a video, read its frames in any order, write a new video whole or not at all.

The names load on first use, so that what needs no video (a benchmark on random frames) needs no PyAV either.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspatio.media.packet_index import FrameIndex
    from inspatio.media.reader import VideoReader
    from inspatio.media.video_info import VIDEO_SUFFIXES, VideoInfo, list_videos, probe
    from inspatio.media.writer import Quality, VideoWriter

_HOMES = {
    "VIDEO_SUFFIXES": "video_info",
    "FrameIndex": "packet_index",
    "Quality": "writer",
    "VideoInfo": "video_info",
    "VideoReader": "reader",
    "VideoWriter": "writer",
    "list_videos": "video_info",
    "probe": "video_info",
}

__all__ = [
    "VIDEO_SUFFIXES",
    "FrameIndex",
    "Quality",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "list_videos",
    "probe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'inspatio.media' has no attribute {name!r}, expected one of {', '.join(__all__)}")
    return getattr(import_module(f"inspatio.media.{_HOMES[name]}"), name)
