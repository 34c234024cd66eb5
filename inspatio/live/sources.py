"""Frames and depth for two readers at once, in any order: a bounded cache in chunks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspatio.scene import DepthSource, FrameSource

CHUNK = 16
"""Frames that are read together: playing backward costs one seek for so many frames."""
FRAME_BYTES, DEPTH_BYTES = 256 * 2**20, 96 * 2**20
"""What is kept of frames and of depth, at most; the example's frames are 116 MB."""


class CachedSource:
    """A :class:`FrameSource` or :class:`DepthSource` that keeps what it read last, for readers on several threads.

    At most ``most_bytes`` are kept (and always two chunks). After a chunk was read, the next one in the same direction
    is read ahead by the thread that calls :meth:`read_ahead`.
    """

    def __init__(self, source: FrameSource | DepthSource, most_bytes: int) -> None:
        self._source = source
        self._most_bytes = most_bytes
        self._chunks: OrderedDict[int, NDArray] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: Sequence[int]) -> NDArray:
        """The frames or maps of these indices, stacked."""
        return np.stack([self._chunk(index // CHUNK)[index % CHUNK] for index in indices])

    def one(self, index: int) -> NDArray:
        """One frame or map, as a view into the cache: not to be changed."""
        return self._chunk(index // CHUNK)[index % CHUNK]

    def read_ahead(self, index: int, forward: bool) -> None:
        """Read the chunk that follows the one of ``index``, if it is not there."""
        number = index // CHUNK + (1 if forward else -1)
        if 0 <= number * CHUNK < len(self):
            self._chunk(number)

    def _chunk(self, number: int) -> NDArray:
        found = self._find(number)
        if found is not None:
            return found
        with self._reading:  # one decoder, so one reader
            found = self._find(number)
            if found is not None:
                return found
            read = self._source.read(range(number * CHUNK, min((number + 1) * CHUNK, len(self))))
            with self._lock:
                self._chunks[number] = read
                while len(self._chunks) > 2 and sum(chunk.nbytes for chunk in self._chunks.values()) > self._most_bytes:
                    self._chunks.popitem(last=False)
            return read

    def _find(self, number: int) -> NDArray | None:
        with self._lock:
            if number in self._chunks:
                self._chunks.move_to_end(number)
                return self._chunks[number]
        return None
