"""Windows of a known scene, each rescaled, moved and made noisy, must come back as that scene."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.true_scene import SIZE, cameras, cut, displaced, noisy, random_similarity, scene

from inspatio.cameras.poses import interpolate, invert, relative_to_first, smooth
from inspatio.cameras.similarity import Similarity
from inspatio.geometry.depth_anything3.buffers import DiskBuffer
from inspatio.geometry.depth_anything3.stitching import Stitcher, View, align
from inspatio.geometry.depth_anything3.windows import SMALLEST_WINDOW, halved, next_window


def windows_of(frame_count: int, size: int) -> list[range]:
    done, found = 0, []
    while done < frame_count:
        found.append(next_window(done, frame_count, size))
        done = found[-1].stop
    return found


def stitched(folder: Path, windows: list[tuple[int, View]], count: int) -> tuple[View, Stitcher]:
    with ExitStack() as stack:
        depth, confidence = (
            stack.enter_context(DiskBuffer(folder / name, SIZE, np.float32)) for name in ("depth", "confidence")
        )
        stitcher = Stitcher(count, depth, confidence)
        for start, window in windows:
            stitcher.add(start, window)
        view = View(depth.read(0, count), confidence.read(0, count), stitcher.intrinsics, stitcher.world_to_camera)
    assert not any(folder.iterdir())
    return view, stitcher


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between the rotations of ``n 4 4`` poses."""
    turn = Rotation.from_matrix(a[:, :3, :3]) * Rotation.from_matrix(b[:, :3, :3]).inv()
    return np.rad2deg(turn.magnitude())


@given(st.integers(1, 600), st.integers(SMALLEST_WINDOW, 64))
def test_windows_cover_the_clip_and_overlap(frame_count: int, size: int) -> None:
    windows = windows_of(frame_count, size)
    assert windows[0].start == 0
    assert windows[-1].stop == frame_count
    assert all(len(window) <= size for window in windows)
    assert all(a.stop - b.start >= 2 for a, b in pairwise(windows))
    assert len(windows) == 1 or frame_count > size


def test_windows_halve_down_to_the_smallest() -> None:
    assert halved(17) == 8
    assert halved(2 * SMALLEST_WINDOW) == SMALLEST_WINDOW
    assert halved(2 * SMALLEST_WINDOW - 1) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_alignment_is_exact_without_noise(seed: int, frames: int) -> None:
    truth = cut(scene(12), range(frames))
    moved = random_similarity(np.random.default_rng(seed))
    found = align(truth, displaced(truth, moved))
    assert found.similarity.scale == pytest.approx(moved.scale, rel=1e-6)
    np.testing.assert_allclose(found.similarity.rotation, moved.rotation, atol=1e-6)
    np.testing.assert_allclose(found.similarity.translation, moved.translation, atol=1e-5)
    assert found.error < 1e-6


