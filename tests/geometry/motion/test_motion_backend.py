"""Geometry by motion against the ray-cast room: accurate, repeatable, and a prior where motion shows nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.moving_room import INTRINSICS, SIZE, SOURCE_STEP, film, moving

from inspatio.evaluation.cameras import pose_errors
from inspatio.evaluation.metrics import depth_errors
from inspatio.evaluation.synthetic_room import scene as room
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.motion.backend import MotionGeometry
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.media import VideoInfo

MOMENTS = range(0, room.FRAME_COUNT, SOURCE_STEP)


def estimate(
    video: VideoInfo, folder: Path, backend: MotionGeometry | None = None
) -> tuple[GeometrySummary, Geometry, list[tuple[int, int]]]:
    folder.mkdir()
    steps: list[tuple[int, int]] = []
    summary = (backend or MotionGeometry()).estimate(video, folder, lambda *step: steps.append(step))
    return summary, load_geometry(folder), steps


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return film(tmp_path_factory.mktemp("clips") / "moving.mp4", list(moving()), MOMENTS)


@pytest.fixture(scope="module")
def result(clip: VideoInfo, tmp_path_factory: pytest.TempPathFactory):
    return estimate(clip, tmp_path_factory.mktemp("motion") / "first")


def errors(geometry: Geometry) -> tuple[float, float, float, float]:
    """AbsRel, degrees, share of the path, and the focal length's relative error."""

    def pairs():
        for place, moment in enumerate(MOMENTS):
            yield geometry.depth[place], room.true_depth(moment, moving()[place], INTRINSICS, SIZE)

    depth, poses = depth_errors(pairs), pose_errors(geometry.world_to_camera, moving())
    focal = geometry.intrinsics[0, 0, 0] / INTRINSICS[0, 0] - 1
    return depth.abs_rel, poses.rotation_degrees, poses.translation, abs(focal)


def test_depth_and_cameras_are_near_the_truth(result) -> None:
    summary, geometry, steps = result
    assert (summary.backend, summary.scale, geometry.backend) == ("motion", "relative", "motion")
    depth, degrees, path, focal = errors(geometry)
    assert depth < 0.08
    assert degrees < 0.2
    assert path < 0.01
    assert focal < 0.05
    assert (geometry.depth > 0).all()
    (shot,) = geometry.settings["shots"]
    assert (shot["first"], shot["last"], shot["kind"]) == (0, len(MOMENTS) - 1, "motion")
    assert shot["held_out_error_px"] < 0.5
    done = [step[0] for step in steps]
    assert done == sorted(done)
    assert steps[-1][0] == steps[-1][1]


def test_a_focal_length_that_is_given_is_kept(clip: VideoInfo, tmp_path: Path) -> None:
    _, geometry, _ = estimate(clip, tmp_path / "g", MotionGeometry(focal=float(INTRINSICS[0, 0])))
    assert geometry.intrinsics[0, 0, 0] == pytest.approx(INTRINSICS[0, 0], rel=0.002)
    assert errors(geometry)[1] < 0.2
