"""Metric alignment: exact quantiles, the published scale, the sky."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inspatio.geometry.depth_anything3.metric import AlignmentMaps, metric_scale, quantile, sky_depth


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, st.integers(11, 300), elements=st.floats(2**-40, 2**40, width=32)),
    st.floats(0, 1),
    st.integers(1, 5),
)
def test_quantiles_are_exact_in_pieces(values: np.ndarray, fraction: float, pieces: int) -> None:
    got = quantile(lambda: np.array_split(values, pieces), fraction)
    assert got == pytest.approx(np.quantile(values.astype(np.float64), fraction), rel=1e-12)


def test_quantiles_of_too_little() -> None:
    assert quantile(lambda: [np.ones(10, np.float32)], 0.5) is None
    assert quantile(lambda: [np.full(20, np.nan, np.float32), np.zeros(20, np.float32)], 0.5) is None
    assert quantile(lambda: iter([]), 0.5) is None


def alignment_maps(count: int = 6) -> AlignmentMaps:
    random = np.random.default_rng(2)
    depth = random.uniform(0.5, 5, (count, 20, 30)).astype(np.float32)
    metric = (2.5 * depth * np.exp(random.normal(0, 0.05, depth.shape))).astype(np.float32)
    confidence = random.uniform(1, 3, depth.shape).astype(np.float32)
    sky = random.random(depth.shape) < 0.2
    metric[sky] = 90
    return AlignmentMaps(depth, confidence, metric, sky)


def test_metric_scale_is_the_published_formula() -> None:
    maps = alignment_maps()
    chosen = ~maps.sky & (maps.confidence >= np.median(maps.confidence[~maps.sky]))
    ours, metres = maps.depth[chosen].astype(np.float64), maps.metric[chosen].astype(np.float64)
    assert metric_scale(lambda: [maps]) == pytest.approx(float(ours @ metres / (ours @ ours)), rel=1e-12)
    assert metric_scale(lambda: [maps]) == pytest.approx(2.5, rel=0.01)


def test_metric_scale_does_not_depend_on_the_pieces() -> None:
    maps = alignment_maps()

    def frame_by_frame() -> list[AlignmentMaps]:
        singles = [slice(i, i + 1) for i in range(len(maps.depth))]
        return [AlignmentMaps(maps.depth[i], maps.confidence[i], maps.metric[i], maps.sky[i]) for i in singles]

    assert metric_scale(frame_by_frame) == pytest.approx(metric_scale(lambda: [maps]), rel=1e-12)


def test_metric_scale_ignores_what_is_no_number() -> None:
    maps = alignment_maps()
    maps.depth[0, :5] = np.nan
    maps.metric[1, :5] = np.inf
    maps.depth[2, :5] = 0
    assert metric_scale(lambda: [maps]) == pytest.approx(2.5, rel=0.01)


def test_no_scale_in_the_sky() -> None:
    maps = alignment_maps()
    maps.sky[:] = True
    assert metric_scale(lambda: [maps]) is None


def test_sky_lies_behind_the_rest_but_not_too_far() -> None:
    assert sky_depth(lambda: [np.linspace(1, 101, 101, dtype=np.float32)]) == pytest.approx(100)
    assert sky_depth(lambda: [np.full(50, 900, np.float32)]) == 200
    assert sky_depth(lambda: [np.full(50, 900, np.float32)], furthest=np.inf) == 900
