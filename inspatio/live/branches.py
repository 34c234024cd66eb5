"""Two branches of one session: the one that is flown, and the one that was left by going back to a bookmark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inspatio.cameras.poses import invert
from inspatio.live.compose import GeneratedFrame
from inspatio.types import CameraToWorld, WorldToCamera

MOST_SAMPLES = 8
"""Frames that are kept of a branch for comparing; 3 MB each at 832x480."""


@dataclass(frozen=True, eq=False)
class Event:
    """One block as it was fed to the session; ``prompt`` only where it changed before this block."""

    source_frames: tuple[int, ...]
    world_to_camera: WorldToCamera
    prompt: str | None


class Samples:
    """A few generated frames, spread evenly over all blocks of a branch however long it gets."""

    def __init__(self) -> None:
        self.frames: list[GeneratedFrame] = []
        self._stride = 1

    def wants(self, block: int) -> bool:
        """Whether a frame of this block is to be kept."""
        return block % self._stride == 0

    def add(self, frame: GeneratedFrame) -> None:
        """Keep a frame; beyond the limit every second one is dropped, and fewer blocks are wanted from then on."""
        self.frames.append(frame)
        if len(self.frames) > MOST_SAMPLES:
            self.frames = self.frames[::2]
            self._stride *= 2


@dataclass(frozen=True, eq=False)
class Branch:
    """A branch that was left: its whole event log, and some of its frames."""

    log: tuple[Event, ...]
    frames: tuple[GeneratedFrame, ...]

    def frame_near(self, camera: CameraToWorld, source_frame: int) -> GeneratedFrame | None:
        """Of the kept frames the one that looks most like this camera and time; None where none is kept.

        A frame of the source counts as a hundredth of the distance that a right angle between the cameras counts.
        """

        def distance(frame: GeneratedFrame) -> float:
            other = invert(frame.camera.world_to_camera)[0]
            apart = np.linalg.norm(other[:3, 3] - camera[:3, 3])
            return float(apart + 1 - other[:3, 2] @ camera[:3, 2] + abs(frame.source_frame - source_frame) / 100)

        return min(self.frames, key=distance, default=None)
