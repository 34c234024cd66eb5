"""The loops of ``resample.py`` for one frame, compiled for the CPU.

``sums`` (``(h+2) (w+2) 4``, flat, float64) holds weighted displacements (columns, rows), weighted target depth, and the
weight. As those of ``splat_loops.py`` they have a border of one pixel, and indices are unsigned.
"""

from __future__ import annotations

import numpy as np

from inspatio.jit import compiled
from inspatio.render.splat_loops import CHANNELS, ONE, SNAP, project_row

NEARNESS_SQUARINGS = 6
"""Weights go with nearness to the power of 2 to this: 64, so that what is 5 % nearer counts 23 times as much."""
DEPTH_RANGE = np.float32(200)
"""Beyond so many times the nearest depth all weigh the same. To the power of 64 it still is a float64."""
LEAST_SHARE = np.float32(0.05)
"""What covers less of a target pixel shows there only where nothing else does."""
FAINT = 1e-9


@compiled
def displace(depth, rotation, translation, sums):
    """Splat how far each pixel of ``depth`` (``h w``) moves into the sums, which are cleared first."""
    sums[:] = 0
    height, width = depth.shape
    columns, rows = np.empty(width, np.float32), np.empty(width, np.float32)
    target_depth, weights = np.empty(width, np.float32), np.empty(width, np.float64)
    farthest = nearest(depth, rotation, translation, columns, rows, target_depth) * DEPTH_RANGE
    right, down = np.uintp(1), np.uintp(width + 2)
    for y in range(height):
        project_row(y, depth, rotation, translation, columns, rows, target_depth)
        for x in range(width):
            weight = max(np.float64(farthest) / np.float64(target_depth[x]), 1.0)
            for _ in range(NEARNESS_SQUARINGS):
                weight *= weight
            weights[x] = weight
        for x in range(width):
            u, v, z = columns[x], rows[x], target_depth[x]
            column, row = np.floor(u + SNAP), np.floor(v + SNAP)
            if not (z > 0 and column >= -1 and column < width and row >= -1 and row < height):
                continue
            share_right, share_down = u - column, v - row
            if share_right < SNAP:
                share_right = np.float32(0)
            if share_down < SNAP:
                share_down = np.float32(0)
            lower_right = share_right * share_down
            lower_left = share_down - lower_right
            upper_right = share_right - lower_right
            upper_left = ONE - share_down - upper_right
            pixel = np.uintp(np.int32(row) + 1) * down + np.uintp(np.int32(column) + 1)
            across, along = np.float64(np.float32(x) - u), np.float64(np.float32(y) - v)
            add(sums, pixel, weights[x] * strength(upper_left), across, along, np.float64(z))
            add(sums, pixel + right, weights[x] * strength(upper_right), across, along, np.float64(z))
            add(sums, pixel + down, weights[x] * strength(lower_left), across, along, np.float64(z))
            add(sums, pixel + down + right, weights[x] * strength(lower_right), across, along, np.float64(z))


@compiled
def nearest(depth, rotation, translation, columns, rows, target_depth):
    """The smallest target depth of the points before the target camera; the last three are scratch of one row."""
    found = np.float32(np.inf)
    for y in range(depth.shape[0]):
        project_row(y, depth, rotation, translation, columns, rows, target_depth)
        for x in range(depth.shape[1]):
            z = target_depth[x] if target_depth[x] > 0 else np.float32(np.inf)
            found = z if z < found else found
    return found


@compiled
def strength(share):
    """What a share of a target pixel weighs."""
    return np.float64(share) if share >= LEAST_SHARE else np.float64(share) * FAINT


@compiled
def add(sums, pixel, weight, across, along, z):
    """One weighted displacement and depth into the sums of one pixel."""
    first = pixel * np.uintp(CHANNELS)
    sums[first] += weight * across
    sums[first + np.uintp(1)] += weight * along
    sums[first + np.uintp(2)] += weight * z
    sums[first + np.uintp(3)] += weight


@compiled
def find_places(sums, columns, rows, mask, depth):
    """Where each target pixel lies in the source (``columns``, ``rows``), the mask (255 or 0) and the target depth.

    All are ``h w``. Where nothing landed the place is the pixel's own, and depth is 0.
    """
    height, width = mask.shape
    for y in range(height):
        row = np.uintp((y + 1) * (width + 2) + 1) * np.uintp(CHANNELS)
        for x in range(width):
            first = row + np.uintp(x * CHANNELS)
            weight = sums[first + np.uintp(3)]
            scale = 1.0 / weight if weight > 0 else 0.0
            columns[y, x] = np.float32(x) + np.float32(sums[first] * scale)
            rows[y, x] = np.float32(y) + np.float32(sums[first + np.uintp(1)] * scale)
            depth[y, x] = sums[first + np.uintp(2)] * scale
            mask[y, x] = 255 if weight > 0 else 0


@compiled
def clear_holes(mask, frame):
    """Make ``frame`` (``h w 3``) black where ``mask`` (``h w``) is 0."""
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if mask[y, x] == 0:
                frame[y, x] = 0
