"""The clip's frames at the networks' size, each decoded and shrunk once however the windows fall."""

from __future__ import annotations

import numpy as np

from inspatio.models.depth_anything3.preprocess import shrink
from inspatio.scene import FrameSource
from inspatio.types import Frames

READ_AT_ONCE = 8
"""Full-size frames in memory at a time."""
UNIFORM = 1.0
"""A frame whose brightness deviates by less than this (of 255) shows nothing."""


class SmallFrames:
    """Reads ahead as asked; what :meth:`forget` has given up cannot be read again."""

    def __init__(self, source: FrameSource, longest: int) -> None:
        self._source = source
        self._longest = longest
        self._kept: list[Frames] = []
        self._first = 0
        self.uniform = 0
        """How many of the frames read so far show nothing but one colour."""

    def read(self, frames: range) -> Frames:
        """``t h w 3`` uint8 at the networks' size."""
        assert frames.start >= self._first, f"frame {frames.start} has been given up, {self._first} is the first kept"
        while self._first + len(self._kept) < frames.stop:
            start = self._first + len(self._kept)
            small = shrink(self._source.read(range(start, min(start + READ_AT_ONCE, len(self._source)))), self._longest)
            self.uniform += sum(float(frame.std()) < UNIFORM for frame in small)
            self._kept.extend(small)
        return np.stack(self._kept[frames.start - self._first : frames.stop - self._first])

    def forget(self, before: int) -> None:
        """Give up the frames before this one."""
        del self._kept[: max(before - self._first, 0)]
        self._first = max(before, self._first)
