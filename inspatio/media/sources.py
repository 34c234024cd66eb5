"""Sources of every kind behind one record and one reader: videos (``video_info.py``) and pictures (``pictures.py``)."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias, assert_never

from inspatio.media.cloud_folder import picture_names
from inspatio.media.listing import FoundSource, identify, list_images
from inspatio.media.pictures import PictureInfo, PictureReader, probe_pictures
from inspatio.media.reader import VideoReader
from inspatio.media.scene_folder import probe_scene_folder
from inspatio.media.video_info import VideoInfo, probe
from inspatio.types import FitMode

SourceInfo: TypeAlias = VideoInfo | PictureInfo
"""The record of a source: upright size, number of frames (or views), frame rate, sound."""
SourceReader: TypeAlias = VideoReader | PictureReader


def probe_source(path: Path) -> SourceInfo:
    """Read a video, an image, a folder of views, of a point cloud or of a scene once and return its record.

    Raises:
        ClipError: it cannot be read.
        UsageError: it is a folder of anything else.
    """
    return probe_found((identify(path) if path.exists() else None) or _as_one(path))


def probe_found(found: FoundSource) -> SourceInfo:
    """Read a source whose kind is known once and return its record.

    Raises:
        ClipError: it cannot be read, or not whole.
    """
    match found.kind:
        case "video":
            return probe(found.path)
        case "image" | "panorama":
            return probe_pictures(found.path)
        case "views":
            return probe_pictures(found.path, [path.name for path in list_images(found.path)])
        case "cloud":
            return probe_pictures(found.path, picture_names(found.path))
        case "v15":
            return probe_scene_folder(found.path)
        case _:
            assert_never(found.kind)


def _as_one(path: Path) -> FoundSource:
    """A folder as the views of one place, and whatever else there is as a video."""
    found = identify(path, as_views=True) if path.is_dir() else None
    return found or FoundSource(path, "video")


def open_source(info: SourceInfo, size: tuple[int, int] | None = None, fit: FitMode = "crop") -> SourceReader:
    """The frames of a source fitted to ``size`` (height, width), None: its own. Close the reader."""
    return PictureReader(info, size, fit) if isinstance(info, PictureInfo) else VideoReader(info, size, fit)


def is_still(info: SourceInfo) -> bool:
    """Whether the source's frames are views of a place that stands still, not moments."""
    return isinstance(info, PictureInfo)
