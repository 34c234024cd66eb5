"""The source's own time while a person steers it: pause, reverse, slow, scrub."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from math import floor

from inspatio.cameras.timeline import bounced

MAX_RATE = 4.0
REMEMBERED_SECONDS = 15.0
"""For how long it is known how time ran."""


@dataclass(frozen=True)
class Run:
    """A while in which the clip played as filmed: when it began, how long it lasted, the frame (with fraction) at its
    beginning."""

    start: float
    seconds: float
    frame: float


class SourceClock:
    """Where the source is at a moment: a position in frames that runs at ``rate`` times the clip's frame rate.

    Beyond either end the clip plays to and fro. All times are seconds of one monotonic clock. The position is exact:
    it is worked out from the last change, not added up tick by tick.
    """

    def __init__(self, frame_count: int, frame_rate: float, rate: float = 0.0) -> None:
        self._count = frame_count
        self._frame_rate = frame_rate
        self._since = 0.0
        self._place = 0.0
        self.rate = rate
        self._changes: deque[tuple[float, float, float]] = deque([(0.0, 0.0, rate)])

    def place(self, now: float) -> float:
        """The place in the endless clip, in frames; goes below 0 where time runs backward."""
        return self._place + self.rate * self._frame_rate * (now - self._since)

    def frame(self, now: float) -> int:
        """The source frame shown at a moment."""
        return bounced(abs(round(self.place(now))), self._count)

    def set_rate(self, now: float, rate: float) -> None:
        """Run at another rate from now on, limited to :data:`MAX_RATE` either way."""
        self._change(now, self.place(now), max(-MAX_RATE, min(MAX_RATE, rate)))

    def seek(self, now: float, frame: float) -> None:
        """Go to a frame of the clip; the rate stays."""
        self._change(now, max(0.0, min(frame, self._count - 1.0)), self.rate)

    def step(self, now: float, frames: int) -> None:
        """Stand still, so many frames further on."""
        self._change(now, float(round(self.place(now)) + frames), 0.0)

    def runs(self, start: float, end: float) -> list[Run]:
        """When time ran as filmed between two moments of the last seconds: at rate 1, on the clip's way forward."""
        last = self._count - 1
        if last == 0:
            return []
        found = []
        for (since, place, rate), (until, *_) in pairwise([*self._changes, (end, 0.0, 0.0)]):
            begin, stop = max(since, start), min(until, end)
            while rate == 1 and begin < stop:
                at = place + self._frame_rate * (begin - since)
                way = floor(at / last + 1e-9)  # even: the clip plays forward
                turn = since + ((way + 1) * last - place) / self._frame_rate
                if way % 2 == 0:
                    found.append(Run(begin, min(turn, stop) - begin, max(0.0, at - way * last)))
                begin = turn
        return [run for run in found if run.seconds > 0]

    def _change(self, now: float, place: float, rate: float) -> None:
        self._since, self._place, self.rate = now, place, rate
        self._changes.append((now, place, rate))
        while len(self._changes) > 1 and self._changes[1][0] < now - REMEMBERED_SECONDS:
            self._changes.popleft()

    def next_change(self) -> float | None:
        """Seconds until another frame is due; None where time stands."""
        return 1.0 / (abs(self.rate) * self._frame_rate) if self.rate else None
