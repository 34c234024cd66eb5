"""Points into a z-buffer, compiled for the CPU; ``points.py`` says what is drawn."""

from __future__ import annotations

import math

import numpy as np

from inspatio.render.jit import compiled

POINT_SIDE = 5
"""Side of a point's square on the supersampled canvas: size 2 at twofold supersampling, made odd to have a middle."""
HALF_SIDE = POINT_SIDE // 2
DEPTH_TOLERANCE = np.float32(1e-4)
NEAR_PLANE = np.float32(0.1)


@compiled
def project_pixels(depth, source, rotation, translation, canvas, projected):
    """``projected`` (``h w 3``): column and row on the canvas and z of every pixel's point; z 0 where it is not drawn.

    ``source`` and ``canvas`` are intrinsics (``3 3``), ``rotation`` and ``translation`` take the source camera's
    coordinates to the target's. The order of the operations is the published one: where a point falls exactly between
    two pixels of the canvas, rounding decides.
    """
    height, width = depth.shape
    for y in range(height):
        ray_y = (np.float32(y) - source[1, 2]) / source[1, 1]
        for x in range(width):
            d = depth[y, x]
            projected[y, x, 2] = 0
            if not (d > 0 and d < np.inf):
                continue
            px = (np.float32(x) - source[0, 2] - source[0, 1] * ray_y) / source[0, 0] * d
            py = ray_y * d
            z = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * d + translation[2]
            if not z > NEAR_PLANE:
                continue
            qx = rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * d + translation[0]
            qy = rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * d + translation[1]
            projected[y, x, 0] = (canvas[0, 0] * qx + canvas[0, 1] * qy) / z + canvas[0, 2]
            projected[y, x, 1] = canvas[1, 1] * qy / z + canvas[1, 2]
            projected[y, x, 2] = z


@compiled
def draw_squares(image, projected, nearest, canvas):
    """The squares of all points on ``canvas`` (``2h 2w 3`` uint8), hidden ones removed by ``nearest`` (``2h 2w``).

    Of the points of one pixel that lie within DEPTH_TOLERANCE of the nearest, the last in reading order shows.
    """
    nearest[:] = np.inf
    canvas[:] = 0
    height, width = nearest.shape
    for drawing in range(2):
        for y in range(projected.shape[0]):
            for x in range(projected.shape[1]):
                u, v, z = projected[y, x, 0], projected[y, x, 1], projected[y, x, 2]
                if not (z > 0 and abs(u) < 2 * width and abs(v) < 2 * height):
                    continue
                for dy in range(-HALF_SIDE, HALF_SIDE + 1):
                    row = int(np.rint(v + np.float32(dy)))
                    if row < 0 or row >= height:
                        continue
                    for dx in range(-HALF_SIDE, HALF_SIDE + 1):
                        column = int(np.rint(u + np.float32(dx)))
                        if column < 0 or column >= width:
                            continue
                        if not drawing:
                            nearest[row, column] = min(nearest[row, column], z)
                        elif z <= nearest[row, column] + DEPTH_TOLERANCE:
                            for c in range(3):
                                canvas[row, column, c] = image[y, x, c]


@compiled
def shrink(canvas, nearest, frame, mask, depth):
    """Half the canvas's size: ``frame`` by area; ``mask`` (0 or 255) and ``depth`` from the even pixels."""
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            for c in range(3):
                total = np.uint32(canvas[2 * y, 2 * x, c]) + np.uint32(canvas[2 * y, 2 * x + 1, c])
                total += np.uint32(canvas[2 * y + 1, 2 * x, c]) + np.uint32(canvas[2 * y + 1, 2 * x + 1, c])
                frame[y, x, c] = (total + 2) >> 2
            z = nearest[2 * y, 2 * x]
            mask[y, x] = 255 if z < np.inf else 0
            depth[y, x] = z if z < np.inf else 0


@compiled
def nearest_points(points, first, rotation, translation, size, near, nearest, winner):
    """The z-buffer of loose points: smallest z into ``nearest`` (``h w``), that point's number into ``winner``.

    Numbers start at ``first``; of two points at one depth the first stays. ``rotation`` and ``translation`` take world
    points to pixels times z.
    """
    nearest[:] = np.inf
    winner[:] = -1
    height, width = nearest.shape
    half = size * np.float32(0.5)
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        z = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * pz + translation[2]
        if not (z > near and z < np.inf):
            continue
        inverse = np.float32(1) / z
        u = (rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * pz + translation[0]) * inverse
        v = (rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * pz + translation[1]) * inverse
        if not (u > -1 - half and u < width + half and v > -1 - half and v < height + half):
            continue
        for row in range(max(math.ceil(v - half), 0), min(math.ceil(v + half), height)):
            for column in range(max(math.ceil(u - half), 0), min(math.ceil(u + half), width)):
                if z < nearest[row, column]:
                    nearest[row, column] = z
                    winner[row, column] = first + i


@compiled
def show_winners(nearest, winner, colours, frame, depth, coverage):
    """Of several z-buffers (``k h w``) the nearest point of each pixel; the earlier buffer where they tie."""
    parts, height, width = nearest.shape
    for y in range(height):
        for x in range(width):
            best = 0
            for part in range(1, parts):
                if nearest[part, y, x] < nearest[best, y, x]:
                    best = part
            i = winner[best, y, x]
            seen = i >= 0
            coverage[y, x] = 255 if seen else 0
            depth[y, x] = nearest[best, y, x] if seen else 0
            for c in range(3):
                frame[y, x, c] = colours[i, c] if seen else 0
