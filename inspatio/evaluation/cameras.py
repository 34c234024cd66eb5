"""Errors of camera paths: the sums and means that papers print, after alignment, and without.

    path_errors(estimated, true, frame_count)  RotErr, TransErr and CamMC, in every usual convention, named
    pose_errors(estimated, true)               rotation in degrees, translation as a share of the path, after alignment
    largest_pose_error(poses, true)            the largest angle and distance, without alignment

Poses are world_to_camera, ``n 4 4``. The conventions of :func:`path_errors` are those of CameraCtrl and CamI2V's
evaluation: poses relative to the first frame's; RotErr the angle between rotations; TransErr the distance of camera
centres; CamMC the Frobenius norm of the difference of the 3x4 camera_to_world matrices. Papers print sums over frames
or means, and translations after dividing each path by its own largest distance from the start (``rel``) or both by the
true path's (``abs``, which only an estimator that knows the scale can be held to). ATE is the translation error after
the best similarity (Umeyama 1991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import invert
from inspatio.cameras.similarity import Similarity, fit_similarity
from inspatio.types import WorldToCamera

STANDS_STILL = 1e-6
"""A path whose camera never gets further than this from its start (scene units) has no scale to divide by."""


def path_errors(estimated: WorldToCamera, true: WorldToCamera, frame_count: int) -> dict[str, float]:
    """The errors of a path, by name: ``rot_err_mean_deg``, ``rot_err_sum_rad``, ``trans_err_rel_mean`` and so on.

    Both paths (``n 4 4``) are of the frames that could be estimated; sums are scaled to all ``frame_count`` frames of
    the clip, so that frames that could not do not lower them. A camera that stands still has no ``rel`` and ``abs``
    errors.
    """
    ours, theirs = (invert(path @ invert(path[0])) for path in (estimated, true))
    turns = Rotation.from_matrix(ours[:, :3, :3]).inv() * Rotation.from_matrix(theirs[:, :3, :3])
    angle = float(turns.magnitude().mean())
    found = {"rot_err_mean_deg": float(np.degrees(angle)), "rot_err_sum_rad": angle * frame_count}
    own_reach, reach = (float(np.linalg.norm(path[:, :3, 3], axis=-1).max()) for path in (ours, theirs))
    if reach < STANDS_STILL:
        return found
    # An estimate that stands still is divided by the true path's reach: it then counts as what it is, standing still.
    for name, scale in (("rel", own_reach if own_reach >= STANDS_STILL else reach), ("abs", reach)):
        scaled, wanted = ours[:, :3].copy(), theirs[:, :3].copy()
        scaled[..., 3] /= scale
        wanted[..., 3] /= reach
        distance = float(np.linalg.norm(scaled[..., 3] - wanted[..., 3], axis=-1).mean())
        whole = float(np.linalg.norm((scaled - wanted).reshape(len(ours), -1), axis=-1).mean())
        found |= {f"trans_err_{name}_mean": distance, f"trans_err_{name}_sum": distance * frame_count}
        found |= {f"cam_mc_{name}_mean": whole, f"cam_mc_{name}_sum": whole * frame_count}
    return found


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
