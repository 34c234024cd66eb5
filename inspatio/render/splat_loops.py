"""The forward splat of one frame, compiled for the CPU; ``splat.py`` says what it computes.

``sums`` (``h+2 w+2 5``, float32) holds weighted red, green, blue, weighted target depth and the weight, with a border
of one pixel so that a splat at the edge needs no test of its four neighbours.
"""

from __future__ import annotations

import math

import numpy as np

from inspatio.render.jit import compiled

SNAP = np.float32(2.0**-10)
"""A splat this near to a pixel lands on it alone.

A weight of e^50 would else let the rounding error of a coordinate (about 1e-4 pixels at 832x480) carry a near surface
into the next pixel, and zero motion would not be the identity.
"""
SHARPNESS = 50.0
FAR = np.float32(1000.0)


@compiled
def farthest(depth, rotation, translation):
    """The largest target depth (at most FAR) of the points before the target camera, 0 if there is none."""
    height, width = depth.shape
    most = np.float32(0)
    for y in range(height):
        row = rotation[2, 1] * np.float32(y) + rotation[2, 2]
        for x in range(width):
            d = depth[y, x]
            if d > 0 and d < np.inf:
                z = (rotation[2, 0] * np.float32(x) + row) * d + translation[2]
                most = max(most, z)
    return min(most, FAR)


@compiled
def accumulate(image, depth, rotation, translation, sums):
    """Splat one frame into ``sums``, which is cleared first."""
    sums[:] = 0
    most = farthest(depth, rotation, translation)
    if most <= 0:
        return
    height, width = depth.shape
    power = np.float32(-SHARPNESS / math.log1p(most))
    one = np.float32(1)
    for y in range(height):
        row_u = rotation[0, 1] * np.float32(y) + rotation[0, 2]
        row_v = rotation[1, 1] * np.float32(y) + rotation[1, 2]
        row_z = rotation[2, 1] * np.float32(y) + rotation[2, 2]
        for x in range(width):
            d = depth[y, x]
            if not (d > 0 and d < np.inf):
                continue
            inverse = one / d
            z_ratio = rotation[2, 0] * np.float32(x) + row_z + translation[2] * inverse
            if not z_ratio > 0:
                continue
            u = (rotation[0, 0] * np.float32(x) + row_u + translation[0] * inverse) / z_ratio
            v = (rotation[1, 0] * np.float32(x) + row_v + translation[1] * inverse) / z_ratio
            if not (u > -1 and u < width and v > -1 and v < height):
                continue
            left = math.floor(u + SNAP)
            top = math.floor(v + SNAP)
            right_share = np.float32(u - left)
            lower_share = np.float32(v - top)
            if right_share < SNAP:
                right_share = np.float32(0)
            if lower_share < SNAP:
                lower_share = np.float32(0)
            z = z_ratio * d
            weight = np.float32(math.exp(power * np.float32(math.log(one + min(z, FAR)))))
            red, green, blue = image[y, x, 0], image[y, x, 1], image[y, x, 2]
            i, j = int(top) + 1, int(left) + 1
            for down in range(2):
                share_y = weight * (lower_share if down else one - lower_share)
                for right in range(2):
                    share = share_y * (right_share if right else one - right_share)
                    sums[i + down, j + right, 0] += share * red
                    sums[i + down, j + right, 1] += share * green
                    sums[i + down, j + right, 2] += share * blue
                    sums[i + down, j + right, 3] += share * z
                    sums[i + down, j + right, 4] += share


@compiled
def resolve(sums, frame, mask, depth):
    """Divide by the weights: uint8 ``frame`` (``h w 3``, black outside), ``mask`` (0 or 255), ``depth`` (0 outside)."""
    height, width = mask.shape
    half = np.float32(0.5)
    for y in range(height):
        for x in range(width):
            total = sums[y + 1, x + 1, 4]
            seen = total > 0
            scale = np.float32(1) / total if seen else np.float32(0)
            for c in range(3):
                frame[y, x, c] = np.uint8(sums[y + 1, x + 1, c] * scale + half)
            depth[y, x] = sums[y + 1, x + 1, 3] * scale
            mask[y, x] = 255 if seen else 0
