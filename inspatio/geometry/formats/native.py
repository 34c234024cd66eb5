"""Import a geometry folder of this package, with ``depth.npy`` or, as the examples are shipped, ``depth.mkv``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from inspatio.errors import ClipError
from inspatio.geometry.depth_video import DEPTH_VIDEO_FILE, read_depth_video
from inspatio.geometry.formats.common import ImportedGeometry, Maps
from inspatio.geometry.store import CAMERAS_FILE, DEPTH_FILE, Geometry, load_geometry, read_cameras
from inspatio.media import SourceInfo


def matches(folder: Path) -> bool:
    """Whether the folder has this format's files."""
    return (folder / CAMERAS_FILE).is_file()


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: a file is missing or damaged, or the geometry is not of this video.
    """
    if not (folder / DEPTH_FILE).exists() and (folder / DEPTH_VIDEO_FILE).exists():
        return _open_video(folder)
    geometry = load_geometry(folder)
    return ImportedGeometry(
        geometry.image_size,
        geometry.depth.shape[1:],
        geometry.intrinsics,
        geometry.world_to_camera,
        geometry.scale,
        _read_arrays(geometry),
        {"format": "native", "backend": geometry.backend, **geometry.settings},
        depth_dtype=geometry.depth.dtype,
        same_depth=len(geometry.depth) < geometry.frame_count,
    )


def _read_arrays(geometry: Geometry) -> Iterator[Maps]:
    for i in range(len(geometry.depth)):
        yield Maps(
            geometry.depth[i],
            None if geometry.confidence is None else geometry.confidence[i],
            None if geometry.sky is None else geometry.sky[i],
        )


def _open_video(folder: Path) -> ImportedGeometry:
    cameras = read_cameras(folder)
    if cameras.depth_scale is None:
        raise ClipError(f"{folder / CAMERAS_FILE}: field 'depth_coding' is missing, expected beside {DEPTH_VIDEO_FILE}")
    maps = read_depth_video(folder / DEPTH_VIDEO_FILE, cameras.depth_scale)
    first = next(maps, None)
    if first is None:
        raise ClipError(f"{folder / DEPTH_VIDEO_FILE}: holds no frames")
    return ImportedGeometry(
        cameras.image_size,
        first.shape,
        cameras.intrinsics,
        cameras.world_to_camera,
        cameras.scale,
        (Maps(depth) for depth in chain([first], maps)),
        {"format": "native", "backend": cameras.backend, **cameras.settings},
    )
