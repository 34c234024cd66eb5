"""Trajectories: where the new camera goes, independent of the clip and its length.

Keyframes are spread evenly over the clip and interpolated through every one of them without overshoot: numbers by
PCHIP (Fritsch and Carlson 1980: monotone between keyframes), rotations along great arcs at constant speed.

With any angle, the displacement of an :class:`OrbitTrajectory` is the radius of an orbit around the point straight
ahead at that distance; with all angles zero it is a dolly, positive moves forward. A :class:`FlightTrajectory` has a
camera of its own for every frame. What may be relative to the source's own camera is in ``cameras/anchored.py``.

Besides poses, a trajectory has a zoom (focal length over time) and may have a time of its own (freeze, slow, reverse).
Files of trajectories are read by ``cameras/formats``, expressions such as ``orbit(yaw=20)`` by
``cameras/expressions.py``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from inspatio.cameras import poses as cameras
from inspatio.cameras.timeline import bounced
from inspatio.types import CameraToWorld

Unit: TypeAlias = Literal["scene", "foreground"]
"""What translations are measured in: the scene's own unit, or the scene's foreground depth."""

MAX_FRAMES = 100_000
"""The most frames that a trajectory may ask for by how far it turns, and the most keyframes: an hour of video."""
MAX_DEGREES_PER_FRAME = 0.8
"""The fastest turn of the camera: of InSpatio-World (arXiv 2604.07209)."""
MAX_TURN_DEGREES = MAX_FRAMES * MAX_DEGREES_PER_FRAME
"""The most that a trajectory may turn in total; far beyond any use, so that a typing error is found."""
MAX_DISPLACEMENT = 1e4
"""The largest displacement: in foreground depths, or in the scene's unit where translations are in that."""
ZOOM_RANGE = 0.05, 20.0
"""The shortest and longest focal length, times the source's."""


@dataclass(frozen=True, eq=False)
class SourcePath:
    """The source's own cameras, which a trajectory may be relative to.

    ``camera_to_world`` is ``n 4 4`` of all source frames; ``order`` the source frame shown at each place of the clip;
    ``focal`` the focal length of the first source camera in widths of its frame.
    """

    camera_to_world: CameraToWorld
    order: tuple[int, ...]
    focal: float


@dataclass(frozen=True, kw_only=True)
class Trajectory(ABC):
    """A camera path, not yet fitted to the length of a clip."""

    zoom: tuple[float, ...] = (1.0,)
    """Keyframes of the focal length, times the source's."""
    time: tuple[float, ...] | None = None
    """Keyframes of source time, from 0 (the clip's first frame) to 1 (its last); None: the clip plays as usual."""

    @property
    @abstractmethod
    def total_angle(self) -> float:
        """How far the camera turns in total, in degrees; decides how many frames the path needs."""

    @abstractmethod
    def camera_to_world(
        self,
        frame_count: int,
        foreground_depth: float,
        *,
        rotation_only: bool = False,
        source: SourcePath | None = None,
    ) -> CameraToWorld:
        """The poses for ``frame_count`` frames, ``n 4 4`` in the world of the first source camera.

        ``foreground_depth`` (scene units) scales displacements; ``rotation_only`` keeps the camera at the origin;
        ``source`` is needed by trajectories that are relative to the source's cameras.

        Raises:
            ClipError: the path does not fit this source.
        """

    def zooms(self, frame_count: int, source: SourcePath | None = None) -> NDArray[np.float64]:
        """The focal length at each of ``frame_count`` frames, times that of the first source camera."""
        return interpolate(self.zoom, frame_count)

    def order(self, frame_count: int) -> list[int] | None:
        """The frames of a clip of ``frame_count`` frames in the order that the path shows them.

        None: the clip is adapted to the path (``controls.clip_order``).
        """
        return None


@dataclass(frozen=True)
class OrbitTrajectory(Trajectory):
    """Keyframes of pitch and yaw (degrees) and of displacement (foreground depths); a tuple each, any length."""

    pitch_deg: tuple[float, ...]
    yaw_deg: tuple[float, ...]
    displacement: tuple[float, ...]

    @property
    def total_angle(self) -> float:
        """The larger of the summed steps of pitch and of yaw between keyframes."""
        return float(max(np.abs(np.diff(self.pitch_deg)).sum(), np.abs(np.diff(self.yaw_deg)).sum()))

    @property
    def is_dolly(self) -> bool:
        """Whether the camera never turns away from the direction of the first source view."""
        return not any(self.pitch_deg) and not any(self.yaw_deg)

    def camera_to_world(
        self,
        frame_count: int,
        foreground_depth: float,
        *,
        rotation_only: bool = False,
        source: SourcePath | None = None,
    ) -> CameraToWorld:
        pitch = interpolate(self.pitch_deg, frame_count)
        yaw = interpolate(self.yaw_deg, frame_count)
        distance = interpolate(self.displacement, frame_count) * foreground_depth
        poses = cameras.dolly(distance) if self.is_dolly else cameras.orbit(pitch, yaw, distance)
        return cameras.rotation_only(poses) if rotation_only else poses


