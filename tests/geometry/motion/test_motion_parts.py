"""The parts of geometry by motion, each against a law or an exact answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import compose
from inspatio.geometry.motion.depth import fill, triangulate_flows
from inspatio.geometry.motion.poses import Lens, locate
from inspatio.geometry.motion.tracks import track
from inspatio.geometry.motion.triangulate import carry, triangulate, weighted_median

SIZE = (40, 60)


@given(st.floats(0.55, 3), st.floats(-0.08, 0.2))
def test_a_lens_undoes_its_distortion(focal: float, distortion: float) -> None:
    lens = Lens(SIZE, focal * SIZE[1], distortion)
    pixels = np.random.default_rng(0).uniform((0, 0), (SIZE[1] - 1, SIZE[0] - 1), (50, 2))
    np.testing.assert_allclose(lens.pixels(lens.rays(pixels)), pixels, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_a_pose_is_found_among_outliers(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = compose(Rotation.from_rotvec(random.normal(0, 0.1, 3)).as_matrix(), random.normal(0, 0.2, 3))
    points = random.uniform((-2, -1.5, 3), (2, 1.5, 9), (80, 3))
    camera = points @ truth[:3, :3].T + truth[:3, 3]
    rays = camera[:, :2] / camera[:, 2:]
    rays[:16] += random.uniform(0.1, 0.3, (16, 2))  # a fifth of the points moves by itself
    start = compose(Rotation.from_rotvec(random.normal(0, 0.02, 3)).as_matrix(), random.normal(0, 0.02, 3)) @ truth
    pose, error = locate(points, rays, start, 400.0)
    np.testing.assert_allclose(pose, truth, atol=1e-6)
    assert (error[:16] > 10).all()


def scene(shift: np.ndarray) -> tuple[Lens, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A slanted surface, seen before and after the camera moved by ``shift``: lens, rays, pose, inverse depth, flow."""
    lens = Lens(SIZE, 70.0, 0.05)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    rays = lens.rays(np.stack([columns, rows], -1))
    inverse = 0.2 + 0.001 * columns + 0.002 * rows
    pose = compose(Rotation.from_rotvec([0.01, -0.02, 0.005]).as_matrix(), shift)
    points = np.concatenate([rays, np.ones((*SIZE, 1))], -1) / inverse[..., None]
    camera = points @ pose[:3, :3].T + pose[:3, 3]
    flow = lens.pixels(camera[..., :2] / camera[..., 2:]) - np.stack([columns, rows], -1)
    return lens, rays.astype(np.float32), pose, inverse.astype(np.float32), flow.astype(np.float32)


@pytest.mark.parametrize("shift", [(-0.3, 0, 0), (0.1, 0.2, 0), (0, 0.02, -0.4)])
def test_exact_flow_gives_exact_depth(shift: tuple[float, float, float]) -> None:
    lens, rays, pose, inverse, flow = scene(np.array(shift))
    found, weight = np.empty(SIZE, np.float32), np.empty(SIZE, np.float32)
    # Flow back that cancels: the same motion with its sign turned, up to how it varies over a pixel or two.
    triangulate(flow, -flow, rays, pose, lens.focal, lens.distortion, 5.0, 0.5, found, weight)
    known = weight > np.quantile(weight, 0.3)  # near the point that the camera flies to there is no parallax
    assert known.sum() > 0.5 * known.size
    np.testing.assert_allclose(found[known], inverse[known], rtol=2e-2)
    # A pixel off its epipolar line is not trusted.
    across = np.stack([-flow[..., 1], flow[..., 0]], -1) / np.linalg.norm(flow, axis=-1, keepdims=True)
    aside = (flow + 3 * across).astype(np.float32)
    triangulate(aside, -aside, rays, pose, lens.focal, lens.distortion, 5.0, 0.5, found, weight)
    assert (weight > 0).mean() < 0.2


