"""The synthetic room: a steady camera, and true views that agree with one another."""

from __future__ import annotations

import numpy as np
import pytest
from support.scenes import psnr

from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.render import WarpRenderer

SMALL = (120, 208)


def small_intrinsics() -> np.ndarray:
    scale = SMALL[0] / truth.SIZE[0]
    return np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]]) @ truth.intrinsics()


def test_first_camera_is_the_world():
    poses = truth.source_world_to_camera()
    assert np.allclose(poses[0], np.eye(4), atol=1e-12)
    steps = np.linalg.norm(np.diff(np.linalg.inv(poses)[:, :3, 3], axis=0), axis=1)
    assert 0 < steps.max() < 0.02, "a hand's drift, not a jump"


def test_the_same_view_is_the_same_bytes():
    pose = truth.source_world_to_camera()[30]
    once, again = (truth.true_view(10, pose, small_intrinsics(), SMALL) for _ in range(2))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("frame", [0, 60])
def test_depth_carries_one_true_view_to_another(frame: int):
    """What both cameras see has the same colour from both, at the place that depth says."""
    camera, here, there = small_intrinsics(), truth.source_world_to_camera()[0], truth.source_world_to_camera()[-1]
    view, depth = (f(frame, here, camera, SMALL) for f in (truth.true_view, truth.true_depth))
    source, target = (Cameras.from_poses(pose[None], camera) for pose in (here, there))
    render = WarpRenderer().render(view[None], depth[None], source, target, with_depth=True)
    carried, mask, carried_depth = render.frames, render.masks, render.depth
    assert carried_depth is not None
    true, true_depth = (f(frame, there, camera, SMALL) for f in (truth.true_view, truth.true_depth))
    both = (mask[0] > 0) & (np.abs(carried_depth[0] - true_depth) < 0.02 * true_depth)
    assert both.mean() > 0.8
    assert psnr(carried[0][both], true[both]) > 28


def test_things_move_and_the_room_does_not():
    pose = truth.source_world_to_camera()[0]
    depths = [truth.true_depth(frame, pose, small_intrinsics(), SMALL) for frame in (0, 48)]
    moved = np.abs(depths[0] - depths[1]) > 1e-6
    assert 0.002 < moved.mean() < 0.05
