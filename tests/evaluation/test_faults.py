"""Which measure moves for which fault: a result equal to the truth is best everywhere, and each fault is told apart.

The clip goes out and comes back along its path in a still room, so that every pose but the middle one is seen twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from support.scenes import ArraySource, make_scene

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import OrbitTrajectory
from inspatio.clip_options import Controls
from inspatio.evaluation.camera_estimation import structure_from_motion
from inspatio.evaluation.cameras import path_errors
from inspatio.evaluation.catalogue import metric_of
from inspatio.evaluation.clip import Clip, Settings, evaluate_clip
from inspatio.evaluation.metrics import BEST_PSNR
from inspatio.evaluation.suite import FRAME_COUNT, SUITES
from inspatio.evaluation.synthetic_room.random_room import Room
from inspatio.render import WarpRenderer, render_scene
from inspatio.scene import Scene, adapt
from inspatio.types import Frames

Pictures = np.ndarray
"""``n h w 3`` float: the true frames before and after a fault."""

SIZE = (120, 208)
COUNT = 17
"""Nine frames out and eight back."""


@cache
def still_room() -> Room:
    return next(each for each in SUITES["synthetic"].clips if each.room.mover is None).room


@cache
def clip() -> tuple[Scene, Cameras, Frames, np.ndarray, np.ndarray]:
    """The source (a still camera), the target cameras, and what those truly see: frames, depth, coverage."""
    room = still_room()
    intrinsics = np.array([[170.0, 0, 103.5], [0, 170.0, 59.5], [0, 0, 1]])
    here = np.eye(4)
    view, depth = room.view(0, here, intrinsics, SIZE), room.depth(0, here, intrinsics, SIZE)
    stacked = np.stack([view] * COUNT), np.stack([depth] * COUNT), np.stack([here] * COUNT)
    scene = make_scene(*stacked, intrinsics, scale="metres")
    path = OrbitTrajectory((0, 4, 0), (0, 8, 0), (1,))
    adapted, cameras = adapt(scene, path, Controls(adaptive_frames=False))
    out = [
        (room.view(0, pose, cameras.intrinsics[0], SIZE), room.depth(0, pose, cameras.intrinsics[0], SIZE))
        for pose in cameras.world_to_camera[: COUNT // 2 + 1]
    ]
    frames, depths = (np.stack([*each, *each[-2::-1]]) for each in zip(*out, strict=True))
    masks = render_scene(WarpRenderer(), adapted, 0, cameras).masks > 0
    return adapted, cameras, frames, depths, masks


def figures(change: Callable[[Pictures], Pictures]) -> dict[str, float]:
    """What is measured when a fault is put into the true frames."""
    scene, cameras, frames, depth, masks = clip()
    seen = np.zeros_like(masks)
    seen[:, : SIZE[0] // 2] = True
    sources = {"truth": frames, "render": frames, "covered": masks, "seen": seen, "depth": depth}
    faulty = np.clip(np.rint(change(frames.astype(np.float32))), 0, 255).astype(np.uint8)
    at_hand: dict[str, Any] = {name: ArraySource(values) for name, values in sources.items()}
    return evaluate_clip(
        Clip("clip", ArraySource(faulty), cameras=cameras, source=scene, **at_hand), Settings(stride=2)
    )


@cache
def perfect() -> dict[str, float]:
    return figures(lambda frames: frames)


def noise(frames):
    return frames + np.random.default_rng(0).normal(0, 10, frames.shape)


def blur(frames):
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in frames])


def shift(frames):
    return np.roll(frames, 2, axis=2)


def flicker(frames):
    return frames + 8 * (-1.0) ** np.arange(COUNT)[:, None, None, None]


def half_the_path(frames):
    return frames[[place // 2 if place <= COUNT // 2 else (COUNT - 1 - place) // 2 for place in range(COUNT)]]


def reddening(frames):
    return frames * (1 + np.linspace(0, 0.3, COUNT)[:, None, None, None] * np.array([1, 0, 0]))


def frozen(frames):
    return np.repeat(frames[:1], COUNT, axis=0)


def too_far(frames):
    """The path at 1.3 times its scale: the right turns at the wrong places."""
    _, cameras, _, _, _ = clip()
    poses = cameras.world_to_camera[: COUNT // 2 + 1].copy()
    poses[:, :3, 3] *= 1.3
    out = [still_room().view(0, pose, cameras.intrinsics[0], SIZE) for pose in poses]
    return np.stack([*out, *out[-2::-1]]).astype(np.float32)


MEASURES = {
    "psnr/whole": 3,
    "ssim/whole": 0.05,
    "flip/whole": 0.02,
    "sharpness/whole": 0.05,
    "patch_distance/whole": 0.05,
    "flicker/border": 0.5,
    "reprojection_1/whole": 1,
    "reprojection_12/whole": 1,
    "revisit/whole": 1,
    "saturation/covered": 0.02,
    "contrast/covered": 0.02,
    "colour_drift/covered": 1,
    "camera_failures": 0.2,
    "rot_err_mean_deg": 0.5,
    "trans_err_rel_mean": 0.05,
    "trans_err_abs_mean": 0.05,
    "cam_mc_rel_mean": 0.05,
    "ate_share": 0.04,
    "coverage": 1e-9,
}
"""A measure has moved when it differs by so much from the truth's."""
TABLE = {
    # Pictures, time, colour, camera, coverage, each in the order of MEASURES:
    # + moves, = does not, ! moves the other way: the fault flatters it, ? may move
    noise: "+++++ ++++ +?= =?==== =",
    blur: "+++++ !!!= ++= +????? =",
    shift: "+++== ??+= === ====== =",
    flicker: "+=+== ++== === ====== =",
    half_the_path: "+++=? +++= ?== =+?++? =",
    too_far: "+++=? ?++= === ===+== =",
    reddening: "+=+?? ??++ +++ ====== =",
    frozen: "+++?? +++= ?== =+++++ =",
}


