"""Points into a z-buffer, compiled for the CPU; ``points.py`` says what is drawn.

Row and column indices are unsigned where they address an array: what lies left of or above the image is then larger
than its size, so that one test finds both.
"""

from __future__ import annotations

import math

import numpy as np

from inspatio.jit import compiled

POINT_SIDE = 5
"""Side of a point's square on the supersampled canvas: size 2 at twofold supersampling, made odd to have a middle."""
HALF_SIDE = POINT_SIDE // 2
DEPTH_TOLERANCE = np.float32(1e-4)
NEAR_PLANE = np.float32(0.1)

BLOCK = 2048
"""Loose points projected at a time: they stay in the nearest cache until they are drawn."""


@compiled
def project_pixels(depth, source, rotation, translation, canvas, columns, rows, target_depth):
    """Column and row on the canvas and z of every pixel's point (each ``h w``); z 0 where it is not drawn.

    ``source`` and ``canvas`` are intrinsics (``3 3``), ``rotation`` and ``translation`` take the source camera's
    coordinates to the target's. The order of the operations is the published one: where a point falls exactly between
    two pixels of the canvas, rounding decides.
    """
    height, width = depth.shape
    for y in range(height):
        ray_y = (np.float32(y) - source[1, 2]) / source[1, 1]
        for x in range(width):
            d = depth[y, x]
            px = (np.float32(x) - source[0, 2] - source[0, 1] * ray_y) / source[0, 0] * d
            py = ray_y * d
            qx = rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * d + translation[0]
            qy = rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * d + translation[1]
            z = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * d + translation[2]
            columns[y, x] = (canvas[0, 0] * qx + canvas[0, 1] * qy) / z + canvas[0, 2]
            rows[y, x] = canvas[1, 1] * qy / z + canvas[1, 2]
            target_depth[y, x] = z if d > 0 and d < np.inf and z > NEAR_PLANE else np.float32(0)


@compiled
def draw_squares(image, columns, rows, target_depth, nearest, canvas):
    """All points' squares: ``canvas`` (``2h 2w`` uint32, red + 256 green + 65536 blue) and ``nearest`` z (``2h 2w``).

    Of the points of one pixel that lie within DEPTH_TOLERANCE of the nearest, the last in reading order shows. One pass
    finds it: a new nearest point always shows, and what is too far behind some point is too far behind the nearest.
    """
    nearest[:] = np.inf
    canvas[:] = 0
    height, width = np.uintp(nearest.shape[0]), np.uintp(nearest.shape[1])
    square_columns = np.empty(POINT_SIDE, np.uintp)
    margin = HALF_SIDE + 1
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            u, v, z = columns[y, x], rows[y, x], target_depth[y, x]
            if not (z > 0 and u > -margin and u < width + margin and v > -margin and v < height + margin):
                continue
            colour = np.uint32(image[y, x, 0]) | (np.uint32(image[y, x, 1]) << 8) | (np.uint32(image[y, x, 2]) << 16)
            for k in range(POINT_SIDE):
                square_columns[k] = np.uintp(np.int64(np.rint(u + np.float32(k - HALF_SIDE))))
            for k in range(POINT_SIDE):
                row = np.uintp(np.int64(np.rint(v + np.float32(k - HALF_SIDE))))
                if row >= height:
                    continue
                for column in square_columns:
                    if column < width and z <= nearest[row, column] + DEPTH_TOLERANCE:
                        nearest[row, column] = min(nearest[row, column], z)
                        canvas[row, column] = colour


@compiled
def shrink(canvas, nearest, frame, mask, depth):
    """Half the canvas's size: ``frame`` by area; ``mask`` (0 or 255) and ``depth`` from the even pixels."""
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            z = nearest[2 * y, 2 * x]
            mask[y, x] = 255 if z < np.inf else 0
            depth[y, x] = z if z < np.inf else np.float32(0)
            for c in range(3):
                total = np.uint32(2)
                for i in range(2):
                    for j in range(2):
                        total += (canvas[2 * y + i, 2 * x + j] >> np.uint32(8 * c)) & np.uint32(255)
                frame[y, x, c] = total >> np.uint32(2)


@compiled
def nearest_points(points, first, rotation, translation, size, near, nearest, winner):
    """The z-buffer of loose points: smallest z into ``nearest`` (``h w``), that point's number into ``winner``.

    Numbers start at ``first``; of two points at one depth the first stays. ``rotation`` and ``translation`` take world
    points to pixels times z.
    """
    nearest[:] = np.inf
    winner[:] = -1
    height, width = nearest.shape
    columns = np.empty(BLOCK, np.float32)
    rows = np.empty(BLOCK, np.float32)
    depths = np.empty(BLOCK, np.float32)
    half = size * np.float32(0.5)
    for start in range(0, len(points), BLOCK):
        count = min(BLOCK, len(points) - start)
        for k in range(count):
            x, y, z = points[start + k, 0], points[start + k, 1], points[start + k, 2]
            depths[k] = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + translation[2]
            inverse = np.float32(1) / depths[k]
            columns[k] = (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + translation[0]) * inverse
            rows[k] = (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + translation[1]) * inverse
        for k in range(count):
            u, v, z = columns[k], rows[k], depths[k]
            if not (
                z > near and z < np.inf and u > -half - 1 and u < width + half and v > -half - 1 and v < height + half
            ):
                continue
            left, right = max(math.ceil(u - half), 0), min(math.ceil(u + half), width)
            top, bottom = max(math.ceil(v - half), 0), min(math.ceil(v + half), height)
            for row in range(top, bottom):
                for column in range(left, right):
                    if z < nearest[np.uintp(row), np.uintp(column)]:
                        nearest[np.uintp(row), np.uintp(column)] = z
                        winner[np.uintp(row), np.uintp(column)] = first + start + k


@compiled
def show_winners(nearest, winner, colours, frame, depth, coverage):
    """Of several z-buffers (``k h w``) the nearest point of each pixel; the earlier buffer where they tie."""
    parts, height, width = nearest.shape
    for y in range(height):
        for x in range(width):
            z = nearest[0, y, x]
            i = winner[0, y, x]
            for part in range(1, parts):
                if nearest[part, y, x] < z:
                    z = nearest[part, y, x]
                    i = winner[part, y, x]
            seen = i >= 0
            coverage[y, x] = 255 if seen else 0
            depth[y, x] = z if seen else np.float32(0)
            for c in range(3):
                frame[y, x, c] = colours[np.uintp(i), c] if seen else 0
