"""Measure geometry of the example clip against the ray-cast truth, in depth maps of any resolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.evaluation.cameras import PoseErrors, pose_errors
from inspatio.evaluation.metrics import DepthErrors, depth_errors
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.geometry.store import Geometry
from inspatio.media.fit import Fit


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
