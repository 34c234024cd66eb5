"""A still scene's points, drawn fast from anywhere: chunks outside the view are skipped, gaps are closed by discs.

    cloud = DiscCloud.of(points, colours, radii)
    render = cloud.render(cameras, (512, 512))

Points are sorted so that neighbours in space are neighbours in memory, and cut into chunks with a sphere around each: a
camera of 77 degrees sees a sixth of a panorama's chunks, and only their points are projected. Each point is drawn
as a disc of its own radius in the world, at least one pixel: what comes near grows and stays closed, what is far stays
sharp. Discs are bulged (``BULGE``), so that of overlapping discs on one surface the one whose middle is nearest to the
pixel shows, and of two surfaces the nearer one. The result is the same whatever the number of threads.

Clouds are bounded: :func:`thinned` keeps at most a number of points, one to a voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.jit import compiled, on_threads
from inspatio.render import point_loops
from inspatio.scene import Render

CHUNK = 256
"""Points to a chunk."""
MOST_POINTS = 2_000_000
"""Points that a scanned place keeps: 38 MB, and more than a 512x512 picture can show."""
NEAR = 1e-3
BULGE = 0.02
"""How much farther a disc's rim counts than its middle, relative to its depth."""
LARGEST_DISC = 24.0
"""Radius in pixels of the largest disc; what is nearer than that has holes again."""
NEIGHBOURS = 6
"""The neighbour whose distance sets a point's radius: on a square grid a diagonal one."""
LONELY = 4.0
"""Largest such distance that counts, in units of their median."""
_GRID_BITS = 10


@dataclass(frozen=True)
class DiscCloud:
    """Coloured points in chunks of ``CHUNK``; made by :meth:`of`."""

    points: NDArray[np.float32]
    """``v 3``."""
    colours: NDArray[np.uint8]
    """``v 3``."""
    radii: NDArray[np.float32]
    """``v``: half the distance to the neighbours, in the world's unit; 0 is always one pixel."""
    centres: NDArray[np.float32]
    """``k 3``: middle of each chunk."""
    reaches: NDArray[np.float32]
    """``k``: radius of the sphere around each chunk, discs included."""

    @classmethod
    def of(cls, points: NDArray[np.float32], colours: NDArray[np.uint8], radii: NDArray[np.float32]) -> DiscCloud:
        """Sort points (``v 3``) with their colours (``v 3`` uint8) and radii (``v``); those not finite are dropped.

        Raises:
            ValueError: the arrays do not fit, or no point is left.
        """
        if points.shape != colours.shape or points.shape[1:] != (3,) or radii.shape != points.shape[:1]:
            raise ValueError(
                f"point cloud: got points {points.shape}, colours {colours.shape} and radii {radii.shape}, expected "
                "v 3, v 3 and v"
            )
        finite = np.isfinite(points).all(axis=1)
        points, colours, radii = points[finite], colours[finite], radii[finite]
        if len(points) == 0:
            raise ValueError("point cloud: got no finite point, expected at least one. Check the depth")
        order = np.argsort(_morton(points), kind="stable")
        points = np.ascontiguousarray(points[order], np.float32)
        radii = np.ascontiguousarray(radii[order], np.float32)
        starts = np.arange(0, len(points), CHUNK)
        lower, upper = (each.reduceat(points, starts) for each in (np.minimum, np.maximum))
        reaches = np.linalg.norm(upper - lower, axis=1) / 2 + np.maximum.reduceat(radii, starts)
        centres = ((lower + upper) / 2).astype(np.float32)
        return cls(points, np.ascontiguousarray(colours[order]), radii, centres, reaches.astype(np.float32))

    def __len__(self) -> int:
        return len(self.points)

    def render(self, cameras: Cameras, size: tuple[int, int], threads: int | None = None) -> Render:
        """The cloud as ``t`` cameras see it, in pictures of ``size`` (height, width), with z-depth.

        ``threads``: on how many the points are shared out (None: as many as torch uses).
        """
        t = len(cameras)
        frames = np.empty((t, *size, 3), np.uint8)
        masks, depth = np.empty((t, *size), np.uint8), np.empty((t, *size), np.float32)
        workers = threads or torch.get_num_threads()
        nearest, winner = np.empty((workers, *size), np.float32), np.empty((workers, *size), np.int32)
        for i in range(t):
            lens, pose = cameras.intrinsics[i], cameras.world_to_camera[i]
            seen = self.visible_chunks(lens, pose, size)
            to_pixels = lens @ pose[:3]
            rotation, translation = to_pixels[:, :3].astype(np.float32), to_pixels[:, 3].astype(np.float32)
            focal = np.float32(math.sqrt(lens[0, 0] * lens[1, 1]))

            def work(worker: int, seen=seen, rotation=rotation, translation=translation, focal=focal) -> None:
                part = seen[worker::workers]
                _draw(self.points, self.radii, part, rotation, translation, focal, nearest[worker], winner[worker])

            on_threads(work, range(workers))
            point_loops.show_winners(nearest, winner, self.colours, frames[i], depth[i], masks[i])
            _set_depth(self.points, nearest, winner, rotation, translation, depth[i])
        return Render(frames, masks, depth)

    def visible_chunks(self, lens: np.ndarray, pose: np.ndarray, size: tuple[int, int]) -> NDArray[np.int64]:
        """Chunks whose sphere reaches into the pyramid of view; a few that do not are among them."""
        middle = self.centres @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
        height, width = size
        inside = middle[:, 2] > NEAR - self.reaches
        edges = (
            (lens[0, 0], lens[0, 2] + 1.0, 0),
            (-lens[0, 0], width - lens[0, 2], 0),
            (lens[1, 1], lens[1, 2] + 1.0, 1),
            (-lens[1, 1], height - lens[1, 2], 1),
        )
        for slope, offset, axis in edges:  # a point is inside where slope x + offset z >= 0
            length = math.hypot(slope, offset)
            inside &= (slope * middle[:, axis] + offset * middle[:, 2]) / length > -self.reaches
        return np.flatnonzero(inside)


