"""Similarity transforms between two worlds, and their closed-form least-squares fit to matching points.

Two reconstructions of one scene differ by a similarity: a scale, a rotation and a translation. Everything is float64.

Source of the closed form: Kabsch (1976), Umeyama (1991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import nearest_rotation
from inspatio.types import CameraToWorld, WorldToCamera

MAX_TURN_ERROR = 3.0
"""Degrees by which the rotations of two estimates of one camera path may differ, in the median."""
MAX_CENTRE_ERROR = 0.2
"""The root mean square distance of their centres that is allowed, of the size of the path."""
_STILL = 1e-6
"""A path whose centres spread less has no size to compare."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """Map points x of one world to ``scale * rotation @ x + translation`` of another."""

    scale: float
    rotation: Array
    """``3 3``"""
    translation: Array
    """``3``, in the target world's unit"""

    def points(self, points: Array) -> Array:
        """Transform ``... 3`` points."""
        return self.scale * points @ self.rotation.T + self.translation

    def cameras(self, world_to_camera: WorldToCamera) -> WorldToCamera:
        """The same cameras (``n 4 4``) in the target world, where their depths are ``scale`` times larger."""
        moved = world_to_camera.copy()
        moved[:, :3, :3] = world_to_camera[:, :3, :3] @ self.rotation.T
        moved[:, :3, 3] = self.scale * world_to_camera[:, :3, 3] - moved[:, :3, :3] @ self.translation
        return moved


def fit_similarity(
    points: Array, targets: Array, weight: Array | None = None, scale: float | None = None
) -> Similarity:
    """Fit the similarity that brings ``v 3`` points closest to ``v 3`` targets in the least-squares sense.

    Args:
        points: in the source world, not all equal.
        targets: the same points in the target world.
        weight: ``v`` weights, not negative; None: all equal.
        scale: fixed scale; None: fit it too.
    """
    share = np.full(len(points), 1 / len(points)) if weight is None else weight / weight.sum()
    centre, target_centre = share @ points, share @ targets
    from_centre = points - centre
    covariance = (targets - target_centre).T @ (from_centre * share[:, None])
    rotation = nearest_rotation(covariance)
    if scale is None:
        scale = float(np.trace(rotation.T @ covariance) / (share @ (from_centre**2).sum(axis=-1)))
    return Similarity(scale, rotation, target_centre - scale * (rotation @ centre))


def align_cameras(cameras: CameraToWorld, targets: CameraToWorld) -> Similarity:
    """The similarity that brings ``n 4 4`` cameras to their counterparts in another world.

    The rotation follows from the cameras' rotations, so that a path along a straight line, or one that only turns, has
    one too; scale and translation from their centres. Where the centres do not move, the scale is 1.

    Raises:
        ValueError: the two are not the same path: after alignment they differ by more than two estimates would.
    """
    rotation = nearest_rotation((targets[:, :3, :3] @ np.swapaxes(cameras[:, :3, :3], 1, 2)).sum(axis=0))
    points, wanted = cameras[:, :3, 3], targets[:, :3, 3]
    turned = (points - points.mean(axis=0)) @ rotation.T
    centred = wanted - wanted.mean(axis=0)
    size, spread = float(np.sqrt((turned**2).sum(1).mean())), float(np.sqrt((centred**2).sum(1).mean()))
    moves = min(size, spread) > _STILL
    scale = float((turned * centred).sum() / (turned**2).sum()) if moves else 1.0
    found = Similarity(scale, rotation, wanted.mean(axis=0) - scale * rotation @ points.mean(axis=0))
    cosines = (
        np.trace(np.swapaxes(targets[:, :3, :3], 1, 2) @ rotation @ cameras[:, :3, :3], axis1=1, axis2=2) - 1
    ) / 2
    error = float(np.median(np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))))
    if error > MAX_TURN_ERROR:
        raise ValueError(f"their rotations differ by {error:.3g} degrees, expected at most {MAX_TURN_ERROR:g}")
    distance = float(np.sqrt(((found.points(points) - wanted) ** 2).sum(1).mean()))
    if moves and (scale <= 0 or distance > MAX_CENTRE_ERROR * spread):
        raise ValueError(
            f"their centres differ by {distance / spread:.0%} of the path's size, "
            f"expected at most {MAX_CENTRE_ERROR:.0%}"
        )
    return found
