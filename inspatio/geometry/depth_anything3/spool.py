"""Maps of a whole clip in a file, read and written a few frames at a time.

The clip's scale and its sky are known only when every frame has been seen, and a window's first frames are blended
with the ones before, so depth waits here. Plain reads and writes: on a full disk a memory map would end the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import DTypeLike, NDArray

FRAMES_AT_ONCE = 16


class Spool:
    """``n h w`` maps in a temporary file, frames in any order; used in a ``with`` block, which removes the file."""

    def __init__(self, path: Path, size: tuple[int, int], dtype: DTypeLike) -> None:
        self._path = path
        self._size = size
        self._dtype = np.dtype(dtype)
        self._frame_bytes = size[0] * size[1] * self._dtype.itemsize
        self._file = path.open("w+b")

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink()

    def write(self, start: int, maps: NDArray) -> None:
        """Put ``t h w`` maps at the places of frames ``start`` and on."""
        assert maps.shape[1:] == self._size, f"maps of {maps.shape[1:]}, expected {self._size}"
        self._file.seek(start * self._frame_bytes)
        self._file.write(np.ascontiguousarray(maps, self._dtype).data)

    def read(self, start: int, stop: int) -> NDArray:
        """The maps (``t h w``) of frames ``start`` to ``stop - 1``, a copy."""
        self._file.seek(start * self._frame_bytes)
        maps = np.empty((stop - start, *self._size), self._dtype)
        count = self._file.readinto(maps.data)
        assert count == maps.nbytes, f"frames {start} to {stop - 1} have not been written"
        return maps


def pieces(frame_count: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the pieces that a pass over a clip takes."""
    for start in range(0, frame_count, FRAMES_AT_ONCE):
        yield start, min(start + FRAMES_AT_ONCE, frame_count)
