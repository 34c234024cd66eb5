"""Loose coloured points: the nearest one of each pixel, whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.scenes import turned

from inspatio.render import splat_points

SIZE = (30, 40)
INTRINSICS = np.array([[35.0, 0, 19.5], [0, 33.0, 14.5], [0, 0, 1]])
POSE = turned(12, -7, (0.2, -0.1, 0.3))


def cloud(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-3, -3, -1), (3, 3, 6), (count, 3)).astype(np.float32)
    return points, rng.integers(1, 256, (count, 3), dtype=np.uint8)


def by_hand(points: np.ndarray, point_size: float) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest point of each pixel (-1 for none) and its depth."""
    winner = np.full(SIZE, -1)
    nearest = np.full(SIZE, np.inf)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for i, point in enumerate(points.astype(float)):
        x, y, z = POSE[:3, :3] @ point + POSE[:3, 3]
        if z <= 0:
            continue
        u, v = 35 * x / z + 19.5, 33 * y / z + 14.5
        half = point_size / 2
        covered = (columns >= u - half) & (columns < u + half) & (rows >= v - half) & (rows < v + half)
        closer = covered & (z < nearest)
        winner[closer], nearest[closer] = i, z
    return winner, np.where(winner < 0, 0, nearest)


@pytest.mark.parametrize("point_size", [0.5, 1.0, 1.7, 4.0])
def test_the_nearest_point_of_each_pixel(point_size: float) -> None:
    points, colours = cloud(1500)
    image, depth, coverage = splat_points(points, colours, POSE, INTRINSICS, SIZE, point_size=point_size)
    winner, expected_depth = by_hand(points, point_size)
    assert 0 < (winner >= 0).mean() < 1
    assert_array_equal(coverage, np.where(winner >= 0, 255, 0))
    assert_array_equal(image, np.where(winner[..., None] >= 0, colours[winner], 0))
    np.testing.assert_allclose(depth, expected_depth, rtol=1e-5)


def test_threads_change_nothing() -> None:
    """Even where points coincide: the first of them shows."""
    points, _ = cloud(100_000, seed=1)
    points = np.concatenate([points, points])
    colours = np.random.default_rng(2).integers(0, 256, points.shape, dtype=np.uint8)
    first, *others = (splat_points(points, colours, POSE, INTRINSICS, SIZE, threads=n) for n in (1, 2, 4))
    for other in others:
        for expected, got in zip(first, other, strict=True):
            assert_array_equal(got, expected)
    assert_array_equal(first[0], splat_points(points[:100_000], colours[:100_000], POSE, INTRINSICS, SIZE)[0])


def test_pixels_lifted_and_splatted_are_the_image() -> None:
    rng = np.random.default_rng(3)
    depth = rng.uniform(0.5, 9, SIZE)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([columns, rows, np.ones(SIZE)], -1) @ np.linalg.inv(INTRINSICS).T
    points = (rays * depth[..., None]).reshape(-1, 3) @ np.linalg.inv(POSE)[:3, :3].T + np.linalg.inv(POSE)[:3, 3]
    colours = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    image, seen_depth, coverage = splat_points(
        points.astype(np.float32), colours.reshape(-1, 3), POSE, INTRINSICS, SIZE
    )
    assert_array_equal(image, colours)
    assert (coverage == 255).all()
    np.testing.assert_allclose(seen_depth, depth, rtol=1e-5)


def test_what_is_not_drawn() -> None:
    """No points, points without a place, points behind the camera, points before the near plane."""
    colours = np.full((4, 3), 200, np.uint8)
    points = np.array([[0, 0, -1], [np.nan, 0, 1], [0, 0, np.inf], [0, 0, 0.5]], np.float32)
    for chosen in (points[:0], points[:3]):
        for output in splat_points(chosen, colours[: len(chosen)], np.eye(4), INTRINSICS, SIZE, point_size=3):
            assert not output.any()
    assert splat_points(points, colours, np.eye(4), INTRINSICS, SIZE, point_size=3)[2].any()
    assert not splat_points(points, colours, np.eye(4), INTRINSICS, SIZE, point_size=3, near=0.5)[2].any()
