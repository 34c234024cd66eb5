"""The forward splat of one frame, compiled for the CPU; ``splat.py`` says what it computes.

A frame is worked off row by row in three short loops (project, weigh, splat), because the first then runs on vectors.
Sums are flat and have a border of one pixel, so that a splat at the edge needs no test of its four neighbours: ``sums``
(``(h+2) (w+2) 4``) holds weighted red, green and blue, and the weight; ``depth_sums`` (``(h+2) (w+2)``) holds weighted
target depth, or is empty where nobody asks for it. Indices are unsigned, which spares the loops the test for negative
ones.
"""

from __future__ import annotations

import math

import numpy as np

from inspatio.jit import compiled

SNAP = np.float32(2.0**-10)
"""A splat this near to a pixel lands on it alone.

A weight of up to e^50 would else let the rounding error of a coordinate (about 1e-4 pixels at 832x480) carry a near
surface into the next pixel, and zero motion would not be the identity.
"""
SHARPNESS = 50.0
FAR = np.float32(1000.0)
"""Target depth is clamped to this before it makes a weight."""

ONE = np.float32(1)
HALF = np.float32(0.5)
CHANNELS = 4


@compiled
def splat(image, depth, rotation, translation, sums, depth_sums):
    """Splat one frame into the sums, which are cleared first."""
    sums[:] = 0
    depth_sums[:] = 0
    most = farthest(depth, rotation, translation)
    if most <= 0:
        return
    power = np.float32(-SHARPNESS / math.log1p(most))
    width = depth.shape[1]
    columns = np.empty(width, np.float32)
    rows = np.empty(width, np.float32)
    target_depth = np.empty(width, np.float32)
    weights = np.empty(width, np.float32)
    for y in range(depth.shape[0]):
        project_row(y, depth, rotation, translation, columns, rows, target_depth)
        for x in range(width):
            if target_depth[x] > 0:
                weights[x] = math.exp(power * math.log(ONE + min(target_depth[x], FAR)))
        splat_row(y, image, columns, rows, target_depth, weights, sums, depth_sums)


@compiled
def farthest(depth, rotation, translation):
    """The largest target depth (at most FAR) of the points before the target camera, 0 if there is none."""
    height, width = depth.shape
    # One maximum to a column, so that the columns of a row make a vector.
    most = np.zeros(width, np.float32)
    for y in range(height):
        row_z = rotation[2, 1] * np.float32(y) + rotation[2, 2]
        for x in range(width):
            d = depth[y, x]
            z = (rotation[2, 0] * np.float32(x) + row_z) * d + translation[2]
            z = z if d > 0 and d < np.inf else np.float32(0)
            most[x] = z if z > most[x] else most[x]
    return min(most.max(), FAR)


@compiled
def project_row(y, depth, rotation, translation, columns, rows, target_depth):
    """Where the pixels of row ``y`` land; ``target_depth`` 0 for those with unknown depth or behind the camera."""
    row_u = rotation[0, 1] * np.float32(y) + rotation[0, 2]
    row_v = rotation[1, 1] * np.float32(y) + rotation[1, 2]
    row_z = rotation[2, 1] * np.float32(y) + rotation[2, 2]
    for x in range(columns.size):
        d = depth[y, x]
        inverse = ONE / d
        z_ratio = rotation[2, 0] * np.float32(x) + row_z + translation[2] * inverse
        scale = ONE / z_ratio
        columns[x] = (rotation[0, 0] * np.float32(x) + row_u + translation[0] * inverse) * scale
        rows[x] = (rotation[1, 0] * np.float32(x) + row_v + translation[1] * inverse) * scale
        known = d > 0 and d < np.inf and z_ratio > 0
        target_depth[x] = z_ratio * d if known else np.float32(0)


@compiled
def splat_row(y, image, columns, rows, target_depth, weights, sums, depth_sums):
    """Share every pixel of row ``y`` among the four pixels around where it lands."""
    height, width, _ = image.shape
    right = np.uintp(1)
    down = np.uintp(width + 2)
    keeps_depth = depth_sums.size > 0
    for x in range(width):
        u, v, z = columns[x], rows[x], target_depth[x]
        column = np.floor(u + SNAP)
        row = np.floor(v + SNAP)
        if not (z > 0 and column >= -1 and column < width and row >= -1 and row < height):
            continue
        share_right = u - column
        share_down = v - row
        if share_right < SNAP:
            share_right = np.float32(0)
        if share_down < SNAP:
            share_down = np.float32(0)
        lower = weights[x] * share_down
        upper = weights[x] - lower
        upper_right = upper * share_right
        upper_left = upper - upper_right
        lower_right = lower * share_right
        lower_left = lower - lower_right

        pixel = np.uintp(np.int32(row) + 1) * down + np.uintp(np.int32(column) + 1)
        red, green, blue = np.float32(image[y, x, 0]), np.float32(image[y, x, 1]), np.float32(image[y, x, 2])
        add(sums, pixel, upper_left, red, green, blue)
        add(sums, pixel + right, upper_right, red, green, blue)
        add(sums, pixel + down, lower_left, red, green, blue)
        add(sums, pixel + down + right, lower_right, red, green, blue)
        if keeps_depth:
            depth_sums[pixel] += upper_left * z
            depth_sums[pixel + right] += upper_right * z
            depth_sums[pixel + down] += lower_left * z
            depth_sums[pixel + down + right] += lower_right * z


@compiled
def add(sums, pixel, weight, red, green, blue):
    """One weighted colour into the sums of one pixel."""
    first = pixel * np.uintp(CHANNELS)
    sums[first] += weight * red
    sums[first + np.uintp(1)] += weight * green
    sums[first + np.uintp(2)] += weight * blue
    sums[first + np.uintp(3)] += weight


@compiled
def resolve(sums, frame, mask):
    """Divide by the weights: uint8 ``frame`` (``h w 3``, black where nothing landed), ``mask`` (``h w``, 255 or 0)."""
    height, width = mask.shape
    scale = np.empty(width, np.float32)
    for y in range(height):
        row = np.uintp((y + 1) * (width + 2) + 1) * np.uintp(CHANNELS)
        for x in range(width):
            weight = sums[row + np.uintp(x * CHANNELS + 3)]
            scale[x] = ONE / weight if weight > 0 else np.float32(0)
            mask[y, x] = 255 if weight > 0 else 0
        for x in range(width):
            first = row + np.uintp(x * CHANNELS)
            frame[y, x, 0] = np.uint8(np.int32(sums[first] * scale[x] + HALF))
            frame[y, x, 1] = np.uint8(np.int32(sums[first + np.uintp(1)] * scale[x] + HALF))
            frame[y, x, 2] = np.uint8(np.int32(sums[first + np.uintp(2)] * scale[x] + HALF))


@compiled
def resolve_depth(sums, depth_sums, depth):
    """Target depth (``h w``, 0 where nothing landed) from the same weights."""
    height, width = depth.shape
    for y in range(height):
        row = np.uintp((y + 1) * (width + 2) + 1)
        for x in range(width):
            weight = sums[(row + np.uintp(x)) * np.uintp(CHANNELS) + np.uintp(3)]
            depth[y, x] = depth_sums[row + np.uintp(x)] / weight if weight > 0 else np.float32(0)
