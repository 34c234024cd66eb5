"""Divide a clip into pieces that are solved one at a time: its shots, and long shots into overlapping parts.

What a piece holds in memory (tracks and small grey pictures) is bounded, so that memory does not grow with the clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from inspatio.geometry.motion.tracks import Grey, TrackedFrame

MOST_KEYFRAMES = 60
MOST_FRAMES = 480
OVERLAP_KEYFRAMES = 10
"""Keyframes that two parts of one shot share."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive frames of one shot, to be solved together.

    ``greys`` are the frames at the size of the depth maps. The piece's own frames, whose geometry it gives, are the
    places ``own``; it shares the others with its neighbours in the shot.
    """

    frames: list[TrackedFrame]
    greys: list[Grey]
    own: range
    starts_shot: bool

    @property
    def first(self) -> int:
        """The clip's index of its first own frame."""
        return self.frames[self.own.start].index


def divide(tracked: Iterable[tuple[TrackedFrame, Grey]], map_size: tuple[int, int]) -> Iterator[Piece]:
    """Group tracked frames, in order, into pieces; ``map_size`` is (height, width) of the depth maps."""
    frames: list[TrackedFrame] = []
    greys: list[Grey] = []
    done, starts_shot = 0, True
    for frame, grey in tracked:
        if frame.starts_shot and frames:
            yield Piece(frames, greys, range(done, len(frames)), starts_shot)
            frames, greys, done, starts_shot = [], [], 0, True
        frames.append(frame)
        greys.append(shrunk(grey, map_size))
        keyframes = [place for place, each in enumerate(frames) if each.is_keyframe]
        if len(keyframes) > MOST_KEYFRAMES or len(frames) > MOST_FRAMES:
            keep = keyframes[-min(OVERLAP_KEYFRAMES, len(keyframes) // 2)]
            border = (keep + len(frames)) // 2
            yield Piece(frames, greys, range(done, border), starts_shot)
            frames, greys, done, starts_shot = frames[keep:], greys[keep:], border - keep, False
    if frames:
        yield Piece(frames, greys, range(done, len(frames)), starts_shot)


def shrunk(grey: Grey, size: tuple[int, int]) -> Grey:
    """A grey picture at another (height, width), each pixel the mean of what it covers."""
    if grey.shape == size:
        return grey
    return np.asarray(cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
