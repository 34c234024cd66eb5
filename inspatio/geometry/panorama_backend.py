"""Geometry of panoramas: the distance of every pixel, from the file beside the picture or by Depth Anything 3.

    distance.npy    h w float32, in units of the panorama's geometric mean distance
    cameras.json    the reference views, and what a length of 1 is

Depth Anything 3 estimates 42 perspective views, which are merged (``panorama_depth.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.poses import invert
from inspatio.errors import ClipError
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.panorama import UNIT, load_distance, load_panorama, unit_distance, views
from inspatio.geometry.panorama_depth import merge_views, split_cameras, split_view
from inspatio.geometry.store import load_geometry
from inspatio.media.listing import DEPTH_ENDINGS, panorama_depth
from inspatio.storage import atomic_file
from inspatio.types import Frames, Image, Progress

if TYPE_CHECKING:
    from inspatio.geometry.depth_anything3 import DepthAnything3
    from inspatio.media import SourceInfo

BACKEND = "panorama"
VERSION = 1
"""Raised when the same panorama would give another distance."""
DISTANCE_NAME = "distance.npy"
VIEW_SIZE = (504, 504)
"""(height, width) of the views that depth is estimated from."""
MERGED_HEIGHT = 512
"""Rows of an estimated distance: finer than the estimates of its views are."""


class PanoramaGeometry:
    """A :class:`inspatio.geometry.backend.GeometryBackend` of panoramas."""

    def __init__(self, estimator: DepthAnything3 | None = None) -> None:
        """``estimator`` is for panoramas without depth beside them; None: they have no geometry."""
        self._estimator = estimator

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        """Version, and the estimator's where it is asked; the depth beside a panorama is part of the source."""
        estimated = self._estimator is not None and panorama_depth(video.path) is None
        by = self._estimator.fingerprint(video) if self._estimator is not None and estimated else None
        return {"backend": BACKEND, "version": VERSION, "estimator": by}

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the panorama's geometry into the empty ``folder``.

        Raises:
            ClipError: the picture or its depth is damaged, or it has no depth and there is no estimator.
        """
        image, depth = load_panorama(video.path), panorama_depth(video.path)
        notes, weights = [f"lengths are in units of the {UNIT}"], ()
        if depth is not None:
            distance = load_distance(depth, (image.shape[0], image.shape[1]))
        elif self._estimator is not None:
            distance = estimate_distance(image, self._estimator, progress)
            notes.append("depth by Depth Anything 3, merged from 42 views")
            weights = tuple(each.path for each in self._estimator.folders)
        else:
            raise ClipError(
                f"{video.path}: no depth beside it, expected {video.path.stem}{DEPTH_ENDINGS[0]} (.npz, .exr, .png). "
                "Estimate it with another program, or use --geometry da3"
            )
        with atomic_file(folder / DISTANCE_NAME) as part, part.open("wb") as handle:
            np.save(handle, unit_distance(distance))
        cameras = views(VIEW_SIZE)
        CameraFile(
            image_size=VIEW_SIZE,
            intrinsics=np.array(cameras.intrinsics),
            world_to_camera=cameras.world_to_camera @ invert(cameras.world_to_camera[0]),
            scale="relative",
            backend=BACKEND,
            settings={"unit": UNIT, "world": "the first view, of the panorama's middle"},
            frame_rate=video.frame_rate,
        ).save(folder / "cameras.json")
        return GeometrySummary(BACKEND, "relative", frame_count=1, notes=tuple(notes), weights=weights)


def estimate_distance(image: Image, estimator: DepthAnything3, progress: Progress) -> NDArray[np.float32]:
    """The distance of a panorama's pixels, ``h w`` of any scale, merged from estimates of 42 views of it.

    ``progress`` counts the views.
    """
    cameras = split_cameras()
    pictures = np.stack([split_view(image, cameras[i : i + 1], VIEW_SIZE) for i in range(len(cameras))])
    with TemporaryDirectory(prefix="inspatio-panorama-") as name:
        estimator.estimate_frames(_Pictures(pictures), VIEW_SIZE, Path(name), progress)
        depth = np.array(load_geometry(Path(name)).depth, np.float32)
    height, width = depth.shape[1:]
    lens = np.diag([width, height, 1.0]) @ cameras.intrinsics[0]
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(lens).T
    size = min(image.shape[0], MERGED_HEIGHT), min(image.shape[1], 2 * MERGED_HEIGHT)
    return merge_views(list((depth * np.linalg.norm(rays, axis=-1)).astype(np.float32)), size)


class _Pictures:
    """Pictures in memory as a source of frames."""

    def __init__(self, pictures: Frames) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, indices: Sequence[int]) -> Frames:
        return self._pictures[list(indices)]
