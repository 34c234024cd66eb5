"""Read and write videos in threads of their own while blocks are generated; results are the same as without.

    with Background() as reading, Background() as writing:
        frames = FramesAhead(source, order, reading)       frames.read(...) as the source's, read ahead by a block
        renders = RendersAhead(files, reading)             the same for render files
        for block in blocks:
            writing.do(lambda: writer.write(...))          written while the next block is made

Decoding and encoding release Python's lock, so that they run beside the generator. One block is read ahead and one
waits to be written, whatever the clip's length. An exception in a thread is raised where its result is asked for, at
the latest when the ``with`` ends; leaving by an exception (Ctrl-C too) waits for the piece of work that has begun, and
no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from inspatio.cameras.cameras import Cameras
from inspatio.generation.inspatio_world.block_loop import BLOCK_FRAMES
from inspatio.render.files import RenderFiles
from inspatio.scene import FrameSource, Render
from inspatio.types import Frames

Result = TypeVar("Result")

_GIVE_UP_AFTER = 3
"""Guesses in a row that were not asked for, before nothing is read ahead any more."""


class Background:
    """One thread that does pieces of work in order; a context manager."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[Any] | None = None

    def __enter__(self) -> Background:
        return self

    def start(self, work: Callable[[], Result]) -> Future[Result]:
        """Begin some work behind what was begun before; whoever wants its result waits for it."""
        return self._thread.submit(work)

    def do(self, work: Callable[[], object]) -> None:
        """Have some work done, once the work of the call before is done, whose exception is raised here."""
        self.finish()
        self._last = self.start(work)

    def finish(self) -> None:
        """Wait for the work of the last :meth:`do`."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)


class _Ahead(Generic[Result]):
    """Reads in a thread, and guesses what will be read next."""

    def __init__(self, thread: Background) -> None:
        self._thread = thread
        self._guess: object = None
        self._coming: Future[Result] | None = None
        self._misses = 0

    def take(self, wanted: object, read: Callable[[], Result]) -> Result:
        """What was asked for: already there if it was guessed."""
        coming, self._coming = self._coming, None
        if coming is not None and self._guess == wanted:
            self._misses = 0
            return coming.result()
        self._misses += coming is not None
        return self._thread.start(read).result()

    def peek(self, wanted: object) -> Result | None:
        """What was guessed, if it is this, once it is there; the next :meth:`take` still finds it."""
        return self._coming.result() if self._coming is not None and self._guess == wanted else None

    def begin(self, guess: object, read: Callable[[], Result]) -> None:
        """Read what is probably wanted next."""
        if self._misses < _GIVE_UP_AFTER:
            self._guess, self._coming = guess, self._thread.start(read)


class FramesAhead:
    """A source of frames that are read in a known order; see :class:`inspatio.scene.FrameSource`."""

    def __init__(self, source: FrameSource, order: Sequence[int], thread: Background) -> None:
        """``order`` is the source frame at each place of the clip."""
        self._source = source
        self._order = list(order)
        self._place = 0
        self._last: tuple[list[int], Frames] | None = None
        self._ahead: _Ahead[Frames] = _Ahead(thread)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: Sequence[int]) -> Frames:
        wanted = list(indices)
        if self._last is not None and self._last[0] == wanted:  # WorldFM's frames are their own references
            return self._last[1]
        frames = self._ahead.take(wanted, lambda: self._source.read(wanted))
        if self._order[self._place : self._place + len(wanted)] == wanted:
            self._place += len(wanted)
            # As many as now, but for the first block, which may be shorter than all others.
            count = BLOCK_FRAMES if self._last is None else len(wanted)
            coming = self._order[self._place : self._place + count]
            if coming:
                self._ahead.begin(coming, lambda: self._source.read(coming))
        self._last = wanted, frames
        return frames


class RendersAhead:
    """Render files, read ahead; see :class:`inspatio.scene.RenderSource`."""

    def __init__(self, files: RenderFiles, thread: Background) -> None:
        self._files, self._thread = files, thread
        self._ahead: _Ahead[Render] = _Ahead(thread)

    def read(self, start: int, cameras: Cameras) -> Render:
        self._files.check_cameras(start, cameras)
        end = start + len(cameras)
        render = self._ahead.take((start, len(cameras)), lambda: self._files.read(start, cameras))
        coming = self._files.targets[end : end + BLOCK_FRAMES]
        if len(coming):
            self._ahead.begin((end, len(coming)), lambda: self._files.read(end, coming))
        return render

    def read_after(self, place: int, count: int) -> Frames:
        coming = len(self._files.targets[place : place + BLOCK_FRAMES])
        guessed = self._ahead.peek((place, coming))
        if guessed is not None:
            return guessed.frames[:count]
        return self._thread.start(lambda: self._files.read_after(place, count)).result()
