"""Trajectories: where the new camera goes, independent of the clip and its length.

Keyframes are spread evenly over the clip and interpolated through every one of them without overshoot: numbers by
PCHIP (Fritsch and Carlson 1980: monotone between keyframes), rotations along great arcs at constant speed.

With any angle, the displacement of an :class:`OrbitTrajectory` is the radius of an orbit around the point straight
ahead at that distance; with all angles zero it is a dolly, positive moves forward. Files of trajectories are read by
``cameras/formats``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from inspatio.cameras import poses as cameras
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


class Trajectory(Protocol):
    """A camera path, not yet fitted to the length of a clip."""

    @property
    def total_angle(self) -> float:
        """How far the camera turns in total, in degrees; decides how many frames the path needs."""
        ...

    @property
    def is_dolly(self) -> bool:
        """Whether the camera never turns away from the direction of the first source view."""
        ...

    def camera_to_world(
        self, frame_count: int, foreground_depth: float, *, rotation_only: bool = False
    ) -> CameraToWorld:
        """The poses for ``frame_count`` frames, ``n 4 4`` in the world of the first source camera.

        ``foreground_depth`` (scene units) scales displacements; ``rotation_only`` keeps the camera at the origin.
        """
        ...


@dataclass(frozen=True)
class OrbitTrajectory:
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
        return not any(self.pitch_deg) and not any(self.yaw_deg)

    def camera_to_world(
        self, frame_count: int, foreground_depth: float, *, rotation_only: bool = False
    ) -> CameraToWorld:
        pitch = interpolate(self.pitch_deg, frame_count)
        yaw = interpolate(self.yaw_deg, frame_count)
        distance = interpolate(self.displacement, frame_count) * foreground_depth
        poses = cameras.dolly(distance) if self.is_dolly else cameras.orbit(pitch, yaw, distance)
        return cameras.rotation_only(poses) if rotation_only else poses


@dataclass(frozen=True, eq=False)
class MatrixTrajectory:
    """Key poses, ``camera_to_world`` ``k 4 4``; their translations are in ``unit``."""

    key_poses: CameraToWorld
    unit: Unit = "scene"

    @property
    def total_angle(self) -> float:
        """The summed angles between the rotations of successive key poses."""
        rotations = Rotation.from_matrix(self.key_poses[:, :3, :3])
        return math.degrees((rotations[:-1].inv() * rotations[1:]).magnitude().sum()) if len(rotations) > 1 else 0.0

    @property
    def is_dolly(self) -> bool:
        return bool(np.abs(self.key_poses[:, :3, :3] - np.eye(3)).max() < 1e-9)

    def camera_to_world(
        self, frame_count: int, foreground_depth: float, *, rotation_only: bool = False
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
class FlightTrajectory(MatrixTrajectory):
    """A recorded flight: a camera for each frame of the result, and the source frame shown there.

    It is not adapted to the clip; the clip is played as it was during the flight. Its unit is the scene's.
    """

    source_frames: tuple[int, ...] = ()

    def __init__(self, key_poses: CameraToWorld, source_frames: tuple[int, ...]) -> None:
        assert len(key_poses) == len(source_frames), f"{len(key_poses)} poses, {len(source_frames)} source frames"
        super().__init__(key_poses, "scene")
        object.__setattr__(self, "source_frames", source_frames)


def interpolate(keyframes: ArrayLike, frame_count: int) -> NDArray[np.float64]:
    """Interpolate keyframes (``k ...``), spread evenly over ``frame_count`` frames, monotone between keyframes.

    One keyframe is a constant; one frame shows the first keyframe.
    """
    keys = np.asarray(keyframes, np.float64)
    if len(keys) == 1:
        return np.repeat(keys, frame_count, axis=0)
    return PchipInterpolator(np.arange(len(keys)), keys, axis=0)(_places(len(keys), frame_count))


def _places(key_count: int, frame_count: int) -> NDArray[np.float64]:
    """The position of each frame on the axis of keyframe numbers."""
    return np.linspace(0, key_count - 1, frame_count)