def thinned(points: NDArray[np.float32], most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Indices of at most ``most`` points, one to a voxel; of all of them where they are no more."""
    if len(points) <= most:
        return np.arange(len(points))
    low, high = np.percentile(points, (1, 99), axis=0)
    side = float(np.max(high - low)) / 4096
    while True:
        cells = np.floor(points / side).astype(np.int64)
        keys = (cells[:, 0] * 73_856_093) ^ (cells[:, 1] * 19_349_663) ^ (cells[:, 2] * 83_492_791)
        kept = np.sort(np.unique(keys, return_index=True)[1])
        if len(kept) <= most:
            return kept
        side *= 1.25


def neighbour_radii(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The radius (``v``) with which each point's disc meets its neighbours': on an even grid, the grid's spacing.

    A cloud is dense where the scanner was near and sparse elsewhere, so each point has its own; one that hangs alone
    stays small (``LONELY``).
    """
    from scipy.spatial import KDTree

    if len(points) <= NEIGHBOURS:
        return np.zeros(len(points), np.float32)
    distances = KDTree(points).query(points, k=NEIGHBOURS + 1)[0][:, -1]  # the first neighbour is the point itself
    return (math.sqrt(0.5) * np.minimum(distances, LONELY * np.median(distances))).astype(np.float32)


def _morton(points: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The Z-order of points in the box that holds most of them."""
    low, high = np.percentile(points[:: max(1, len(points) // 100_000)], (1, 99), axis=0)
    scale = (1 << _GRID_BITS) / max(float(np.max(high - low)), 1e-9)
    cells = np.clip((points - low) * scale, 0, (1 << _GRID_BITS) - 1).astype(np.uint32)
    code = np.zeros(len(points), np.uint32)
    for bit in range(_GRID_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


@compiled
def _draw(points, radii, chunks, rotation, translation, focal, nearest, winner):
    """Discs of the points of some chunks into a z-buffer: smallest z, and the number of its point."""
    nearest[:] = np.inf
    winner[:] = -1
    height, width = nearest.shape
    for chunk in chunks:
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(points))):
            x, y, z0 = points[i, 0], points[i, 1], points[i, 2]
            z = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z0 + translation[2]
            if not (z > NEAR and z < np.inf):
                continue
            inverse = np.float32(1) / z
            u = (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z0 + translation[0]) * inverse
            v = (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z0 + translation[1]) * inverse
            radius = min(radii[i] * focal * inverse, np.float32(LARGEST_DISC))
            if not (u > -radius - 1 and u < width + radius and v > -radius - 1 and v < height + radius):
                continue
            # Pixels whose middle lies in the disc; at least the one that the point falls on.
            reach = max(radius, np.float32(0.71))
            bulge = BULGE * z / (reach * reach)
            for row in range(max(math.ceil(v - reach), 0), min(math.floor(v + reach) + 1, height)):
                dv = np.float32(row) - v
                half = math.sqrt(max(reach * reach - dv * dv, np.float32(0)))
                for column in range(max(math.ceil(u - half), 0), min(math.floor(u + half) + 1, width)):
                    du = np.float32(column) - u
                    key = z + np.float32(bulge * (du * du + dv * dv))
                    best = nearest[row, column]
                    if key < best or (key == best and i < winner[row, column]):
                        nearest[row, column] = key
                        winner[row, column] = i


@compiled
def _set_depth(points, nearest, winner, rotation, translation, depth):
    """The z of the points that show, which the z-buffers (``k h w``) have with their bulge."""
    parts, height, width = nearest.shape
    for row in range(height):
        for column in range(width):
            if depth[row, column] > 0:
                part = 0
                for other in range(1, parts):
                    if nearest[other, row, column] < nearest[part, row, column]:
                        part = other
                i = winner[part, row, column]
                depth[row, column] = (
                    rotation[2, 0] * points[i, 0] + rotation[2, 1] * points[i, 1] + rotation[2, 2] * points[i, 2]
                ) + translation[2]