def test_alignment_ignores_what_moves_between_windows() -> None:
    """A third of every frame has another depth in one of the windows: hard outliers, all in one place."""
    truth = scene(6)
    other = displaced(truth, random_similarity(np.random.default_rng(3)))
    other.depth[:, :, : SIZE[1] // 3] *= 1.7
    found = align(other, truth)
    assert found.similarity.scale * other.depth[0, 5, -5] == pytest.approx(truth.depth[0, 5, -5], rel=1e-3)


def test_alignment_without_common_depth_follows_the_poses() -> None:
    truth = scene(8)
    moved = Similarity(1.0, Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix(), np.array([1.0, 2.0, 3.0]))
    blind = View(np.zeros_like(truth.depth), truth.confidence, truth.intrinsics, truth.world_to_camera)
    found = align(blind, displaced(truth, moved))
    np.testing.assert_allclose(found.similarity.rotation, moved.rotation, atol=1e-9)
    np.testing.assert_allclose(found.similarity.translation, moved.translation, atol=1e-9)
    assert found.error == np.inf


def test_similarity_moves_points_and_cameras_alike() -> None:
    random = np.random.default_rng(5)
    similarity, poses = random_similarity(random), cameras(4)
    points = random.normal(size=(4, 3))
    in_camera = np.einsum("nab,nb->na", poses[:, :3, :3], points) + poses[:, :3, 3]
    moved, moved_poses = similarity.scale * points @ similarity.rotation.T + similarity.translation, None
    moved_poses = similarity.cameras(poses)
    in_moved = np.einsum("nab,nb->na", moved_poses[:, :3, :3], moved) + moved_poses[:, :3, 3]
    np.testing.assert_allclose(in_moved, similarity.scale * in_camera, atol=1e-12)


@pytest.mark.parametrize("size", [4, 9, 24])
def test_cut_scene_comes_back_exactly(size: int, tmp_path: Path) -> None:
    truth, random = scene(40), np.random.default_rng(size)
    parts = [(window.start, cut(truth, window)) for window in windows_of(40, size)]
    parts = parts[:1] + [(start, displaced(part, random_similarity(random))) for start, part in parts[1:]]
    result, stitcher = stitched(tmp_path, parts, 40)
    np.testing.assert_allclose(result.depth, truth.depth, rtol=1e-4)
    np.testing.assert_allclose(result.world_to_camera, truth.world_to_camera, atol=1e-4)
    np.testing.assert_allclose(result.intrinsics, truth.intrinsics, rtol=1e-9)
    np.testing.assert_allclose(result.confidence, truth.confidence, rtol=1e-6)
    assert len(stitcher.overlaps) == len(parts) - 1


@pytest.mark.parametrize("seed", range(3))
def test_cut_noisy_scene_comes_back(seed: int, tmp_path: Path) -> None:
    """Three overlaps, 3 % depth noise, a tenth of the pixels wrong, poses off by a quarter of a degree and 2 cm."""
    count, random = 60, np.random.default_rng(seed)
    truth = scene(count)
    parts = []
    for window in windows_of(count, 20):
        part = noisy(cut(truth, window), random, depth=0.03, degrees=0.25, shift=0.02, outliers=0.1)
        parts.append((window.start, displaced(part, random_similarity(random)) if window.start else part))
    result, _ = stitched(tmp_path, parts, count)
    ratio = np.median(result.depth / truth.depth, axis=(1, 2))
    np.testing.assert_allclose(ratio, 1, atol=0.01)
    assert angles(result.world_to_camera, truth.world_to_camera).max() < 1.5
    offset = invert(result.world_to_camera)[:, :3, 3] - invert(truth.world_to_camera)[:, :3, 3]
    assert np.linalg.norm(offset, axis=-1).max() < 0.15


def test_blending_takes_the_depth_that_is_known(tmp_path: Path) -> None:
    truth = scene(12)
    first, second = cut(truth, range(8)), cut(truth, range(4, 12))
    first = View(first.depth.copy(), first.confidence, first.intrinsics, first.world_to_camera)
    second = View(second.depth.copy(), second.confidence, second.intrinsics, second.world_to_camera)
    first.depth[6, :10] = 0
    second.depth[1, :, :10] = 0
    result, _ = stitched(tmp_path, [(0, first), (4, second)], 12)
    np.testing.assert_allclose(result.depth, truth.depth, rtol=1e-4)


def test_one_window_is_left_as_it_is(tmp_path: Path) -> None:
    truth = scene(5)
    result, stitcher = stitched(tmp_path, [(0, truth)], 5)
    np.testing.assert_array_equal(result.depth, truth.depth)
    np.testing.assert_array_equal(result.world_to_camera, truth.world_to_camera)
    assert stitcher.overlaps == []


@given(st.floats(0.3, 6), st.integers(1, 60))
def test_smoothing_keeps_a_steady_motion(sigma: float, count: int) -> None:
    """Half a turn at a constant rate while the camera moves in a straight line: a helix, bent by no smoothing."""
    time = np.linspace(0, 1, count)
    camera_to_world = np.tile(np.eye(4), (count, 1, 1))
    camera_to_world[:, :3, :3] = Rotation.from_rotvec(time[:, None] * np.array([0.5, 2.0, 0.3])).as_matrix()
    camera_to_world[:, :3, 3] = time[:, None] * np.array([3.0, 0.0, 1.0])
    path = invert(camera_to_world)
    np.testing.assert_allclose(smooth(path, sigma), path, atol=1e-9)


def test_smoothing_takes_out_jitter() -> None:
    random, path = np.random.default_rng(0), cameras(80)
    shaken = noisy(scene(80), random, depth=0.0, degrees=0.5, shift=0.02, outliers=0.0).world_to_camera
    smoothed = smooth(shaken, 2.0)
    assert angles(smoothed, path).mean() < 0.6 * angles(shaken, path).mean()
    np.testing.assert_array_equal(smooth(shaken, 0.0), shaken)


def test_smoothing_survives_half_a_turn() -> None:
    """Quaternion components jump in sign along such a path; rotations do not."""
    camera_to_world = np.tile(np.eye(4), (40, 1, 1))
    turned = np.linspace(0, 2 * np.pi, 40)
    camera_to_world[:, :3, :3] = Rotation.from_rotvec(turned[:, None] * np.array([0.0, 1.0, 0.0])).as_matrix()
    path = invert(camera_to_world)
    np.testing.assert_allclose(smooth(path, 2.0), path, atol=1e-9)


def test_interpolation_meets_both_ends() -> None:
    first, second = cameras(10), relative_to_first(cameras(12))[2:]
    ends = [interpolate(first, second, np.full(10, weight)) for weight in (0.0, 1.0)]
    np.testing.assert_allclose(ends[0], first, atol=1e-12)
    np.testing.assert_allclose(ends[1], second, atol=1e-12)
    middle = interpolate(first, second, np.full(10, 0.5))
    np.testing.assert_allclose(angles(middle, first), angles(middle, second), atol=1e-6)
