"""Recorded flights: what was flown, frame by frame at the clip's rate, as trajectory files with source time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.formats.gltf import write_gltf_camera
from inspatio.cameras.formats.matrices import write_matrices
from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import FlightTrajectory
from inspatio.errors import UserError
from inspatio.live.clock import SourceClock
from inspatio.live.motion import between
from inspatio.storage import write_text
from inspatio.types import CameraToWorld, Intrinsics

NAME = re.compile(r"[a-z0-9-]{1,40}")
MAX_SECONDS = 20 * 60
"""The longest flight."""
MAX_FLIGHTS = 200
"""How many flights are kept for a clip."""


class Recorder:
    """Samples the displayed camera and the source frame at the clip's frame rate.

    Between two cameras that were displayed it goes the straight way; the source frame is the clock's own at the very
    moment. What it returns at the end is what is saved and rendered, number for number.
    """

    def __init__(self, frame_rate: float, clock: SourceClock, now: float, camera: CameraToWorld) -> None:
        self._frame_rate, self._clock, self._start = frame_rate, clock, now
        self._last_time, self._last = now, camera
        self.cameras: list[CameraToWorld] = [camera.copy()]
        self.sources: list[int] = [clock.frame(now)]

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def full(self) -> bool:
        """Whether it is as long as a flight may be."""
        return len(self) >= MAX_SECONDS * self._frame_rate

    def moved(self, now: float, camera: CameraToWorld) -> None:
        """The camera is there now. Call it also before the clock is changed, so that what is before stays."""
        while (due := self._start + len(self) / self._frame_rate) <= now and not self.full:
            share = (due - self._last_time) / max(now - self._last_time, 1e-9)
            self.cameras.append(between(self._last, camera, min(max(share, 0.0), 1.0)))
            self.sources.append(self._clock.frame(due))
        self._last_time, self._last = now, camera

    def trajectory(self) -> FlightTrajectory:
        """What was recorded so far."""
        return FlightTrajectory(np.stack(self.cameras), tuple(self.sources))


@dataclass(frozen=True)
class FlightFile:
    """A saved flight."""

    name: str
    path: Path
    frames: int


class FlightFolder:
    """The flights of one clip: ``<name>.txt`` trajectory files in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, FlightFile] = {}
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
            if NAME.fullmatch(path.stem):
                trajectory = load_trajectory(path)
                if isinstance(trajectory, FlightTrajectory):
                    self._known[path.stem] = FlightFile(path.stem, path, len(trajectory.key_poses))

    def all(self) -> list[FlightFile]:
        """The flights in the order of their names."""
        return [self._known[name] for name in sorted(self._known)]

    def find(self, name: str) -> FlightFile:
        """A flight by its name.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self._known:
            raise UserError(f"flight {name!r}: there is none of that name, expected one of {', '.join(self._known)}")
        return self._known[name]

    def save(self, trajectory: FlightTrajectory, name: str | None = None) -> FlightFile:
        """Write a flight, whole or not at all, under a name that is free.

        Raises:
            UserError: the name is taken, there are too many flights, or the disk is full.
        """
        if len(self._known) >= MAX_FLIGHTS:
            raise UserError(f"{len(self._known)} flights are recorded, expected fewer than {MAX_FLIGHTS}. Delete some.")
        if name is None:
            name = next(name for name in (f"flight-{i}" for i in range(1, MAX_FLIGHTS + 1)) if name not in self._known)
        self._check_free(name)
        path = self.folder / f"{name}.txt"
        write_text(path, write_matrices(trajectory.key_poses, trajectory.source_frames))
        self._known[name] = FlightFile(name, path, len(trajectory.key_poses))
        return self._known[name]

    def rename(self, name: str, to: str) -> None:
        """Give a flight another name.

        Raises:
            UserError: there is none of that name, or the other is taken.
        """
        old = self.find(name)
        self._check_free(to)
        path = self.folder / f"{to}.txt"
        old.path.rename(path)
        del self._known[name]
        self._known[to] = FlightFile(to, path, old.frames)

    def delete(self, name: str) -> None:
        """Delete a flight.

        Raises:
            UserError: there is none of that name.
        """
        self.find(name).path.unlink(missing_ok=True)
        del self._known[name]

    def gltf(self, name: str, frame_rate: float, intrinsics: Intrinsics, size: tuple[int, int]) -> str:
        """A flight as a glTF camera animation."""
        trajectory = load_trajectory(self.find(name).path)
        assert isinstance(trajectory, FlightTrajectory), f"{name} has source times"
        cameras = Cameras.from_poses(invert(trajectory.key_poses), intrinsics)
        return write_gltf_camera(cameras, frame_rate, size)

    def _check_free(self, name: str) -> None:
        if name in self._known or not NAME.fullmatch(name):
            raise UserError(f"flight {name!r}: the name is taken, or not of a-z 0-9 -. Choose another.")
