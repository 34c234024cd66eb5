"""Similarity transforms between two worlds, and their closed-form least-squares fit to matching points.

Two reconstructions of one scene differ by a similarity: a scale, a rotation and a translation. Everything is float64.

Source of the closed form: Kabsch (1976), Umeyama (1991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import nearest_rotation
from inspatio.types import WorldToCamera

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
