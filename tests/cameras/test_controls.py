from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from support.paths import GOLDEN
from support.scenes import make_scene

from inspatio.cameras import poses as cameras
from inspatio.cameras.controls import adapted_frame_count, bounce, clip_order, subsample
from inspatio.cameras.trajectory import OrbitTrajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError, UsageError
from inspatio.scene import Scene, target_cameras

RENDER_GOLDEN = GOLDEN / "render.safetensors"
STILL = OrbitTrajectory((0.0,), (0.0,), (0.0,))
DOLLY = OrbitTrajectory((0.0,), (0.0,), (0.0, 1.0))
counts = st.integers(1, 400)
angles = st.floats(0.01, 500)


def orbit(total: float) -> OrbitTrajectory:
    return OrbitTrajectory((0.0, 0.0), (0.0, total), (1.0,))


# The adapted frame count


@given(counts, angles)
def test_adapted_clips_are_neither_too_fast_nor_too_slow(frame_count, total):
    adapted = adapted_frame_count(frame_count, total)
    step = total / (adapted - 1)
    assert adapted >= 121
    assert step <= 0.8 + 1e-6
    assert step >= 0.3 - 1e-6 or adapted == 121


@given(counts, angles)
def test_adapting_changes_no_more_than_it_must_and_only_once(frame_count, total):
    adapted = adapted_frame_count(frame_count, total)
    assert adapted_frame_count(adapted, total) == adapted
    fits = frame_count >= 121 and 0.3 <= total / (frame_count - 1) <= 0.8
    assert (adapted == frame_count) >= fits


@pytest.mark.parametrize(
    ("frame_count", "total", "expected"),
    [
        (100, 20, 121),  # too short
        (247, 20, 121),  # 0.08 degrees a frame, but 121 frames win over 0.3 degrees
        (247, 60, 201),  # too slow
        (121, 200, 251),  # too fast
        (150, 60, 150),
        (122, 36.3, 122),
        (247, 36.3, 122),  # 36.3 / 0.3 is 121 steps, whatever the floating point says
        (50, 0, 50),
        (1, 0, 1),
    ],
)
def test_adapted_counts_worked_by_hand(frame_count, total, expected):
    assert adapted_frame_count(frame_count, total) == expected


# The order


@given(counts, st.integers(1, 1500))
def test_bounce_goes_forward_and_backward_without_a_pause(frame_count, target):
    order = bounce(frame_count, target)
    assert len(order) == target
    assert order[0] == 0
    assert set(order) <= set(range(frame_count))
    assert order[:frame_count] == list(range(min(frame_count, target)))
    if frame_count > 1:
        steps = np.diff(order)
        assert (np.abs(steps) == 1).all()
        for turn in np.flatnonzero(np.diff(steps)) + 1:  # direction changes only at the ends
            assert order[turn] in (0, frame_count - 1)


@given(counts, st.integers(2, 400))
def test_subsampling_is_even_and_keeps_both_ends(frame_count, target):
    target = min(frame_count, target)
    order = np.array(subsample(frame_count, target))
    assert len(order) == target
    assert (order[0], order[-1]) == (0, frame_count - 1 if target > 1 else 0)
    if target > 1:
        assert (np.diff(order) >= 1).all()
        assert np.ptp(np.diff(order)) <= 1


@given(counts, st.integers(0, 50), st.data())
def test_freeze_inserts_exactly_n_right_after_the_frame(frame_count, repeat, data):
    frame = data.draw(st.just("middle") | st.integers(0, frame_count - 1))
    order = clip_order(
        frame_count, orbit(10), Controls(adaptive_frames=False, freeze_repeat=repeat, freeze_frame=frame)
    )
    assert len(order) == frame_count + repeat
    assert sorted(set(order)) == list(range(frame_count))
    assert order == sorted(order)
    index = frame_count // 2 if frame == "middle" else frame
    assert order.count(index) == 1 + repeat


@given(counts, angles)
def test_adapted_orders_are_whole_bounces_or_even_subsamples(frame_count, total):
    order = clip_order(frame_count, orbit(total), Controls())
    assert len(order) == adapted_frame_count(frame_count, total)
    assert order[0] == 0
    whole = list(range(frame_count))
    assert order[: len(whole)] == whole if len(order) >= frame_count else order == subsample(frame_count, len(order))


def test_freeze_comes_before_bounce():
    order = clip_order(3, orbit(10), Controls(freeze_repeat=2, freeze_frame=1))
    assert order[:9] == [0, 1, 1, 1, 2, 1, 1, 1, 0]
    assert len(order) == 121


