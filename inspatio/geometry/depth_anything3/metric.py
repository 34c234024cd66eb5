"""Metric alignment of a nested model: the scale from the any-view network's unit to metres, and the depth of the sky.

The any-view network's depth a is sharp and consistent but in an arbitrary unit; the metric network's depth m is in
metres. One factor s per clip minimises sum (s a - m)^2 over the pixels that are not sky, have at least the median
confidence, and have depth in both. The sky then gets one depth, behind everything else.

Quantiles are exact for any number of pixels (a radix selection over the bit patterns of the values, 16 bits at a time),
sums are float64, and maps are read in chunks, so that memory does not grow with the clip.

Source: Depth Anything 3 (arXiv 2511.10647). The public code estimates each quantile from 100 000 random pixels. Up to
that number both agree exactly; beyond it only this one is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SKY_THRESHOLD = 0.3
METRIC_FOCAL = 300.0
"""The metric network's depth is in metres for this focal length, in pixels at the network's resolution."""
FURTHEST_SKY = 200.0
"""Upper bound of the sky's depth in metres."""
SKY_QUANTILE = 0.99
"""The sky gets this quantile of all other depths."""
FEWEST_PIXELS = 10
"""With this many pixels or fewer there is no alignment and no quantile."""

Chunks = Callable[[], Iterable[NDArray[np.floating]]]
"""Start a pass over the values in chunks; called once per pass."""


@dataclass(frozen=True)
class AlignmentMaps:
    """What the alignment reads of a few frames, ``t h w`` each."""

    depth: NDArray[np.floating]
    confidence: NDArray[np.floating]
    metric: NDArray[np.floating]
    """The metric network's depth in metres: its output times focal length / 300."""
    sky: NDArray[np.bool_]


def is_sky(sky: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where the metric network's sky map, ``t h w``, says sky; values that are not numbers count as sky."""
    return ~(sky < SKY_THRESHOLD)


def metric_scale(maps: Callable[[], Iterable[AlignmentMaps]]) -> float | None:
    """The factor from any-view depth (and translations) to metres; None if too few pixels can be aligned.

    ``maps`` starts a pass over the clip; it is called once per pass.
    """
    confident = quantile(lambda: (chunk.confidence[~chunk.sky] for chunk in maps()), 0.5)
    if confident is None:
        return None
    product = square = 0.0
    count = 0
    for chunk in maps():
        with np.errstate(invalid="ignore"):
            valid = ~chunk.sky & (chunk.confidence >= confident) & (chunk.depth > 1e-3) & (chunk.metric > 1e-2)
        valid &= np.isfinite(chunk.depth) & np.isfinite(chunk.metric)
        ours, metres = chunk.depth[valid].astype(np.float64), chunk.metric[valid].astype(np.float64)
        product += float(ours @ metres)
        square += float(ours @ ours)
        count += ours.size
    return product / square if count > FEWEST_PIXELS and square > 0 else None


def sky_depth(ground: Chunks, furthest: float = FURTHEST_SKY) -> float | None:
    """The depth to give the sky, from the depths that are not sky and in their unit; None if there are too few."""
    depth = quantile(ground, SKY_QUANTILE)
    return None if depth is None else min(depth, furthest)


def quantile(chunks: Chunks, fraction: float) -> float | None:
    """Exact quantile (0..1, linear between neighbours) of all positive finite values; None if there are too few."""
    counts = np.zeros(1 << 16, np.int64)
    for values in chunks():
        counts += np.bincount(_bits(values) >> 16, minlength=1 << 16)
    total = int(counts.sum())
    if total <= FEWEST_PIXELS:
        return None
    position = fraction * (total - 1)
    low = int(position)
    first, second = (_ordered(chunks, counts, min(rank, total - 1)) for rank in (low, low + 1))
    return first + (second - first) * (position - low)


def _ordered(chunks: Chunks, counts: NDArray[np.int64], rank: int) -> float:
    """The value of this rank (from 0); ``counts`` is the histogram of the values' upper 16 bits."""
    until = np.cumsum(counts)
    upper = int(np.searchsorted(until, rank, side="right"))
    within = np.zeros(1 << 16, np.int64)
    for values in chunks():
        bits = _bits(values)
        within += np.bincount(bits[bits >> 16 == upper] & 0xFFFF, minlength=1 << 16)
    lower = int(np.searchsorted(np.cumsum(within), rank - (until[upper] - counts[upper]), side="right"))
    return float(np.array(upper << 16 | lower, np.uint32).view(np.float32))


def _bits(values: NDArray[np.floating]) -> NDArray[np.uint32]:
    """Bit patterns of the positive finite values; as integers they sort like the values."""
    values = np.ascontiguousarray(values, np.float32)
    return values[np.isfinite(values) & (values > 0)].view(np.uint32)
