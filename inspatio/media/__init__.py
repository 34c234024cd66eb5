"""Sources in, videos out: probe a video or pictures, read frames in any order, write a video whole or not at all.

The names load on first use, so that what needs no source (a benchmark on random frames) needs no PyAV either.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspatio.media.packet_index import FrameIndex
    from inspatio.media.reader import VideoReader
    from inspatio.media.sources import SourceInfo, SourceReader, is_still, open_source, probe_found, probe_source
    from inspatio.media.video_info import VideoInfo, probe
    from inspatio.media.writer import Quality, VideoWriter

_HOMES = {
    "FrameIndex": "packet_index",
    "Quality": "writer",
    "SourceInfo": "sources",
    "SourceReader": "sources",
    "VideoInfo": "video_info",
    "VideoReader": "reader",
    "VideoWriter": "writer",
    "is_still": "sources",
    "open_source": "sources",
    "probe": "video_info",
    "probe_found": "sources",
    "probe_source": "sources",
}

__all__ = [
    "FrameIndex",
    "Quality",
    "SourceInfo",
    "SourceReader",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "is_still",
    "open_source",
    "probe",
    "probe_found",
    "probe_source",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'inspatio.media' has no attribute {name!r}, expected one of {', '.join(__all__)}")
    return getattr(import_module(f"inspatio.media.{_HOMES[name]}"), name)
