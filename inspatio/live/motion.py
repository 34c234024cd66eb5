"""The driver's camera: keep it near the scene, and predict where it will be when a block is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import compose
from inspatio.types import CameraToWorld

MAX_DISTANCE = 20.0
"""How far from the source's path the camera may be, in foreground depths."""
MAX_PREDICTION = 1.0
"""Seconds beyond which a motion is not continued: it will have changed by then."""
MAX_SPEED, MAX_TURN = 10.0, 6.0
"""Foreground depths and radians a second that a motion is continued with at most."""


@dataclass(frozen=True, eq=False)
class Motion:
    """A camera and how it moves: ``velocity`` (scene units a second) and ``turn`` (rotation vector, radians a second)
    in the camera's own axes."""

    camera_to_world: CameraToWorld
    velocity: NDArray[np.float64]
    turn: NDArray[np.float64]

    def after(self, seconds: float) -> CameraToWorld:
        """The camera after a while of the same motion."""
        seconds = min(max(seconds, 0.0), MAX_PREDICTION)
        rotation = self.camera_to_world[:3, :3]
        turned = rotation @ Rotation.from_rotvec(self.turn * seconds).as_matrix()
        return compose(turned, self.camera_to_world[:3, 3] + rotation @ self.velocity * seconds)


def pose_matrix(
    position: tuple[float, float, float], quaternion: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """``4 4`` from a position and a quaternion w x y z, which is normalised."""
    w, x, y, z = quaternion
    return compose(Rotation.from_quat([x, y, z, w]).as_matrix(), np.asarray(position, np.float64))


def position_and_quaternion(
    pose: NDArray[np.float64],
) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """The position and the quaternion w x y z of a ``4 4`` pose."""
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
    a, b, c = pose[:3, 3].tolist()
    return (a, b, c), (w, x, y, z)


def clamped(camera_to_world: CameraToWorld, source_centres: NDArray[np.float64], foreground: float) -> CameraToWorld:
    """The same camera, moved straight back to within :data:`MAX_DISTANCE` of the nearest source camera (``n 3``)."""
    centre = camera_to_world[:3, 3]
    distances = np.linalg.norm(source_centres - centre, axis=1)
    nearest = int(np.argmin(distances))
    limit = MAX_DISTANCE * foreground
    if distances[nearest] <= limit:
        return camera_to_world
    towards = (centre - source_centres[nearest]) / distances[nearest]
    return compose(camera_to_world[:3, :3], source_centres[nearest] + limit * towards)


def limited(vector: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """The vector, no longer than ``most``."""
    length = float(np.linalg.norm(vector))
    return vector if length <= most else vector * (most / length)


def slewed(before: CameraToWorld, wanted: CameraToWorld, most_degrees: float) -> CameraToWorld:
    """The wanted camera, turned at most so far from the one before."""
    turn = Rotation.from_matrix(before[:3, :3].T @ wanted[:3, :3]).as_rotvec()
    return compose(
        before[:3, :3] @ Rotation.from_rotvec(limited(turn, np.deg2rad(most_degrees))).as_matrix(), wanted[:3, 3]
    )


def between(first: CameraToWorld, second: CameraToWorld, share: float) -> CameraToWorld:
    """The camera at a share (0..1) of the way from one to another: great arc and straight line."""
    turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).as_rotvec()
    centre = first[:3, 3] + share * (second[:3, 3] - first[:3, 3])
    return compose(first[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix(), centre)
