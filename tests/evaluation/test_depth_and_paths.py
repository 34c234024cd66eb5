"""The measures themselves: nothing wrong measures as nothing, and what is wrong by a known amount as that amount."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.true_scene import cameras, random_similarity, scene

from inspatio.evaluation.cameras import largest_pose_error, pose_errors
from inspatio.evaluation.metrics import depth_errors

TRUTH = scene(8).depth


@pytest.mark.parametrize("scale", [1.0, 0.3, 20.0])
def test_scaled_truth_has_no_error(scale: float) -> None:
    found = depth_errors(lambda: [(depth * scale, depth) for depth in TRUTH])
    assert (found.abs_rel, found.delta, found.known) == pytest.approx((0, 1, 1), abs=1e-6)
    assert found.scale == pytest.approx(1 / scale, rel=1e-5)


def test_known_errors() -> None:
    """A tenth of the rows is a third too far, a tenth is unknown, the rest is right."""
    estimate = TRUTH.copy()
    estimate[:, :4] *= 4 / 3
    estimate[:, 4:8] = 0
    rows = TRUTH.shape[1]
    found = depth_errors(lambda: zip(estimate, TRUTH, strict=True))
    assert found.known == pytest.approx((rows - 4) / rows)
    assert found.abs_rel == pytest.approx(4 / 3 / (rows - 4), rel=1e-4)
    assert found.delta == pytest.approx((rows - 8) / (rows - 4))


def test_flicker_counts() -> None:
    """One scale for the clip, not one for each frame."""
    found = depth_errors(lambda: [(depth * (1 + 0.1 * (i % 2)), depth) for i, depth in enumerate(TRUTH)])
    assert found.abs_rel > 0.04


def test_no_depth_in_common() -> None:
    with pytest.raises(ValueError, match="expected some"):
        depth_errors(lambda: [(np.zeros((2, 2)), np.ones((2, 2)))])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_same_path_in_another_world_has_no_error(seed: int) -> None:
    path, moved = cameras(20), random_similarity(np.random.default_rng(seed))
    found = pose_errors(moved.cameras(path), path)
    assert found.rotation_degrees == pytest.approx(0, abs=1e-5)
    assert found.translation == pytest.approx(0, abs=1e-8)
    assert found.scale == pytest.approx(1 / moved.scale)


def test_known_rotation_error() -> None:
    path = cameras(20)
    turned = path.copy()
    turned[1:, :3, :3] = Rotation.from_rotvec([0, 0, np.deg2rad(2)]).as_matrix() @ path[1:, :3, :3]
    turned[1:, :3, 3] = path[1:, :3, 3] @ Rotation.from_rotvec([0, 0, np.deg2rad(2)]).as_matrix().T
    found = pose_errors(turned, path)
    assert found.rotation_degrees == pytest.approx(2 * np.sqrt(19 / 20), rel=1e-6)
    assert found.translation == pytest.approx(0, abs=1e-9)
    assert largest_pose_error(turned, path)[0] == pytest.approx(2)


def test_still_camera() -> None:
    still = np.tile(np.eye(4), (5, 1, 1))
    drifting = still.copy()
    drifting[:, 0, 3] = np.arange(5) * 0.1
    assert pose_errors(still, still).translation == 0
    assert pose_errors(drifting, still).translation == pytest.approx(np.sqrt(np.mean((np.arange(5) * 0.1) ** 2)))
