"""Source time: which source frame a scene shows at each place of its clip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

EndRule: TypeAlias = Literal["bounce", "hold", "loop"]
"""What is shown beyond the committed places: them played to and fro, the last one held, or all from the start."""


class Timeline:
    """The source frame shown at each place: ``timeline[place]``, defined for every place from 0 on.

    A batch commits all its places at the start (freeze, subsample, bounce: ``controls.clip_order``). A live driver
    commits the frames of the next block with :meth:`append` before it steps the session (pause, slow, reverse).
    Beyond the committed places the end rule applies, so that a session can go on for as long as it is given cameras.
    """

    def __init__(self, frames: Iterable[int], end: EndRule = "bounce", later: Iterable[int] = ()) -> None:
        """``frames`` are indices of source frames: at least one, or none where a live driver commits ``later`` ones."""
        self.frames = list(frames)
        self.end: EndRule = end
        self.later = frozenset(later)
        if not (self.frames or self.later) or min(self.frames, default=0) < 0:
            raise ValueError(f"timeline: got source frames {self.frames}, expected at least one, none negative")

    def sources(self) -> list[int]:
        """The source frames that are shown at some place, or may be later: each once, ascending."""
        return sorted(self.later.union(self.frames))

    def __len__(self) -> int:
        """How many places are committed."""
        return len(self.frames)

    def __getitem__(self, place: int) -> int:
        n = len(self.frames)
        if place < 0 or n == 0:
            raise IndexError(f"timeline: place {place} of {n}, expected 0 or more, and a committed one")
        if place < n:
            return self.frames[place]
        match self.end:
            case "hold":
                return self.frames[-1]
            case "loop":
                return self.frames[place % n]
            case "bounce":
                return self.frames[bounced(place, n)]

    def append(self, frames: Iterable[int]) -> None:
        """Commit the places that follow. Places that the end rule has already shown must be committed as shown."""
        self.frames.extend(frames)


def bounced(place: int, count: int) -> int:
    """The frame at a place when ``count`` frames play to and fro, none twice in a row: 0 1 .. n-1 .. 1 0 1 .."""
    period = max(2 * (count - 1), 1)
    return min(place % period, period - place % period) if count > 1 else 0
