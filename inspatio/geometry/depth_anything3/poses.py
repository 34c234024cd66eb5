"""Poses on the manifold of rigid motions: means between two, and smoothing along a path.

Rotations are averaged as rotations and centres as points: smoothing a quaternion's numbers one by one, or the
translation of ``world_to_camera``, bends the path of a camera that turns while it moves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import invert
from inspatio.types import WorldToCamera

_REACH = 4.0
"""The Gaussian is cut off at this many sigmas."""


def interpolate(first: WorldToCamera, second: WorldToCamera, weight: NDArray[np.float64]) -> WorldToCamera:
    """Frame by frame the camera (``t 4 4``) that lies ``weight`` (``t``, 0..1) of the way from first to second."""
    ours, theirs = invert(first), invert(second)
    rotation = Rotation.from_matrix(ours[:, :3, :3])
    turn = rotation.inv() * Rotation.from_matrix(theirs[:, :3, :3])
    centre = ours[:, :3, 3] + weight[:, None] * (theirs[:, :3, 3] - ours[:, :3, 3])
    return _world_to_camera(rotation * Rotation.from_rotvec(weight[:, None] * turn.as_rotvec()), centre)


def smooth(world_to_camera: WorldToCamera, sigma: float) -> WorldToCamera:
    """A camera path (``n 4 4``) without its jitter: a Gaussian of ``sigma`` frames over rotations and centres.

    Beyond its ends the path is taken to go on as it came (mirrored through the end pose), so that a steady motion, and
    the first and the last pose, stay as they are. Sigma 0 changes nothing.
    """
    count = len(world_to_camera)
    reach = min(int(np.ceil(_REACH * sigma)), count - 1)
    if sigma == 0 or reach < 1:
        return world_to_camera.copy()
    camera_to_world = invert(world_to_camera)
    rotation = _continued_rotation(Rotation.from_matrix(camera_to_world[:, :3, :3]), reach)
    centre = _continued_centre(camera_to_world[:, :3, 3], reach)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()

    mean = rotation[reach : reach + count]
    for _ in range(4):  # the mean of rotations near each other; converges quadratically
        tangent = np.zeros((count, 3))
        for shift, weight in enumerate(weights):
            tangent += weight * (mean.inv() * rotation[shift : shift + count]).as_rotvec()
        mean = mean * Rotation.from_rotvec(tangent)
    smoothed = np.zeros((count, 3))
    for shift, weight in enumerate(weights):
        smoothed += weight * centre[shift : shift + count]
    return _world_to_camera(mean, smoothed)


def _continued_rotation(path: Rotation, reach: int) -> Rotation:
    """The path with ``reach`` more rotations at either end: inner ones, mirrored in the one at the end."""
    before = path[0] * path[reach:0:-1].inv() * path[0]
    after = path[-1] * path[-2 : -2 - reach : -1].inv() * path[-1]
    return Rotation.concatenate([before, path, after])


def _continued_centre(path: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The same for points."""
    return np.concatenate([2 * path[0] - path[reach:0:-1], path, 2 * path[-1] - path[-2 : -2 - reach : -1]])


def _world_to_camera(rotation: Rotation, centre: NDArray[np.float64]) -> WorldToCamera:
    camera_to_world = np.tile(np.eye(4), (len(centre), 1, 1))
    camera_to_world[:, :3, :3] = rotation.as_matrix()
    camera_to_world[:, :3, 3] = centre
    return invert(camera_to_world)
