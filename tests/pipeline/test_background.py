"""Reading ahead and writing behind: the same values in the same order, and faults where they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from inspatio.pipeline.background import Background, FramesAhead
from inspatio.types import Frames


class Source:
    """Frames that are their own number; frame 40 cannot be read."""

    def __init__(self) -> None:
        self.reads: list[list[int]] = []

    def __len__(self) -> int:
        return 100

    def read(self, indices: Sequence[int]) -> Frames:
        self.reads.append(list(indices))
        if 40 in indices:
            raise ValueError("frame 40 is damaged")
        return np.asarray(indices, np.uint8)[:, None, None, None]


ORDER = [*range(20), 19, 19, 19, *range(18, -1, -1)]


@pytest.mark.parametrize("counts", [[9, 12, 12, 9], [12, 12, 12, 6]])
def test_frames_come_as_they_were_asked_for_and_are_read_once(counts: list[int]) -> None:
    source, place = Source(), 0
    with Background() as thread:
        frames = FramesAhead(source, ORDER, thread)
        for count in counts:
            wanted = ORDER[place : place + count]
            assert frames.read(wanted).ravel().tolist() == wanted
            place += count
    assert [index for read in source.reads for index in read] == ORDER[:place]


def test_frames_one_by_one_are_read_ahead_too() -> None:
    """As WorldFM asks for them, each twice: after a first guess of a block, every frame is there when it is wanted."""
    source = Source()
    with Background() as thread:
        frames = FramesAhead(source, ORDER, thread)
        for place in range(6):
            for _ in range(2):
                assert frames.read([place]).ravel().tolist() == [place]
            thread.start(int).result()  # behind what is being read
            assert source.reads[-1] == (ORDER[1:13] if place == 0 else [place + 1])
    assert len(source.reads) == 8, "a frame is read once, but for those of the first guess"


def test_frames_in_any_other_order() -> None:
    with Background() as thread:
        frames = FramesAhead(Source(), ORDER, thread)
        for wanted in ([0, 1, 2], [7, 3], [3, 4, 5], ORDER[:9]):
            assert frames.read(wanted).ravel().tolist() == wanted


def test_a_frame_that_cannot_be_read_fails_where_it_is_asked_for() -> None:
    with Background() as thread:
        frames = FramesAhead(Source(), range(60), thread)
        for start in (0, 12, 24):  # reads 36 to 47 ahead
            frames.read(range(start, start + 12))
        with pytest.raises(ValueError, match="damaged"):
            frames.read(range(36, 48))


def test_work_is_done_in_order_and_does_not_pile_up() -> None:
    done: list[int] = []
    gate = threading.Event()
    with Background() as thread:
        thread.do(lambda: (gate.wait(10), done.append(0)))
        threading.Timer(0.05, gate.set).start()
        thread.do(lambda: done.append(1))  # waits for the first
        assert done[0] == 0
        thread.do(lambda: done.append(2))
    assert done == [0, 1, 2]


def test_a_fault_ends_the_caller_at_the_next_piece_or_at_the_end() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    def work(pieces: int) -> None:
        with Background() as thread:
            for _ in range(pieces):
                thread.do(fail)

    for pieces in (1, 2):
        with pytest.raises(OSError, match="full"):
            work(pieces)


def test_an_interruption_is_not_hidden_and_leaves_no_thread() -> None:
    def interrupted() -> None:
        with Background() as thread:
            thread.do(lambda: 1 / 0)
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threading.active_count() == before
