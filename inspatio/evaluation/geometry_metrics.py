"""How far estimated geometry is from the truth: the field's usual measures of depth and of camera paths.

    depth_errors(estimates, truths)            AbsRel and delta < 1.25, after the one best scale for the clip
    pose_errors(estimated, true)               rotation in degrees, translation as a share of the path, after alignment

Scale cannot be known from pictures alone, so it is taken out: for depth the median of the ratios over the whole clip
(one number, so that flicker still counts), for poses the similarity (Umeyama) that brings the camera centres together.
The scale that was taken out is given too: for geometry in metres it should be near 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import invert
from inspatio.cameras.similarity import Similarity, fit_similarity
from inspatio.types import WorldToCamera

MapPairs = Callable[[], Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]]
"""Starts a pass over pairs of (estimated, true) depth maps of one size; 0 is "not known"."""

SAMPLES_PER_MAP = 2000


@dataclass(frozen=True)
class DepthErrors:
    """``abs_rel``: mean of |estimate - truth| / truth. ``delta``: share within a factor of 1.25. ``known``: share of
    the true depths for which there is an estimate."""

    abs_rel: float
    delta: float
    known: float
    scale: float


@dataclass(frozen=True)
class PoseErrors:
    """Root mean squares over the clip. ``translation`` is a share of the true path's greatest extent (of 1 where the
    true camera stands still)."""

    rotation_degrees: float
    translation: float
    scale: float


def depth_errors(pairs: MapPairs) -> DepthErrors:
    """Depth of a clip against the truth, in two passes.

    Raises:
        ValueError: no pixel has both.
    """
    ratios = []
    for estimate, truth in pairs():
        both = (estimate > 0) & (truth > 0)
        ratio = truth[both] / estimate[both]
        ratios.append(ratio[:: max(1, ratio.size // SAMPLES_PER_MAP)])
    sampled = np.concatenate(ratios) if ratios else np.empty(0)
    if sampled.size == 0:
        raise ValueError("no pixel has both an estimated and a true depth; expected some")
    scale = float(np.median(sampled))
    error = within = estimated = true = 0.0
    for estimate, truth in pairs():
        both = (estimate > 0) & (truth > 0)
        ours, theirs = scale * estimate[both].astype(np.float64), truth[both].astype(np.float64)
        error += float((np.abs(ours - theirs) / theirs).sum())
        within += float((np.maximum(ours / theirs, theirs / ours) < 1.25).sum())
        estimated += ours.size
        true += float((truth > 0).sum())
    return DepthErrors(error / estimated, within / estimated, estimated / true, scale)


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
