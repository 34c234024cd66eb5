"""Storage for a clip while it is processed: frames read ahead in memory, maps of the whole clip in temporary files.

Neither side's memory grows with the clip: frames are dropped once no window needs them, maps go to disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inspatio.models.depth_anything3.network import shrink
from inspatio.scene import FrameSource
from inspatio.types import Frames

READ_AT_ONCE = 8
"""Frames decoded at a time at the source's size."""
UNIFORM = 1.0
"""A frame whose values have a smaller standard deviation than this (of 255) is a single colour."""
FRAMES_PER_CHUNK = 16
"""Frames in memory at a time in a pass over the maps of a clip."""


class FrameBuffer:
    """Frames of a clip at the networks' size, each decoded and resized once although windows overlap."""

    def __init__(self, source: FrameSource, longest: int) -> None:
        self._source = source
        self._longest = longest
        self._kept: list[Frames] = []
        self._first = 0
        self.uniform = 0
        """How many of the frames read so far show a single colour."""

    def read(self, frames: range) -> Frames:
        """``t h w 3`` uint8 at the networks' size; ``frames`` must not start before the last :meth:`forget`."""
        assert frames.start >= self._first, f"frame {frames.start} was dropped, the first one kept is {self._first}"
        while self._first + len(self._kept) < frames.stop:
            start = self._first + len(self._kept)
            small = shrink(self._source.read(range(start, min(start + READ_AT_ONCE, len(self._source)))), self._longest)
            self.uniform += sum(float(frame.std()) < UNIFORM for frame in small)
            self._kept.extend(small)
        return np.stack(self._kept[frames.start - self._first : frames.stop - self._first])

    def forget(self, before: int) -> None:
        """Drop the frames before this one."""
        del self._kept[: max(before - self._first, 0)]
        self._first = max(before, self._first)


class DiskBuffer:
    """Maps ``n h w`` of a clip in a temporary file, written and read in any order; a context manager that deletes it.

    The clip's scale is known only after the last frame, and a window's first frames are blended with earlier ones, so
    maps are kept until then. A plain file, because a memory map would kill the process when the disk is full.
    """

    def __init__(self, path: Path, size: tuple[int, int], dtype: DTypeLike) -> None:
        """``size`` is (height, width) of a map."""
        self._path = path
        self._size = size
        self._dtype = np.dtype(dtype)
        self._frame_bytes = size[0] * size[1] * self._dtype.itemsize
        self._file = path.open("w+b")

    def __enter__(self) -> DiskBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink()

    def write(self, start: int, maps: NDArray) -> None:
        """Store ``t h w`` maps of the frames from ``start`` on."""
        assert maps.shape[1:] == self._size, f"maps of {maps.shape[1:]}, expected {self._size}"
        self._file.seek(start * self._frame_bytes)
        self._file.write(np.ascontiguousarray(maps, self._dtype).data)

    def read(self, start: int, stop: int) -> NDArray:
        """A copy of the maps ``t h w`` of frames ``start`` to ``stop - 1``."""
        self._file.seek(start * self._frame_bytes)
        maps = np.empty((stop - start, *self._size), self._dtype)
        count = self._file.readinto(maps.data)
        assert count == maps.nbytes, f"frames {start} to {stop - 1} have not been written"
        return maps


def chunks(frame_count: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the chunks of frames in a pass over a clip."""
    for start in range(0, frame_count, FRAMES_PER_CHUNK):
        yield start, min(start + FRAMES_PER_CHUNK, frame_count)
