"""Find the camera of every frame from tracked points of known position (resection), robustly.

The mapper gives poses of keyframes and points; this gives the frames between theirs, and keyframes that it left out.
Every frame's pose minimises the Huber loss of its reprojection errors by Gauss-Newton steps, starting from the
neighbour's pose. Outliers (what moves, tracks that slipped) get little weight and at the end none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import compose
from inspatio.types import WorldToCamera

Array = NDArray[np.float64]

LEAST_POINTS = 12
"""Fewer known points give no trustworthy pose."""
HUBER_PIXELS = 1.0
OUTLIER_PIXELS = 4.0
_STEPS = 12
_UNDISTORT_STEPS = 25


@dataclass(frozen=True)
class Lens:
    """A camera with a centred principal point and one radial distortion, as the mapper estimates it.

    ``focal`` is in pixels of frames of ``size`` (height, width). A point at x, y (in units of depth) is seen at
    centre + focal * (1 + distortion * (x^2 + y^2)) * (x, y).
    """

    size: tuple[int, int]
    focal: float
    distortion: float

    @property
    def centre(self) -> Array:
        return np.array([(self.size[1] - 1) / 2, (self.size[0] - 1) / 2])

    def rays(self, pixels: NDArray[np.floating]) -> Array:
        """Undistort ``... 2`` pixels to ``... 2`` coordinates x/z, y/z."""
        seen = (pixels - self.centre) / self.focal
        rays = seen.copy()
        for _ in range(_UNDISTORT_STEPS):
            rays = seen / (1 + self.distortion * (rays**2).sum(-1, keepdims=True))
        return rays

    def pixels(self, rays: Array) -> Array:
        """Distort ``... 2`` coordinates x/z, y/z to ``... 2`` pixels."""
        return self.centre + self.focal * (1 + self.distortion * (rays**2).sum(-1, keepdims=True)) * rays


def locate(points: Array, rays: Array, start: WorldToCamera, focal: float) -> tuple[WorldToCamera, Array]:
    """Find the pose from which ``v 3`` points are seen along ``v 2`` undistorted rays.

    Returns:
        ``world_to_camera`` (``4 4``) and the reprojection error of every point (``v``) in pixels of ``focal``.
    """
    pose = start.copy()
    for _ in range(_STEPS):
        camera = points @ pose[:3, :3].T + pose[:3, 3]
        residual, error = _residual(camera, rays, focal)
        weight = np.sqrt(np.minimum(1, HUBER_PIXELS / np.maximum(error, 1e-9)))
        weight[error > max(OUTLIER_PIXELS, 3 * float(np.median(error)))] = 0
        x, y, z = camera.T
        inverse, zero = 1 / z, np.zeros_like(z)
        # Derivatives of x/z and y/z by a small rotation and a small translation in the camera.
        row_x = np.stack([-x * y * inverse**2, 1 + (x * inverse) ** 2, -y * inverse, inverse, zero, -x * inverse**2], 1)
        row_y = np.stack([-1 - (y * inverse) ** 2, x * y * inverse**2, x * inverse, zero, inverse, -y * inverse**2], 1)
        jacobian = np.stack([row_x, row_y], 1) * (focal * weight)[:, None, None]
        target = residual * weight[:, None]
        jacobian, target = jacobian.reshape(-1, 6), target.reshape(-1)
        step = np.asarray(np.linalg.lstsq(jacobian, target, rcond=None)[0], np.float64)
        moved = compose(Rotation.from_rotvec(step[:3]).as_matrix(), step[3:])
        pose = moved @ pose
        if np.abs(step).max() < 1e-10:
            break
    camera = points @ pose[:3, :3].T + pose[:3, 3]
    return pose, _residual(camera, rays, focal)[1]


def _residual(camera: Array, rays: Array, focal: float) -> tuple[Array, Array]:
    """What is missing to the rays, ``v 2`` in pixels, and its length; endless for points behind the camera."""
    in_front = camera[:, 2] > 1e-9
    depth = np.where(in_front, camera[:, 2], 1.0)[:, None]
    residual = focal * (rays - camera[:, :2] / depth)
    return residual, np.where(in_front, np.linalg.norm(residual, axis=1), np.inf)
