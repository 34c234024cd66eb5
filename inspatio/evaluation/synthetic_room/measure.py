"""Measure renders, results and geometry of the synthetic room's clip against the truth.

ViewErrors.of(views, intrinsics)           PSNR, SSIM and flicker of a clip's frames, by region
TrueViews(adapted, cameras, folder)        what the target cameras would truly see, ray-cast once and kept
geometry_errors(geometry)                  depth and poses of estimated geometry
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import Trajectory
from inspatio.evaluation.cameras import PoseErrors, pose_errors
from inspatio.evaluation.metrics import DepthErrors, ImageErrors, depth_errors, similarity_map
from inspatio.evaluation.regions import View, border_flicker
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.geometry.store import Geometry
from inspatio.media.fit import Fit
from inspatio.scene import FOREGROUND_PERCENTILE, Scene
from inspatio.types import Image, WorldToCamera

_THUMBNAIL = (30, 52)


class TrueViews:
    """What the target cameras (``n 4 4``) of an adapted clip truly see, ray-cast once and kept as PNG in a folder."""

    def __init__(self, adapted: Scene, cameras: WorldToCamera, folder: Path) -> None:
        self._order = adapted.source_frames(range(len(adapted)))
        self.cameras = cameras
        self._folder = folder

    def image(self, place: int) -> Image:
        """Return the true view ``h w 3`` uint8 RGB of a target camera."""
        frame, pose = self._order[place], self.cameras[place]
        # A small view tells whether the scene is still the one that the kept picture shows.
        thumbnail = truth.true_view(frame, pose, np.diag([1 / 16, 1 / 16, 1]) @ truth.intrinsics(), _THUMBNAIL)
        key = thumbnail.tobytes() + np.round(pose, 9).tobytes() + frame.to_bytes(4, "little")
        path = self._folder / f"{hashlib.sha256(key).hexdigest()[:20]}.png"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), truth.true_view(frame, pose)[..., ::-1])
        image = cv2.imread(str(path))
        if image is None:
            raise OSError(f"{path}: cannot be read as a PNG. Delete it, so that it is made again")
        return np.ascontiguousarray(image[..., ::-1], np.uint8)

    def depth(self, place: int) -> NDArray[np.float32]:
        """Ray-cast the true ``h w`` z-depth in metres of a target camera."""
        return truth.true_depth(self._order[place], self.cameras[place])


def true_target_cameras(trajectory: Trajectory, frame_count: int) -> WorldToCamera:
    """Compute where the target cameras ``n 4 4`` of a clip should be: the trajectory applied to the true geometry."""
    foreground = float(np.percentile(truth.true_depth(0, np.eye(4)), FOREGROUND_PERCENTILE))
    return invert(trajectory.camera_to_world(frame_count, foreground))


@dataclass
class ViewErrors:
    """Errors of a clip's frames by region; ``flicker`` is one number for each pair of consecutive frames."""

    covered_render: ImageErrors = field(default_factory=ImageErrors)
    covered: ImageErrors = field(default_factory=ImageErrors)
    holes: ImageErrors = field(default_factory=ImageErrors)
    whole: ImageErrors = field(default_factory=ImageErrors)
    flicker: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, views: Iterable[View]) -> ViewErrors:
        """Measure frames of the size of :mod:`synthetic_room.scene`, in ascending order, in one pass."""
        errors, previous = cls(), None
        for view in views:
            similar = similarity_map(view.result, view.true)
            errors.covered_render.add(view.render, view.true, view.mask, similarity_map(view.render, view.true))
            errors.covered.add(view.result, view.true, view.mask, similar)
            errors.holes.add(view.result, view.true, ~view.mask, similar)
            errors.whole.add(view.result, view.true, np.ones_like(view.mask), similar)
            if previous is not None and previous.place == view.place - 1:
                errors.flicker.append(border_flicker(previous, view, truth.intrinsics()))
            previous = view
        return errors

    @property
    def hole_share(self) -> float:
        """Share of the pixels that the render does not cover, 0..1."""
        return self.holes.count / max(self.whole.count, 1)


@dataclass(frozen=True)
class GeometryErrors:
    """Estimated geometry of the room's clip against the truth."""

    depth: DepthErrors
    poses: PoseErrors


def geometry_errors(geometry: Geometry, stride: int = 10) -> GeometryErrors:
    """Measure geometry of the room's clip, of any resolution: depth of every ``stride``-th frame, poses of all.

    Raises:
        ValueError: the geometry has another number of frames than the clip.
    """
    if geometry.frame_count != truth.FRAME_COUNT:
        raise ValueError(f"geometry of another clip: got {geometry.frame_count} frames, expected {truth.FRAME_COUNT}")
    poses = truth.source_world_to_camera()
    size = (geometry.depth.shape[1], geometry.depth.shape[2])
    camera = Fit.make(truth.SIZE, size, "stretch").intrinsics(truth.intrinsics())

    def pairs() -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        for frame in range(0, truth.FRAME_COUNT, stride):
            own = geometry.depth[frame if len(geometry.depth) > 1 else 0]
            yield own, truth.true_depth(frame, poses[frame], camera, size)

    return GeometryErrors(depth_errors(pairs), pose_errors(geometry.world_to_camera, poses))
