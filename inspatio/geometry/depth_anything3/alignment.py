"""From the two networks' units to metres: the nested models' alignment, over a whole clip, exactly.

The any-view network's depth a is sharp and consistent, but its unit is its own; the metric network's depth m is in
metres. One factor s for the clip makes s a nearest to m in the least-squares sense, over the pixels that are not sky,
at least as confident as the median, and have depth in both. The sky then gets a depth of its own, behind the rest.

Quantiles are exact whatever the number of pixels (they are found by counting the bit patterns of the values, 16 bits at
a time), sums are float64, and maps come in pieces, so that memory does not grow with the clip.

Source: Depth Anything 3 (arXiv 2511.10647). The public code draws a random hundred thousand pixels for each quantile;
up to there the two agree to the last digit, beyond it only this one gives the same answer twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SKY_THRESHOLD = 0.3
METRIC_FOCAL = 300.0
"""The metric network's depth is for a camera of this focal length, in pixels at the network's resolution."""
FURTHEST_SKY = 200.0
"""Metres; the sky is put no further away than this."""
SKY_QUANTILE = 0.99
FEWEST_PIXELS = 10
"""With no more pixels than these there is nothing to align on (and no sky to speak of)."""

Pieces = Callable[[], Iterable[NDArray[np.floating]]]
"""Starts a pass over the values; called once for each pass."""


@dataclass(frozen=True)
class AlignmentMaps:
    """A few frames of everything that the alignment looks at, ``t h w`` each."""

    depth: NDArray[np.floating]
    confidence: NDArray[np.floating]
    metric: NDArray[np.floating]
    """In metres: times focal length / 300."""
    sky: NDArray[np.bool_]


def is_sky(sky: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where the metric network's sky map says sky."""
    return ~(sky < SKY_THRESHOLD)


def metric_scale(maps: Callable[[], Iterable[AlignmentMaps]]) -> float | None:
    """The factor that takes any-view depth (and translations) to metres; None where nothing can be aligned."""
    confident = quantile(lambda: (piece.confidence[~piece.sky] for piece in maps()), 0.5)
    if confident is None:
        return None
    product = square = 0.0
    count = 0
    for piece in maps():
        with np.errstate(invalid="ignore"):
            valid = ~piece.sky & (piece.confidence >= confident) & (piece.depth > 1e-3) & (piece.metric > 1e-2)
        valid &= np.isfinite(piece.depth) & np.isfinite(piece.metric)
        ours, metres = piece.depth[valid].astype(np.float64), piece.metric[valid].astype(np.float64)
        product += float(ours @ metres)
        square += float(ours @ ours)
        count += ours.size
    return product / square if count > FEWEST_PIXELS and square > 0 else None


def sky_depth(ground: Pieces, furthest: float = FURTHEST_SKY) -> float | None:
    """Where to put the sky, given the depths that are not sky; None where there are none."""
    depth = quantile(ground, SKY_QUANTILE)
    return None if depth is None else min(depth, furthest)


def quantile(pieces: Pieces, fraction: float) -> float | None:
    """The quantile (linear between neighbours) of all positive finite values; None if there are too few to matter."""
    counts = np.zeros(1 << 16, np.int64)
    for values in pieces():
        counts += np.bincount(_bits(values) >> 16, minlength=1 << 16)
    total = int(counts.sum())
    if total <= FEWEST_PIXELS:
        return None
    position = fraction * (total - 1)
    low = int(position)
    first, second = (_ordered(pieces, counts, min(rank, total - 1)) for rank in (low, low + 1))
    return first + (second - first) * (position - low)


def _ordered(pieces: Pieces, counts: NDArray[np.int64], rank: int) -> float:
    """The value of this rank (from 0), ``counts`` being how many values share their upper 16 bits."""
    until = np.cumsum(counts)
    upper = int(np.searchsorted(until, rank, side="right"))
    within = np.zeros(1 << 16, np.int64)
    for values in pieces():
        bits = _bits(values)
        within += np.bincount(bits[bits >> 16 == upper] & 0xFFFF, minlength=1 << 16)
    lower = int(np.searchsorted(np.cumsum(within), rank - (until[upper] - counts[upper]), side="right"))
    return float(np.array(upper << 16 | lower, np.uint32).view(np.float32))


def _bits(values: NDArray[np.floating]) -> NDArray[np.uint32]:
    """Bit patterns of the positive finite values; as integers they are in the same order."""
    values = np.ascontiguousarray(values, np.float32)
    return values[np.isfinite(values) & (values > 0)].view(np.uint32)
