"""The source's own time while a person steers it: pause, reverse, slow, scrub."""

from __future__ import annotations

from inspatio.cameras.timeline import bounced

MAX_RATE = 4.0


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

    def place(self, now: float) -> float:
        """The place in the endless clip, in frames; goes below 0 where time runs backward."""
        return self._place + self.rate * self._frame_rate * (now - self._since)

    def frame(self, now: float) -> int:
        """The source frame shown at a moment."""
        return bounced(abs(round(self.place(now))), self._count)

    def set_rate(self, now: float, rate: float) -> None:
        """Run at another rate from now on, limited to :data:`MAX_RATE` either way."""
        self._place, self._since = self.place(now), now
        self.rate = max(-MAX_RATE, min(MAX_RATE, rate))

    def seek(self, now: float, frame: float) -> None:
        """Go to a frame of the clip; the rate stays."""
        self._place, self._since = max(0.0, min(frame, self._count - 1.0)), now

    def step(self, now: float, frames: int) -> None:
        """Stand still, so many frames further on."""
        self._place, self._since, self.rate = float(round(self.place(now)) + frames), now, 0.0

    def next_change(self) -> float | None:
        """Seconds until another frame is due; None where time stands."""
        return 1.0 / (abs(self.rate) * self._frame_rate) if self.rate else None
