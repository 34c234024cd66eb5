"""Join the overlapping windows of a clip: estimate the similarity between their worlds, transform, blend.

The any-view network gives every window of frames a world and a unit of its own. Where two windows overlap, each pixel
has a depth in both and each frame a pose in both. From these :func:`align` estimates

    scale         by robust least squares of the logarithms of the depth ratios, weighted by confidence
    rotation,     initially from the frames' relative rotations and camera centres,
    translation   then by robust least squares between the points that each window lifts from its own depth

Robust means iteratively reweighted least squares with Cauchy weights on errors relative to depth, so that moving
objects and wrong depth count little. Everything is float64; without noise the result is exact.

:class:`Stitcher` transforms each window into the first one's world and blends the overlap: the new window's weight
rises linearly from 0 to 1, so that nothing jumps. Depth known to only one of the two is taken from that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import interpolate, invert, nearest_rotation
from inspatio.cameras.similarity import Similarity, fit_similarity
from inspatio.geometry.depth_anything3.buffers import DiskBuffer
from inspatio.types import WorldToCamera

Array = NDArray[np.float64]

POINTS_PER_FRAME = 4000
FEWEST_POINTS = 50
_STEPS = 50
_CAUCHY = 2.0
"""Width of the Cauchy weight in median errors: an error of twice the median gets half the weight."""
_EXACT = 1e-9
"""Relative errors below this are rounding and are not weighted differently."""


@dataclass(frozen=True)
class View:
    """Geometry of some frames in one window's world.

    ``depth`` and ``confidence`` are ``t h w`` (depth 0 or not finite: unknown), ``intrinsics`` are ``t 3 3`` in pixels
    of that resolution (principal point measured from the corner), ``world_to_camera`` is ``t 4 4``.
    """

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    intrinsics: Array
    world_to_camera: WorldToCamera


@dataclass(frozen=True)
class Alignment:
    """A similarity and its ``error``, the median distance of matched points relative to their depth."""

    similarity: Similarity
    error: float


def align(moving: View, fixed: View) -> Alignment:
    """Estimate the similarity from the ``moving`` window's world to the ``fixed`` one's; both hold the same frames.

    With fewer than ``FEWEST_POINTS`` pixels known to both, the scale is 1, rotation and translation follow from the
    poses, and ``error`` is infinite.
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
    """Points of a regular grid of pixels with depth in both windows, and their weights."""
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
    """Robust mean of the depth ratios; their logarithms are averaged, which treats both windows alike."""
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
    """Rotation and translation from the poses alone: mean rotation, median of the camera centres' offsets."""
    ours, theirs = invert(moving), invert(fixed)
    rotation = nearest_rotation(np.einsum("tab,tcb->ac", theirs[:, :3, :3], ours[:, :3, :3]))
    offsets = theirs[:, :3, 3] - scale * ours[:, :3, 3] @ rotation.T
    return Similarity(scale, rotation, np.median(offsets, axis=0))


def _refine(ours: Array, theirs: Array, depth: Array, weight: Array, start: Similarity) -> Alignment:
    """Rotation and translation by robust least squares between ``v 3`` points; the scale stays that of ``start``."""
    current, scaled = start, start.scale * ours
    error = _relative_errors(scaled, theirs, depth, current)
    for _ in range(_STEPS):
        # Depth errors grow with depth, so distant points get less weight.
        fit = fit_similarity(scaled, theirs, weight * _cauchy(error, weight) / depth**2, scale=1.0)
        moved = np.abs(fit.rotation - current.rotation).max()
        current = Similarity(start.scale, fit.rotation, fit.translation)
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


@dataclass(frozen=True)
class Overlap:
    """Where a window overlaps the ones before it, and how well it fits them."""

    start: int
    """First shared frame."""
    frames: int
    alignment: Alignment


class Stitcher:
    """Join windows in order, each starting within the frames already joined; see the module docstring.

    ``intrinsics`` (``n 3 3``), ``world_to_camera`` (``n 4 4``) and the buffers given hold the first ``done`` frames.
    """

    def __init__(self, frame_count: int, depth: DiskBuffer, confidence: DiskBuffer) -> None:
        self._depth = depth
        self._confidence = confidence
        self.done = 0
        self.intrinsics: NDArray[np.float64] = np.zeros((frame_count, 3, 3))
        self.world_to_camera: WorldToCamera = np.zeros((frame_count, 4, 4))
        self.overlaps: list[Overlap] = []

    def add(self, start: int, window: View) -> None:
        """Join the window whose first frame is ``start``."""
        stop = start + len(window.depth)
        assert start <= self.done < stop, (
            f"frames {start} to {stop - 1} do not continue the {self.done} that are joined"
        )
        shared = self.done - start
        if shared:
            joined = self._joined(start, self.done)
            alignment = align(_first(window, shared), joined)
            self.overlaps.append(Overlap(start, shared, alignment))
            window = _moved(window, alignment)
            window = _blended(joined, window)
        else:
            assert start == 0, f"the window from frame {start} on does not overlap the {self.done} frames joined"
        self._depth.write(start, window.depth)
        self._confidence.write(start, window.confidence)
        self.intrinsics[start:stop] = window.intrinsics
        self.world_to_camera[start:stop] = window.world_to_camera
        self.done = stop

    def _joined(self, start: int, stop: int) -> View:
        return View(
            self._depth.read(start, stop),
            self._confidence.read(start, stop),
            self.intrinsics[start:stop].copy(),
            self.world_to_camera[start:stop].copy(),
        )


def _first(view: View, count: int) -> View:
    return View(view.depth[:count], view.confidence[:count], view.intrinsics[:count], view.world_to_camera[:count])


def _moved(view: View, alignment: Alignment) -> View:
    similarity = alignment.similarity
    return View(
        (view.depth * similarity.scale).astype(np.float32),
        view.confidence,
        view.intrinsics,
        similarity.cameras(view.world_to_camera),
    )


def _blended(joined: View, window: View) -> View:
    """The window with its first frames blended with the same frames of ``joined``."""
    shared = len(joined.depth)
    rise = np.arange(1, shared + 1) / (shared + 1)
    per_map = rise[:, None, None]
    old, new = joined.depth, window.depth[:shared]
    weight = np.where(_known(old), np.where(_known(new), per_map, 0.0), 1.0)
    depth, confidence = window.depth.copy(), window.confidence.copy()
    intrinsics, poses = window.intrinsics.copy(), window.world_to_camera.copy()
    depth[:shared] = _lerp(np.nan_to_num(old), np.nan_to_num(new), weight)
    confidence[:shared] = _lerp(joined.confidence, window.confidence[:shared], per_map)
    intrinsics[:shared] = _lerp(joined.intrinsics, window.intrinsics[:shared], per_map)
    poses[:shared] = interpolate(joined.world_to_camera, window.world_to_camera[:shared], rise)
    return View(depth, confidence, intrinsics, poses)


def _known(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.isfinite(depth) & (depth > 0)


def _lerp(old: NDArray, new: NDArray, weight: NDArray) -> NDArray:
    return old + weight * (new - old)