@dataclass(frozen=True, eq=False)
class MatrixTrajectory(Trajectory):
    """Key poses, ``camera_to_world`` ``k 4 4``; their translations are in ``unit``."""

    key_poses: CameraToWorld
    unit: Unit = "scene"

    @property
    def total_angle(self) -> float:
        """The summed angles between the rotations of successive key poses."""
        return _turn(self.key_poses)

    @property
    def is_dolly(self) -> bool:
        """Whether the camera never turns away from the direction of the first source view."""
        return bool(np.abs(self.key_poses[:, :3, :3] - np.eye(3)).max() < 1e-9)

    def camera_to_world(
        self,
        frame_count: int,
        foreground_depth: float,
        *,
        rotation_only: bool = False,
        source: SourcePath | None = None,
    ) -> CameraToWorld:
        count = len(self.key_poses)
        poses = np.tile(np.eye(4), (frame_count, 1, 1))
        rotations = Rotation.from_matrix(self.key_poses[:, :3, :3])
        turns = Slerp(np.arange(count), rotations)(_places(count, frame_count)) if count > 1 else rotations
        poses[:, :3, :3] = turns.as_matrix()
        if not rotation_only:
            scale = foreground_depth if self.unit == "foreground" else 1.0
            poses[:, :3, 3] = interpolate(self.key_poses[:, :3, 3], frame_count) * scale
        return poses


@dataclass(frozen=True, eq=False)
class FlightTrajectory(Trajectory):
    """A camera for each frame of the result: recorded in the live world, imported, or made of single steps.

    It is not adapted to the clip. The source frames may be given too; otherwise the clip plays as usual, or as
    ``source_times`` (moments of the clip, 0 to 1) or the ``time`` keyframes say.
    """

    key_poses: CameraToWorld
    source_frames: tuple[int, ...] | None = None
    unit: Unit = "scene"
    source_times: NDArray[np.float64] | None = None
    focal: NDArray[np.float64] | None = None
    """``n`` focal lengths in widths of the frame; None: the source's."""
    source_focal: float | None = None
    """The focal length that counts as the source's, in the same unit; None: that of the scene."""

    @property
    def total_angle(self) -> float:
        """The summed angles between the rotations of successive poses."""
        return _turn(self.key_poses)

    def camera_to_world(
        self,
        frame_count: int,
        foreground_depth: float,
        *,
        rotation_only: bool = False,
        source: SourcePath | None = None,
    ) -> CameraToWorld:
        assert frame_count == len(self.key_poses), f"{frame_count} frames of a flight of {len(self.key_poses)}"
        poses = self.key_poses.copy()
        poses[:, :3, 3] *= foreground_depth if self.unit == "foreground" else 1.0
        return cameras.rotation_only(poses) if rotation_only else poses

    def zooms(self, frame_count: int, source: SourcePath | None = None) -> NDArray[np.float64]:
        zooms = super().zooms(frame_count)
        if self.focal is None:
            return zooms
        reference = self.source_focal or (source.focal if source is not None else float(self.focal[0]))
        return zooms * self.focal / reference

    def order(self, frame_count: int) -> list[int]:
        count = len(self.key_poses)
        if self.source_frames is not None:
            return list(self.source_frames)
        if self.source_times is not None:
            return moments(self.source_times, frame_count)
        if self.time is not None:
            return moments(along(self.time, count), frame_count)
        return [bounced(place, frame_count) for place in range(count)]


def interpolate(keyframes: ArrayLike, frame_count: int) -> NDArray[np.float64]:
    """Interpolate keyframes (``k ...``), spread evenly over ``frame_count`` frames, monotone between keyframes.

    One keyframe is a constant; one frame shows the first keyframe.
    """
    keys = np.asarray(keyframes, np.float64)
    if len(keys) == 1:
        return np.repeat(keys, frame_count, axis=0)
    return PchipInterpolator(np.arange(len(keys)), keys, axis=0)(_places(len(keys), frame_count))


def along(keyframes: ArrayLike, frame_count: int) -> NDArray[np.float64]:
    """Interpolate time keyframes (``k``) over ``frame_count`` frames at a constant speed between two of them."""
    keys = np.asarray(keyframes, np.float64)
    return np.interp(_places(len(keys), frame_count), np.arange(len(keys)), keys)


def moments(shares: NDArray[np.float64], frame_count: int) -> list[int]:
    """The frames of a clip of ``frame_count`` frames at moments from 0 (the first) to 1 (the last)."""
    return np.rint(shares * (frame_count - 1)).astype(int).tolist()


def _places(key_count: int, frame_count: int) -> NDArray[np.float64]:
    """The position of each frame on the axis of keyframe numbers."""
    return np.linspace(0, key_count - 1, frame_count)


def _turn(poses: CameraToWorld) -> float:
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    return math.degrees((rotations[:-1].inv() * rotations[1:]).magnitude().sum()) if len(rotations) > 1 else 0.0