def test_a_result_equal_to_the_truth_is_best():
    found = perfect()
    for region in ("covered", "seen", "unseen", "border", "whole"):
        assert found[f"psnr/{region}"] == BEST_PSNR
        assert found[f"ssim/{region}"] == pytest.approx(1)
        assert found[f"flip/{region}"] == pytest.approx(0, abs=1e-6)
        assert found[f"sharpness/{region}"] == pytest.approx(1)
    assert found["patch_distance/whole"] == 0
    assert found["flicker/border"] == 0
    assert found["revisit/whole"] == found["revisit/holes"] == BEST_PSNR
    assert found["saturation/covered"] == found["contrast/covered"] == 1
    assert found["colour_drift/covered"] == 0
    assert found["camera_failures"] == 0
    assert found["rot_err_mean_deg"] < 0.4, "the estimator's own error"
    assert found["trans_err_abs_mean"] < 0.08


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.__name__)
def test_each_fault_moves_what_it_should(fault: Callable[[Pictures], Pictures]):
    found, best = figures(fault), perfect()
    for name, expected in zip(MEASURES, TABLE[fault].replace(" ", ""), strict=True):
        if expected == "?":
            continue
        change = found[name] - best[name]
        if metric_of(name).best == "high":
            change = -change
        elif metric_of(name).best == "one":
            change = abs(change)
        said = f"{name}: {best[name]:.3f} without the fault, {found[name]:.3f} with it"
        match expected:
            case "+":
                assert change > MEASURES[name], said
            case "!":
                assert change < -MEASURES[name], said
            case "=":
                assert abs(change) <= MEASURES[name], said


def test_an_estimator_that_fails_on_every_frame_is_counted_and_nothing_else():
    found = figures(np.zeros_like)
    assert found["camera_failures"] == 1
    assert not [name for name in found if "rot_err" in name or "trans_err" in name or "ate" in name]


def test_unknown_depth_is_no_surface():
    """NaN in the depth of target view and source: fewer pixels count, and the figures stay numbers."""
    scene, cameras, frames, depth, masks = clip()
    holed = depth.copy()
    holed[:, ::2] = np.nan
    depths = ArraySource(holed)
    source = make_scene(
        scene.read_frames(range(COUNT)), holed[:1].repeat(COUNT, 0), scene.world_to_camera, scene.intrinsics[0]
    )
    whole = Clip("clip", ArraySource(frames), covered=ArraySource(masks), depth=depths, cameras=cameras, source=source)
    found = evaluate_clip(whole, Settings(stride=8))
    assert all(np.isfinite(value) for value in found.values())
    assert found["reprojection_1/whole"] > 20
    assert found["rot_err_mean_deg"] < 1


@pytest.mark.slow
def test_structure_from_motion_is_a_second_opinion():
    """COLMAP on true pictures of a clip of the suite: its floor, in a scale of its own; black pictures are failures."""
    suite_clip = SUITES["synthetic"].clips[0]
    places = range(0, FRAME_COUNT, 4)
    poses = suite_clip.trajectory.camera_to_world(FRAME_COUNT, 2.0)[places.start :: places.step]
    frames = np.stack(
        [suite_clip.room.view(0, np.linalg.inv(pose), suite_clip.intrinsics, suite_clip.size) for pose in poses]
    )
    found = structure_from_motion(frames, suite_clip.intrinsics)
    assert found.failures == 0
    errors = path_errors(found.world_to_camera, invert(poses), FRAME_COUNT)
    assert errors["rot_err_mean_deg"] < 0.3
    assert errors["trans_err_rel_mean"] < 0.03
    again = structure_from_motion(frames, suite_clip.intrinsics)
    assert np.array_equal(again.world_to_camera, found.world_to_camera)
    black = structure_from_motion(np.zeros_like(frames[:6]), suite_clip.intrinsics)
    assert black.failures == 1
