"""Which view of a still scene is the reference of a frame: the one that shares most visible surface with it.

Places of the target view (a coarse grid, and a finer one over its middle) are taken to the world by the render's depth
and looked up in each view: where its own depth agrees, the view sees the same surface. The published code looks views'
depths up with other intrinsics than it made them with, which loses hits near their borders; here both are the same.

A frame alone takes the view with most hits. Along a path that is known beforehand, :func:`plan` weighs hits against
changes, so that the reference does not jump to and fro; frames stay independent, because the plan is made before any
of them. Source: the public code of InSpatio-WorldFM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.render.disc_cloud import DiscCloud
from inspatio.types import DepthMaps

COARSE, FINE = 10, 15
"""Samples to a side: of the whole view (those in the middle half left out), and of its middle half."""
DEPTH_TOLERANCE = 0.02
"""Relative difference of depths that counts as the same surface."""
SWITCH_COST = 0.2
"""What a change of the reference costs along a path, in units of all samples being hits."""


@dataclass(frozen=True)
class ReferenceViews:
    """The views (``n``) that references are chosen from: their cameras and z-depth ``n h w``, 0 unknown."""

    cameras: Cameras
    depth: DepthMaps

    def hits(
        self, depth: NDArray[np.float32], intrinsics: np.ndarray, world_to_camera: np.ndarray
    ) -> tuple[NDArray, int]:
        """How many of a target view's samples each view sees (``n``), and how many samples there are.

        Args:
            depth: ``h w`` z-depth of the target view, 0 unknown.
            intrinsics: ``3 3`` of the target view.
            world_to_camera: ``4 4`` of the target view.
        """
        columns, rows = sample_grid(depth.shape)
        z = depth[rows, columns].astype(np.float64)
        seen = z > 0
        columns, rows, z = columns[seen], rows[seen], z[seen]
        pixels = np.stack([columns * z, rows * z, z])
        in_camera = np.linalg.inv(intrinsics) @ pixels
        points = world_to_camera[:3, :3].T @ (in_camera - world_to_camera[:3, 3:])
        height, width = self.depth.shape[1:]
        poses = self.cameras.world_to_camera
        in_views = poses[:, :3, :3] @ points + poses[:, :3, 3:]
        projected = self.cameras.intrinsics @ in_views
        distance = in_views[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = projected[:, 0] / distance, projected[:, 1] / distance
            inside = (
                (distance > 0) & (np.rint(u) >= 0) & (np.rint(u) < width) & (np.rint(v) >= 0) & (np.rint(v) < height)
            )
        u, v = (np.where(inside, np.rint(each), 0).astype(np.int64) for each in (u, v))
        found = self.depth[np.arange(len(poses))[:, None], v, u]
        agrees = inside & (found > 0) & (np.abs(found - distance) < DEPTH_TOLERANCE * distance)
        return agrees.sum(axis=1), len(z)

    def hides(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which places of the world (``n 3``) are inside or behind a surface: views look there, and none sees so far.

        What no view looks at is not hidden, for nothing is known of it.
        """
        looked, seen = np.zeros(len(places), bool), np.zeros(len(places), bool)
        height, width = self.depth.shape[1:]
        for lens, pose, depth in zip(self.cameras.intrinsics, self.cameras.world_to_camera, self.depth, strict=True):
            in_view = places @ pose[:3, :3].T + pose[:3, 3]
            front = np.flatnonzero(in_view[:, 2] > 0)
            z = in_view[front, 2]
            columns, rows = np.rint((in_view[front] @ lens.T)[:, :2].T / z)
            inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
            front, z = front[inside], z[inside]
            surface = depth[rows[inside].astype(np.int64), columns[inside].astype(np.int64)]
            looked[front] |= surface > 0
            seen[front] |= surface > (1 - DEPTH_TOLERANCE) * z
        return looked & ~seen

    def points(self) -> DiscCloud:
        """What the views show of their place, one point for each pixel of their depth, for drawing depth alone.

        Raises:
            ValueError: no depth is known.
        """
        rows, columns = np.mgrid[: self.depth.shape[1], : self.depth.shape[2]].astype(np.float64)
        pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
        points, radii = [], []
        for lens, to_world, depth in zip(
            self.cameras.intrinsics, invert(self.cameras.world_to_camera), self.depth, strict=True
        ):
            known = depth > 0
            in_camera = (pixels[known] @ np.linalg.inv(lens).T) * depth[known][:, None]
            points.append(in_camera @ to_world[:3, :3].T + to_world[:3, 3])
            radii.append(depth[known] / lens[0, 0])
        found = np.concatenate(points).astype(np.float32)
        return DiscCloud.of(found, np.zeros(found.shape, np.uint8), np.concatenate(radii).astype(np.float32))


def sample_grid(size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of the samples of a view of ``size`` (height, width), each place once, row by row."""
    height, width = size
    low, high = (share * (np.array(size) - 1) for share in (0.25, 0.75))

    def grid(first: np.ndarray, last: np.ndarray, count: int) -> NDArray[np.int64]:
        ys, xs = np.rint(np.linspace(first, last, count)).astype(np.int64).T
        return np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1).reshape(-1, 2)

    outer = grid(np.zeros(2), np.array([height - 1, width - 1]), COARSE)
    central = ((outer >= np.rint(low)) & (outer <= np.rint(high))).all(axis=1)
    samples = np.unique(np.concatenate([outer[~central], grid(low, high, FINE)]), axis=0)
    return samples[:, 1], samples[:, 0]


def plan(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """The reference of each frame of a path, by the shares of samples (``t n``, 0..1) that each view sees.

    The sum of shares less ``SWITCH_COST`` for each change is the largest there is (Viterbi); the first view wins a tie.
    """
    best = shares[0].copy()
    came_from = np.zeros(shares.shape, np.int64)
    for t in range(1, len(shares)):
        leader = int(np.argmax(best))
        switches = best[leader] - SWITCH_COST > best
        came_from[t] = np.where(switches, leader, np.arange(len(best)))
        best = np.maximum(best, best[leader] - SWITCH_COST) + shares[t]
    chosen = np.empty(len(shares), np.int64)
    chosen[-1] = np.argmax(best)
    for t in range(len(shares) - 1, 0, -1):
        chosen[t - 1] = came_from[t, chosen[t]]
    return chosen
