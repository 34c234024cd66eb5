"""Measure geometry of the example clip, and new views made with it, against the ray-cast truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import Trajectory
from inspatio.clip_options import Controls
from inspatio.evaluation.cameras import PoseErrors, pose_errors
from inspatio.evaluation.metrics import DepthErrors, Fidelity, depth_errors
from inspatio.evaluation.regions import regions_of
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.generation.base import Generator, drive
from inspatio.geometry.scene import read_scene
from inspatio.geometry.store import Geometry
from inspatio.media.fit import Fit
from inspatio.scene import FOREGROUND_PERCENTILE, adapt


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


def view_errors(
    video: Path, folder: Path, trajectory: Trajectory, generator: Generator, stride: int = 12
) -> dict[str, float]:
    """Measure new views of the room's clip, from geometry of any kind, against what the camera truly would see.

    The true camera goes along the path in the true scene, so errors of the geometry show as errors of place and scale.

    Args:
        video: the clip.
        folder: its geometry folder.
        trajectory: the path; the clip keeps its frames.
        generator: makes frames of the clip's size.
        stride: every so many frames are compared (ray-casting takes seconds for each).

    Returns:
        ``psnr/covered``, ``psnr/whole`` and so on, as ``metrics.Fidelity`` names them, and ``coverage``.
    """
    keep = Controls(adaptive_frames=False)
    scene, cameras = adapt(read_scene(video, folder, truth.SIZE), trajectory, keep)
    true_depth = truth.true_depth(0, np.eye(4))
    reach = float(np.percentile(true_depth, FOREGROUND_PERCENTILE))
    path = invert(trajectory.camera_to_world(truth.FRAME_COUNT, reach))
    fidelity, coverage = Fidelity(), []
    for block in drive(generator.start(scene, seed=0), cameras):
        assert block.coverage is not None, "generators for this measure know what the source shows"
        for offset, (frame, covered) in enumerate(zip(block.frames.numpy(), block.coverage > 0, strict=True)):
            place = block.start + offset
            if place % stride == 0:
                fidelity.add(frame, truth.true_view(place, path[place]), regions_of(covered, None))
                coverage.append(float(covered.mean()))
    return fidelity.figures() | {"coverage": float(np.mean(coverage))}
