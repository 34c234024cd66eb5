"""Errors of camera paths: after the best similarity for estimated ones, as they are for cameras that should be equal.

    pose_errors(estimated, true)               rotation in degrees, translation as a share of the path, after alignment
    largest_pose_error(poses, true)            the largest angle and distance, without alignment

Poses are world_to_camera, ``n 4 4``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import invert
from inspatio.cameras.similarity import Similarity, fit_similarity
from inspatio.types import WorldToCamera


@dataclass(frozen=True)
class PoseErrors:
    """Root mean squares over the clip. ``translation`` is a share of the true path's greatest extent (of 1 where the
    true camera stands still). ``scale``: what the estimated path was multiplied by."""

    rotation_degrees: float
    translation: float
    scale: float


def pose_errors(estimated: WorldToCamera, true: WorldToCamera) -> PoseErrors:
    """A camera path (``n 4 4``) against the true one, both brought to their first camera and then together."""
    ours, theirs = (invert(path @ invert(path[0])) for path in (estimated, true))
    extent = float(np.linalg.norm(theirs[:, :3, 3], axis=-1).max())
    similarity = Similarity(1.0, np.eye(3), np.zeros(3))
    if extent > 0 and np.linalg.norm(ours[:, :3, 3], axis=-1).max() > 0:
        similarity = fit_similarity(ours[:, :3, 3], theirs[:, :3, 3])
    distances = np.linalg.norm(similarity.points(ours[:, :3, 3]) - theirs[:, :3, 3], axis=-1)
    # Rotations are compared in the first camera's world: a path that is nearly straight does not fix the similarity's.
    turns = Rotation.from_matrix(ours[:, :3, :3]) * Rotation.from_matrix(theirs[:, :3, :3]).inv()
    return PoseErrors(
        float(np.rad2deg(np.sqrt((turns.magnitude() ** 2).mean()))),
        float(np.sqrt((distances**2).mean())) / (extent or 1.0),
        similarity.scale,
    )


def largest_pose_error(poses: WorldToCamera, true: WorldToCamera) -> tuple[float, float]:
    """(degrees, distance in the world's unit) by which cameras of one world (``n 4 4``) differ at most."""
    between = poses @ invert(true)
    angles = Rotation.from_matrix(between[:, :3, :3]).magnitude()
    return float(np.degrees(angles.max())), float(np.linalg.norm(between[:, :3, 3], axis=1).max())