@pytest.mark.parametrize("trajectory", [STILL, DOLLY])
def test_a_path_that_does_not_turn_keeps_the_frame_count(trajectory):
    assert clip_order(30, trajectory, Controls()) == list(range(30))


def test_adaptive_frames_can_be_switched_off():
    assert clip_order(30, orbit(100), Controls(adaptive_frames=False)) == list(range(30))


def test_faults():
    with pytest.raises(UsageError, match="freeze_repeat: got -1"):
        Controls(freeze_repeat=-1)
    for frame in (-1, "last", 1.5):
        with pytest.raises(UsageError, match=f"freeze_frame: got {frame!r}, expected .*middle"):
            Controls(freeze_frame=frame)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ClipError, match="--freeze_frame 30: the clip has 30 frames, expected 0 to 29 or middle"):
        clip_order(30, STILL, Controls(freeze_repeat=1, freeze_frame=30))


# The cameras


def scene(world_to_camera: np.ndarray) -> Scene:
    """Black frames, and depth of 3 everywhere but for an unknown and an infinite pixel."""
    n = len(world_to_camera)
    depth = np.full((n, 4, 4), 3.0)
    depth[:, 0, 0], depth[:, 0, 1] = 0, np.inf
    frames = np.zeros((n, 4, 4, 3), np.uint8)
    return make_scene(frames, depth, world_to_camera, np.diag([5.0, 5, 1]), scale="metres")


def moving(count: int) -> np.ndarray:
    return cameras.invert(cameras.orbit(np.linspace(0, 9, count), np.linspace(0, -7, count), 2.0))


def test_displacement_is_scaled_by_the_foreground_depth():
    targets = target_cameras(scene(moving(2)), OrbitTrajectory((0.0,), (0.0,), (0.0, 0.5)), Controls())
    np.testing.assert_allclose(cameras.invert(targets.world_to_camera)[-1], cameras.dolly([1.5])[0], atol=1e-12)


def test_targets_ignore_or_ride_on_the_source_motion():
    source = scene(moving(5))
    path = OrbitTrajectory((0.0, 4.0), (0.0, 10.0), (1.0,))
    poses = path.camera_to_world(5, 3.0)
    absolute = cameras.invert(target_cameras(source, path, Controls()).world_to_camera)
    np.testing.assert_allclose(absolute, poses, atol=1e-12)
    relative = cameras.invert(target_cameras(source, path, Controls(relative_to_source=True)).world_to_camera)
    np.testing.assert_allclose(relative, cameras.invert(source.world_to_camera) @ poses, atol=1e-12)


def test_relative_and_still_is_the_source_camera():
    source = scene(moving(6)).select(bounce(6, 15))
    targets = target_cameras(source, STILL, Controls(relative_to_source=True))
    expected = source.cameras(range(15)).world_to_camera
    np.testing.assert_allclose(targets.world_to_camera, expected, atol=1e-12)


def test_golden_relative_to_source():
    golden = load_file(RENDER_GOLDEN)
    source = scene(cameras.invert(golden["source_c2w"].astype(np.float64)))
    # The golden poses orbit at a radius of 2; the depth here is 3.
    for frame, pitch, yaw in [(1, 6.0, -8.0), (2, -4.0, 10.0)]:
        path = OrbitTrajectory((pitch,), (yaw,), (2.0 / 3.0,))
        targets = target_cameras(source, path, Controls(relative_to_source=True))
        np.testing.assert_allclose(
            cameras.invert(targets.world_to_camera)[frame], golden["relative_c2w"][frame], atol=1e-6
        )


def test_rotation_only_rides_on_the_source_place():
    source = scene(moving(4))
    path = OrbitTrajectory((0.0, 4.0), (0.0, 10.0), (1.0,))
    targets = cameras.invert(
        target_cameras(source, path, Controls(relative_to_source=True, rotation_only=True)).world_to_camera
    )
    np.testing.assert_allclose(targets[:, :3, 3], cameras.invert(source.world_to_camera)[:, :3, 3], atol=1e-12)
    turned = cameras.invert(target_cameras(source, path, Controls(rotation_only=True)).world_to_camera)
    np.testing.assert_allclose(turned[:, :3, 3], 0, atol=1e-12)


def test_a_path_that_turns_for_ever_is_refused():
    """It made a list of a thousand million frames; whatever reads files of trajectories refuses it with a line."""
    with pytest.raises(ClipError, match=r"turns 1e\+09 degrees in total, expected at most 80000"):
        clip_order(10, orbit(1e9), Controls())
    assert len(clip_order(10, orbit(1e9), Controls(adaptive_frames=False))) == 10
