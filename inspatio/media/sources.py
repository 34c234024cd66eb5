"""Sources of every kind behind one record and one reader: videos (``video_info.py``) and pictures (``pictures.py``)."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from inspatio.media.listing import identify
from inspatio.media.pictures import PictureInfo, PictureReader, probe_pictures
from inspatio.media.reader import VideoReader
from inspatio.media.video_info import VideoInfo, probe
from inspatio.types import FitMode

SourceInfo: TypeAlias = VideoInfo | PictureInfo
"""The record of a source: upright size, number of frames (or views), frame rate, sound."""
SourceReader: TypeAlias = VideoReader | PictureReader


def probe_source(path: Path) -> SourceInfo:
    """Read a video or an image once and return its record.

    Raises:
        ClipError: it cannot be read.
    """
    found = identify(path) if path.is_file() else None
    return probe_pictures(path) if found is not None and found.kind == "image" else probe(path)


def open_source(info: SourceInfo, size: tuple[int, int] | None = None, fit: FitMode = "crop") -> SourceReader:
    """The frames of a source fitted to ``size`` (height, width), None: its own. Close the reader."""
    return PictureReader(info, size, fit) if isinstance(info, PictureInfo) else VideoReader(info, size, fit)


def is_still(info: SourceInfo) -> bool:
    """Whether the source's frames are views of a place that stands still, not moments."""
    return isinstance(info, PictureInfo)