def test_depth_is_carried_to_where_the_surface_is() -> None:
    lens, rays, pose, inverse, flow = scene(np.array([-0.2, 0.05, 0.1]))
    height, width = SIZE
    # The map of the second frame: the surface as it is seen from there, spread by nearest pixels.
    camera = np.concatenate([rays, np.ones((*SIZE, 1))], -1) / inverse[..., None] @ pose[:3, :3].T + pose[:3, 3]
    rows, columns = np.mgrid[:height, :width]
    to_column = np.rint(columns + flow[..., 0]).astype(int)
    to_row = np.rint(rows + flow[..., 1]).astype(int)
    inside = (to_column >= 0) & (to_column < width) & (to_row >= 0) & (to_row < height)
    second = np.zeros(SIZE, np.float32)
    second[to_row[inside], to_column[inside]] = 1 / camera[..., 2][inside]
    carried, miss = np.empty(SIZE, np.float32), np.empty(SIZE, np.float32)
    carry(flow, rays, np.linalg.inv(pose), second, lens.focal, lens.distortion, carried, miss)
    known = carried > 0
    assert known.mean() > 0.7
    np.testing.assert_allclose(carried[known], inverse[known], rtol=0.02)
    assert np.quantile(miss[known], 0.95) < 0.3


def test_the_median_ignores_what_is_unknown_and_few_outliers() -> None:
    inverse = np.array([0.2, 0.21, 5.0, 0.0], np.float32)[:, None, None] * np.ones((4, 3, 3), np.float32)
    weight = np.array([1, 1, 1, 0], np.float32)[:, None, None] * np.ones((4, 3, 3), np.float32)
    median, total = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    weighted_median(inverse, weight, median, total)
    np.testing.assert_allclose(median, 0.21)
    np.testing.assert_allclose(total, 2)  # the outlier does not count as agreement


def test_a_sky_is_known_and_even() -> None:
    """Flow of what is infinitely far says a little more or a little less than infinity, by its noise."""
    random = np.random.default_rng(1)
    lens = Lens(SIZE, 70.0, 0.0)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    rays = lens.rays(np.stack([columns, rows], -1)).astype(np.float32)
    flows = []
    for shift in (0.2, 0.3, 0.4, -0.3):
        noise = random.normal(0, 0.1, (*SIZE, 2)).astype(np.float32)
        flows.append((noise, -noise, compose(np.eye(3), np.array([shift, 0, 0]))))
    inverse, total = triangulate_flows(flows, rays, lens)
    inside = np.s_[2:-2, 2:-2]
    assert (total[inside] > 0).mean() > 0.99
    assert inverse[inside].max() < 0.05
    assert np.quantile(inverse[inside], 0.95) < 2.5 * np.quantile(inverse[inside], 0.05)


def test_filling_keeps_a_constant_and_stops_at_edges() -> None:
    guide = np.zeros((30, 50), np.uint8)
    guide[:, 25:] = 200
    inverse = np.where(guide > 0, 0.5, 0.1).astype(np.float32)
    known = np.zeros_like(inverse)
    known[3, 4] = known[20, 40] = 1
    np.testing.assert_allclose(fill(inverse * known, known, guide), inverse, rtol=0.02)
    np.testing.assert_allclose(fill(0.3 * known, known, guide), 0.3, rtol=1e-4)


def test_tracks_follow_a_shift_and_end_at_a_cut() -> None:
    random = np.random.default_rng(3)
    texture = np.kron(random.integers(0, 255, (40, 60)), np.ones((4, 4))).astype(np.uint8)
    other = np.kron(random.integers(0, 120, (40, 60)), np.ones((4, 4))).astype(np.uint8)
    frames = [np.ascontiguousarray(texture[:120, 2 * i : 160 + 2 * i]) for i in range(8)] + [other[:120, :160]] * 2
    found = list(track(frames))
    assert [frame.starts_shot for frame in found] == [True, *[False] * 7, True, False]
    first, last = found[0], found[7]
    _, a, b = np.intersect1d(first.ids, last.ids, return_indices=True)
    assert len(a) > 30
    np.testing.assert_allclose(np.median(last.points[b] - first.points[a], axis=0), [-14, 0], atol=0.1)
    assert not np.isin(found[8].ids, last.ids).any()
