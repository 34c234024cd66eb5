"""Find the same points in a few views of one place, however they were taken: SIFT, matched between every two views.

Corners followed from frame to frame (``tracks.py``) need small steps; views of a place are whole steps apart. Features
are Lowe's (2004), matched both ways with his ratio test and kept where one fundamental matrix explains them (USAC).
Matches that hang together are one point; one that would have two places in a view is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from inspatio.geometry.motion.tracks import Grey, TrackedFrame

MOST_FEATURES = 4000
"""Of a view."""
MOST_RATIO = 0.8
"""The best match is nearer than the second best by this."""
EPIPOLAR_PIXELS = 2.0
"""At most so far from the epipolar line."""
LEAST_MATCHES = 20
"""Two views with fewer do not show the same."""


def match_views(views: Sequence[Grey]) -> list[TrackedFrame]:
    """The points that at least two of the views (``h w`` grey, of one size) show, each view a keyframe."""
    sift = cv2.SIFT.create(nfeatures=MOST_FEATURES)
    places, descriptors = [], []
    for view in views:
        found, described = sift.detectAndCompute(view, None)
        places.append(np.array([each.pt for each in found], np.float32).reshape(-1, 2))
        # Square roots of shares compare histograms better than plain distances (Arandjelovic and Zisserman, 2012).
        described = np.zeros((0, 128), np.float32) if described is None else described
        descriptors.append(np.sqrt(described / np.maximum(described.sum(axis=1, keepdims=True), 1e-9)))
    starts = np.concatenate([[0], np.cumsum([len(points) for points in places])])
    pairs = [np.zeros((0, 2), np.int64)]
    for a, b in combinations(range(len(views)), 2):
        matches = _consistent(_matches(descriptors[a], descriptors[b]), places[a], places[b])
        pairs.append(matches + starts[[a, b]])
    joined = np.concatenate(pairs)
    ones = np.ones(len(joined), np.int8)
    _, point = connected_components(coo_array((ones, joined.T), shape=(starts[-1], starts[-1])), directed=False)
    view = np.repeat(np.arange(len(views)), np.diff(starts))
    # A point counts that several views show, and none of them twice.
    _, seen = np.unique(point, return_counts=True)
    _, once, times = np.unique(np.stack([point, view]), axis=1, return_inverse=True, return_counts=True)
    doubled = np.zeros(len(seen), bool)
    doubled[point[times[once] > 1]] = True
    good = (seen[point] > 1) & ~doubled[point]
    frames = []
    for index, points in enumerate(places):
        own = slice(starts[index], starts[index + 1])
        ids, kept = point[own][good[own]], points[good[own]]
        order = np.argsort(ids)
        frames.append(TrackedFrame(index, ids[order].astype(np.int64), kept[order], True, index == 0))
    return frames


def _matches(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.int64]:
    """``m 2`` indices of descriptors (``v 128`` each) that are each other's nearest by far."""
    if min(len(first), len(second)) < 2:
        return np.zeros((0, 2), np.int64)
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    there = {
        best.queryIdx: best.trainIdx
        for best, other in matcher.knnMatch(first, second, k=2)
        if best.distance < MOST_RATIO * other.distance
    }
    back = {each.queryIdx: each.trainIdx for each in matcher.match(second, first)}
    return np.array([(a, b) for a, b in there.items() if back[b] == a], np.int64).reshape(-1, 2)


def _consistent(
    matches: NDArray[np.int64], first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The matches that lie on each other's epipolar lines, none where two views have too little in common."""
    if len(matches) < LEAST_MATCHES:
        return matches[:0]
    _, inliers = cv2.findFundamentalMat(
        first[matches[:, 0]], second[matches[:, 1]], cv2.USAC_MAGSAC, EPIPOLAR_PIXELS, 0.999, 10_000
    )
    kept = matches[:0] if inliers is None else matches[inliers[:, 0] > 0]
    return kept if len(kept) >= LEAST_MATCHES else matches[:0]
