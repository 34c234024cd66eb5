"""Camera paths relative to the source's own camera: its motion steadied, or held at one of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import interpolate, invert, smooth
from inspatio.cameras.poses import rotation_only as turned_only
from inspatio.cameras.trajectory import SourcePath, Trajectory
from inspatio.errors import ClipError
from inspatio.types import CameraToWorld


class Anchor(Protocol):
    """A way of deriving a camera path from the source's cameras."""

    def camera_to_world(self, source: SourcePath) -> CameraToWorld:
        """One pose for each place of the clip."""
        ...


@dataclass(frozen=True)
class Steady:
    """The source's own path less ``strength`` times its shake: what a Gaussian of ``window`` frames takes from it."""

    strength: float = 1.0
    window: float = 12.0

    def camera_to_world(self, source: SourcePath) -> CameraToWorld:
        shaken = invert(source.camera_to_world)
        steady = smooth(shaken, self.window)
        mixed = interpolate(shaken, steady, np.full(len(shaken), self.strength))
        return invert(mixed)[list(source.order)]


@dataclass(frozen=True)
class Held:
    """The source's camera as at one frame, throughout: the scene plays before a camera that stands."""

    frame: int = 0

    def camera_to_world(self, source: SourcePath) -> CameraToWorld:
        count = len(source.camera_to_world)
        if not 0 <= self.frame < count:
            raise ClipError(f"lock_off(frame={self.frame}): the clip has {count} frames, expected 0 to {count - 1}")
        return np.repeat(source.camera_to_world[self.frame][None], len(source.order), axis=0)


@dataclass(frozen=True)
class AnchoredTrajectory(Trajectory):
    """A path that starts from an anchor at every frame, instead of from the first source camera."""

    path: Trajectory
    anchor: Anchor

    @property
    def total_angle(self) -> float:
        return self.path.total_angle

    def camera_to_world(
        self,
        frame_count: int,
        foreground_depth: float,
        *,
        rotation_only: bool = False,
        source: SourcePath | None = None,
    ) -> CameraToWorld:
        assert source is not None, "an anchored path needs the source's cameras"
        anchor = self.anchor.camera_to_world(source)
        if rotation_only:
            anchor = turned_only(anchor)
        return anchor @ self.path.camera_to_world(frame_count, foreground_depth, rotation_only=rotation_only)

    def zooms(self, frame_count: int, source: SourcePath | None = None) -> NDArray[np.float64]:
        return super().zooms(frame_count, source) * self.path.zooms(frame_count, source)

    def order(self, frame_count: int) -> list[int] | None:
        return self.path.order(frame_count)
