"""Find the frames of a clip from a locked camera whose picture has changed; the others need no depth of their own.

At the networks' size, a frame is compared with the last one whose depth is estimated: it has changed where more than
:data:`CHANGED_SHARE` of its pixels, each the mean of 5x5, differ by more than :data:`NOISE` levels. Slow changes add
up, because the comparison is not with the frame just before. The camera counts as locked while at least half of the
first frame's edges look as they did; a clip in which they ever do not is estimated frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from inspatio.geometry.depth_anything3.buffers import READ_AT_ONCE
from inspatio.models.depth_anything3.network import shrink
from inspatio.scene import FrameSource
from inspatio.types import Frames, Image

WINDOW = 5
"""Side in pixels of the square whose mean is compared: evens out noise, and motion too small to change depth."""
NOISE = 6
"""Levels (of 255) by which compression and sensor change the mean of a window between frames of a locked camera."""
CHANGED_SHARE = 0.0005
"""A share of the picture: about 70 pixels of 504x280, the size of a hand some metres away."""
EDGE = 8.0
"""Levels a pixel by which brightness rises where there is an edge."""
LOCKED_SHARE = 0.5
"""Share of the first frame's edges that a locked camera still shows, whoever walks before it. Measured: at least 0.85
on two real clips of a locked camera with people, below 0.15 after ten frames of three moving ones."""


class FrameSubset:
    """Some frames of a source, as a source (``scene.FrameSource``)."""

    def __init__(self, source: FrameSource, chosen: Sequence[int]) -> None:
        self._source, self._chosen = source, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def read(self, indices: Sequence[int]) -> Frames:
        return self._source.read([self._chosen[index] for index in indices])


def changed_frames(source: FrameSource, longest: int) -> Sequence[int]:
    """The frames to estimate: of a locked camera those whose picture changed, else all. The first is always one.

    Reads a clip up to the frame that shows that its camera moves. ``longest`` is the longer side of the pictures that
    the networks see.
    """
    everything = range(len(source))
    chosen: list[int] = []
    first = last = edges = None
    for start in range(0, len(source), READ_AT_ONCE):
        part = range(start, min(start + READ_AT_ONCE, len(source)))
        for index, frame in zip(part, shrink(source.read(part), longest), strict=True):
            smooth = cv2.blur(frame, (WINDOW, WINDOW))
            if first is None or last is None or edges is None:
                first, edges = smooth, _edges(frame)
                if not edges.any():
                    return everything
            elif _changed(smooth, first)[edges].mean() > 1 - LOCKED_SHARE:
                return everything
            elif _changed(smooth, last).mean() <= CHANGED_SHARE:
                continue
            chosen.append(index)
            last = smooth
    return chosen


def _changed(smooth: Image, reference: Image) -> np.ndarray:
    """``h w`` bool: where two smoothed pictures differ beyond noise."""
    return cv2.absdiff(smooth, reference).max(axis=-1) > NOISE


def _edges(frame: Image) -> np.ndarray:
    """``h w`` bool: where a picture has edges."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.hypot(across, down) > EDGE
