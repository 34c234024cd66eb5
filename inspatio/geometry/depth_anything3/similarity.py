"""How one window's world lies in another's: scale, rotation and translation from the frames that both have seen.

The any-view network gives every window of frames a world and a unit of its own. Where two windows overlap, each pixel
has a depth in both and each frame a pose in both:

    scale         robust least squares of the logarithms of the depth ratios, weighted by confidence
    rotation,     start: the frames' relative rotations and their camera centres;
    translation   then robust least squares between the two windows' points (each pixel lifted by its own window)

"Robust" is iteratively reweighted least squares with Cauchy weights on errors relative to depth, so that moving things
and bad depth, which agree on nothing, count for little. Everything is float64; without noise the result is exact.

Source of the closed form: Kabsch (1976), Umeyama (1991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert, nearest_rotation
from inspatio.types import WorldToCamera

Array = NDArray[np.float64]

POINTS_PER_FRAME = 4000
FEWEST_POINTS = 50
_STEPS = 50
_CAUCHY = 2.0
"""Errors of twice the median count half."""
_EXACT = 1e-9
"""Relative errors below this are rounding: they are not told apart."""


@dataclass(frozen=True)
class Similarity:
    """Takes points x of one world to ``scale * rotation @ x + translation`` of another."""

    scale: float
    rotation: Array
    translation: Array

    def cameras(self, world_to_camera: WorldToCamera) -> WorldToCamera:
        """The same cameras (``n 4 4``) in the other world, where their depths are ``scale`` times larger."""
        moved = world_to_camera.copy()
        moved[:, :3, :3] = world_to_camera[:, :3, :3] @ self.rotation.T
        moved[:, :3, 3] = self.scale * world_to_camera[:, :3, 3] - moved[:, :3, :3] @ self.translation
        return moved


@dataclass(frozen=True)
class View:
    """Some frames as one window sees them.

    ``depth`` and ``confidence`` are ``t h w`` (depth 0 or not finite: not known), ``intrinsics`` ``t 3 3`` at that
    resolution (principal point measured from the corner), ``world_to_camera`` ``t 4 4``.
    """

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    intrinsics: Array
    world_to_camera: WorldToCamera


@dataclass(frozen=True)
class Alignment:
    """A similarity and how well it fits: ``error`` is the median distance of matched points, relative to depth."""

    similarity: Similarity
    error: float


def align(moving: View, fixed: View) -> Alignment:
    """The similarity from the ``moving`` window's world to the ``fixed`` one's, both seeing the same frames.

    With hardly any depth in common, scale stays 1 and the rest follows from the poses; ``error`` is then infinite.
    """
    ours, theirs, weight = _common_points(moving, fixed)
    start = _from_poses(moving.world_to_camera, fixed.world_to_camera, 1.0)
    if len(weight) < FEWEST_POINTS:
        return Alignment(start, np.inf)
    scale = _robust_scale(ours.depth, theirs.depth, weight)
    start = _from_poses(moving.world_to_camera, fixed.world_to_camera, scale)
    return _refine(ours.points, theirs.points, theirs.depth, weight, start)


@dataclass(frozen=True)
class _Points:
    depth: Array
    points: Array
    """``v 3`` in the window's world."""


def _common_points(moving: View, fixed: View) -> tuple[_Points, _Points, Array]:
    """Pixels (an even grid of them) with depth in both windows, and their weights."""
    height, width = fixed.depth.shape[1:]
    stride = max(1, round((height * width / POINTS_PER_FRAME) ** 0.5))
    rows, columns = np.arange(stride // 2, height, stride), np.arange(stride // 2, width, stride)
    grid = np.ix_(range(len(fixed.depth)), rows, columns)
    depths = [view.depth[grid].astype(np.float64) for view in (moving, fixed)]
    known = np.logical_and.reduce([np.isfinite(depth) & (depth > 0) for depth in depths])
    weight = np.sqrt(np.nan_to_num(moving.confidence[grid]) * np.nan_to_num(fixed.confidence[grid]), dtype=np.float64)
    known &= weight > 0

    pixels = np.stack(np.meshgrid(columns + 0.5, rows + 0.5), axis=-1)  # i j 2
    lifted = []
    for view, depth in zip((moving, fixed), depths, strict=True):
        focal, centre = view.intrinsics[:, (0, 1), (0, 1)], view.intrinsics[:, :2, 2]
        rays = (pixels - centre[:, None, None]) / focal[:, None, None]
        points = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) * depth[..., None]
        pose = invert(view.world_to_camera)
        world = np.einsum("tab,tijb->tija", pose[:, :3, :3], points) + pose[:, None, None, :3, 3]
        lifted.append(_Points(depth[known], world[known]))
    return lifted[0], lifted[1], weight[known]


def _robust_scale(ours: Array, theirs: Array, weight: Array) -> float:
    """The scale of the depth ratios: least squares of their logarithms, which favours neither window."""
    ratio = np.log(theirs / ours)
    mean = _weighted_median(ratio, weight)
    for _ in range(_STEPS):
        robust = weight * _cauchy(np.abs(ratio - mean), weight)
        better = float(robust @ ratio / robust.sum())
        done = abs(better - mean) < 1e-12
        mean = better
        if done:
            break
    return float(np.exp(mean))


def _from_poses(moving: WorldToCamera, fixed: WorldToCamera, scale: float) -> Similarity:
    """Rotation and translation from the poses of the frames alone: mean rotation, median of the centres' offsets."""
    ours, theirs = invert(moving), invert(fixed)
    rotation = nearest_rotation(np.einsum("tab,tcb->ac", theirs[:, :3, :3], ours[:, :3, :3]))
    offsets = theirs[:, :3, 3] - scale * ours[:, :3, 3] @ rotation.T
    return Similarity(scale, rotation, np.median(offsets, axis=0))


def _refine(ours: Array, theirs: Array, depth: Array, weight: Array, start: Similarity) -> Alignment:
    """Rotation and translation that bring ``v 3`` points onto each other, the scale being known."""
    current, scaled = start, start.scale * ours
    error = _relative_errors(scaled, theirs, depth, current)
    for _ in range(_STEPS):
        # Depth errors grow with depth, so far points are less to be relied on.
        robust = weight * _cauchy(error, weight) / depth**2
        share = robust / robust.sum()
        centre_ours, centre_theirs = share @ scaled, share @ theirs
        covariance = (theirs - centre_theirs).T @ ((scaled - centre_ours) * share[:, None])
        rotation = nearest_rotation(covariance)
        better = Similarity(start.scale, rotation, centre_theirs - rotation @ centre_ours)
        moved = np.abs(better.rotation - current.rotation).max()
        current = better
        error = _relative_errors(scaled, theirs, depth, current)
        if moved < 1e-12:
            break
    return Alignment(current, _weighted_median(error, weight))


def _relative_errors(scaled: Array, theirs: Array, depth: Array, similarity: Similarity) -> Array:
    return np.linalg.norm(scaled @ similarity.rotation.T + similarity.translation - theirs, axis=-1) / depth


def _cauchy(error: Array, weight: Array) -> Array:
    spread = max(_CAUCHY * _weighted_median(error, weight), _EXACT)
    return 1 / (1 + (error / spread) ** 2)


def _weighted_median(values: Array, weight: Array) -> float:
    order = np.argsort(values)
    until = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(until, until[-1] / 2)]])
