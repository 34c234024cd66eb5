"""Follow corners through a video (KLT) and find its cuts and keyframes, one frame at a time.

Corners are Shi and Tomasi's (1994), followed from frame to frame by pyramidal Lucas-Kanade and kept while following
them backward returns to where they came from. New corners are added at keyframes only, so that a track's number
names one point of the scene. A keyframe comes when the picture has moved by a share of its width.

The tracker holds two frames; what it yields is small, so a caller decides how much of a clip it keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
"""``h w`` uint8."""

MOST_CORNERS = 1500
LEAST_CORNER_DISTANCE = 10
"""Between two corners, in pixels."""
CORNER_QUALITY = 0.005
RETURN_ERROR = 0.5
"""A track ends where following it back misses by more than this, in pixels."""
KEYFRAME_MOTION = 0.006
"""Median motion of the tracks since the last keyframe, as a share of the frame's longer side, that makes the next."""
KEYFRAME_LOSS = 0.35
"""Share of the last keyframe's tracks whose loss makes the next keyframe too."""
SHORTEST_GAP, LONGEST_GAP = 3, 12
"""Least (unless tracks are lost) and most frames from one keyframe to the next."""
CUT_SURVIVORS = 0.2
"""Fewer tracks than this share survive a cut."""
CUT_CHANGE = 12.0
"""A cut changes the picture's thumbnail by more than this, mean of the absolute differences in grey levels."""

_FLOW = {
    "winSize": (15, 15),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
}
_THUMBNAIL = (32, 18)


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The tracks that are seen in one frame.

    ``ids`` (``v`` int64, ascending) number the tracks of the clip; ``points`` (``v 2`` float32) are columns and rows in
    pixels, pixel centres at integers. ``starts_shot``: this frame follows a cut, or is the clip's first.
    """

    index: int
    ids: NDArray[np.int64]
    points: NDArray[np.float32]
    is_keyframe: bool
    starts_shot: bool


def track(frames: Iterable[Grey]) -> Iterator[TrackedFrame]:
    """Track corners through ``h w`` grey frames of one size; yields once for each frame."""
    tracker = _Tracker()
    for index, grey in enumerate(frames):
        yield tracker.step(index, grey)


class _Tracker:
    def __init__(self) -> None:
        self._previous: Grey | None = None
        self._ids = np.empty(0, np.int64)
        self._points = np.empty((0, 2), np.float32)
        self._next_id = 0
        self._keyframe = -1
        self._keyframe_ids = self._ids
        self._keyframe_points = self._points

    def step(self, index: int, grey: Grey) -> TrackedFrame:
        previous, before = self._previous, len(self._ids)
        if previous is not None and before:
            self._follow(previous, grey)
        starts_shot = previous is None or self._is_cut(previous, grey, before)
        if starts_shot:
            self._ids, self._points = self._ids[:0], self._points[:0]
        is_keyframe = starts_shot or self._has_moved(index, max(grey.shape))
        if is_keyframe:
            self._add_corners(grey)
            self._keyframe, self._keyframe_ids, self._keyframe_points = index, self._ids, self._points
        self._previous = grey
        return TrackedFrame(index, self._ids, self._points, is_keyframe, starts_shot)

    def _follow(self, previous: Grey, grey: Grey) -> None:
        there, found, _ = cv2.calcOpticalFlowPyrLK(previous, grey, self._points, np.zeros_like(self._points), **_FLOW)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(grey, previous, there, np.zeros_like(there), **_FLOW)
        error = np.abs(back - self._points).max(axis=1)
        height, width = grey.shape
        inside = (there >= 0).all(axis=1) & (there[:, 0] <= width - 1) & (there[:, 1] <= height - 1)
        kept = (found[:, 0] > 0) & (returned[:, 0] > 0) & (error < RETURN_ERROR) & inside
        self._ids, self._points = self._ids[kept], np.ascontiguousarray(there[kept], np.float32)

    def _is_cut(self, previous: Grey, grey: Grey, before: int) -> bool:
        if before and len(self._ids) > CUT_SURVIVORS * before:
            return False
        small = [cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA) for image in (previous, grey)]
        return float(cv2.absdiff(small[0], small[1]).mean()) > CUT_CHANGE

    def _has_moved(self, index: int, longest: int) -> bool:
        if index - self._keyframe >= LONGEST_GAP:
            return True
        _, now, then = np.intersect1d(self._ids, self._keyframe_ids, assume_unique=True, return_indices=True)
        if len(now) < (1 - KEYFRAME_LOSS) * len(self._keyframe_ids):
            return True
        if index - self._keyframe < SHORTEST_GAP:
            return False
        moved = np.linalg.norm(self._points[now] - self._keyframe_points[then], axis=1)
        return bool(len(moved)) and float(np.median(moved)) > KEYFRAME_MOTION * longest

    def _add_corners(self, grey: Grey) -> None:
        """Add corners where there are none yet, up to MOST_CORNERS."""
        room = MOST_CORNERS - len(self._ids)
        if room <= 0:
            return
        free = np.full(grey.shape, 255, np.uint8)
        for column, row in np.rint(self._points).astype(int).tolist():
            cv2.circle(free, (column, row), LEAST_CORNER_DISTANCE, 0, -1)
        corners = cv2.goodFeaturesToTrack(grey, room, CORNER_QUALITY, LEAST_CORNER_DISTANCE, mask=free)
        if corners is None:
            return
        corners = corners.reshape(-1, 2)
        self._ids = np.concatenate([self._ids, self._next_id + np.arange(len(corners))])
        self._points = np.concatenate([self._points, corners]).astype(np.float32)
        self._next_id += len(corners)
