"""Compiled loops of motion depth: triangulate optical flow, carry depth between frames, fill and smooth along edges.

All maps are ``h w`` float32 of one size, ``flow`` is ``h w 2`` (columns, rows) in its pixels, rays are undistorted
``h w 2`` (x/z, y/z), inverse depth is 0 where it is unknown. Poses take the first frame's points to the second's.
"""

from __future__ import annotations

import numba
import numpy as np

from inspatio.jit import compiled, compiled_parallel

_UNDISTORT_STEPS = 10
INFINITY = 1e-6
"""Inverse depth of what shows no parallax."""
RESOLUTION = 0.25
"""Pixels: by less than this, flow does not tell depths apart."""


@compiled
def _bilinear(image, column, row, channel):
    height, width = image.shape[:2]
    left, top = int(column), int(row)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = column - left, row - top
    upper = (1 - a) * image[top, left, channel] + a * image[top, right, channel]
    lower = (1 - a) * image[bottom, left, channel] + a * image[bottom, right, channel]
    return (1 - b) * upper + b * lower


@compiled_parallel
def triangulate(there, back, rays, pose, focal, distortion, largest_return, largest_miss, inverse, weight):
    """Write the inverse depth that explains a pixel's flow best, and its weight, where the flow can be trusted.

    ``there`` and ``back`` are the flow to the second frame and from it; they must cancel to ``largest_return`` pixels.
    With both image coordinates there is one equation too many: the pixel's distance from its epipolar line must be
    below ``largest_miss``. What is infinitely far comes out with either sign; it counts where the pixel's motion is
    explained by the camera's turn alone. ``weight`` is the square of the pixel's motion per unit of inverse depth;
    0 = not known.
    """
    height, width = inverse.shape
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    ex, ey, ez = pose[0, 3], pose[1, 3], pose[2, 3]
    for row in numba.prange(height):
        for column in range(width):
            inverse[row, column] = weight[row, column] = 0
            to_x, to_y = column + there[row, column, 0], row + there[row, column, 1]
            if not (0 <= to_x <= width - 1 and 0 <= to_y <= height - 1):
                continue
            miss_x = there[row, column, 0] + _bilinear(back, to_x, to_y, 0)
            miss_y = there[row, column, 1] + _bilinear(back, to_x, to_y, 1)
            if miss_x * miss_x + miss_y * miss_y > largest_return * largest_return:
                continue
            x, y = rays[row, column, 0], rays[row, column, 1]
            qx = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2]
            qy = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2]
            qz = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2]
            seen_x, seen_y = (to_x - centre_x) / focal, (to_y - centre_y) / focal
            ux, uy = seen_x, seen_y
            for _ in range(_UNDISTORT_STEPS):
                scale = 1 / (1 + distortion * (ux * ux + uy * uy))
                ux, uy = seen_x * scale, seen_y * scale
            # u (qz + w ez) = q + w e, linear in the inverse depth w.
            ax, ay = (ux * ez - ex) * focal / qz, (uy * ez - ey) * focal / qz
            bx, by = (qx - ux * qz) * focal / qz, (qy - uy * qz) * focal / qz
            square = ax * ax + ay * ay
            w = max((ax * bx + ay * by) / max(square, 1e-20), INFINITY)
            rx, ry = ax * w - bx, ay * w - by
            if rx * rx + ry * ry < largest_miss * largest_miss:
                inverse[row, column], weight[row, column] = w, square


@compiled_parallel
def weighted_median(inverse, weight, median, total):
    """Write the weighted median over the first axis of ``s h w`` maps and the weight of what agrees with it.

    What is farther than the flow can tell from infinity is put there where it just could (RESOLUTION), so that
    neighbours in a sky have about one depth.
    """
    count, height, width = inverse.shape
    for row in numba.prange(height):
        for column in range(width):
            order = np.argsort(inverse[:, row, column])
            whole = weight[:, row, column].sum()
            median[row, column] = total[row, column] = 0
            if whole <= 0:
                continue
            part = 0.0
            for k in range(count):
                part += weight[order[k], row, column]
                if 2 * part >= whole:
                    median[row, column] = inverse[order[k], row, column]
                    break
            middle = median[row, column]
            for k in range(count):
                difference, share = abs(inverse[k, row, column] - middle), weight[k, row, column]
                if difference < 0.15 * middle or difference * np.sqrt(share) < RESOLUTION:
                    total[row, column] += share
            median[row, column] = max(middle, RESOLUTION / np.sqrt(total[row, column]))


@compiled_parallel
def carry(flow, rays, pose, source_inverse, source_rays_focal, distortion, inverse, miss):
    """Carry inverse depth along the flow from this frame to a frame whose map is known.

    ``pose`` takes the source frame's points to this frame's. Writes this frame's inverse depth and how far (pixels)
    the carried point lands from the pixel: small for what stands still, large for what moves by itself; endless where
    nothing is known.
    """
    height, width = inverse.shape
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    focal = source_rays_focal
    for row in numba.prange(height):
        for column in range(width):
            inverse[row, column], miss[row, column] = 0, np.inf
            to_x, to_y = column + flow[row, column, 0], row + flow[row, column, 1]
            if not (0 <= to_x <= width - 1 and 0 <= to_y <= height - 1):
                continue
            w = source_inverse[int(to_y + 0.5), int(to_x + 0.5)]
            if w <= 0:
                continue
            seen_x, seen_y = (to_x - centre_x) / focal, (to_y - centre_y) / focal
            ux, uy = seen_x, seen_y
            for _ in range(_UNDISTORT_STEPS):
                scale = 1 / (1 + distortion * (ux * ux + uy * uy))
                ux, uy = seen_x * scale, seen_y * scale
            px = pose[0, 0] * ux + pose[0, 1] * uy + pose[0, 2] + w * pose[0, 3]
            py = pose[1, 0] * ux + pose[1, 1] * uy + pose[1, 2] + w * pose[1, 3]
            pz = pose[2, 0] * ux + pose[2, 1] * uy + pose[2, 2] + w * pose[2, 3]
            if pz <= 1e-6:
                continue
            inverse[row, column] = w / pz
            dx, dy = px / pz - rays[row, column, 0], py / pz - rays[row, column, 1]
            miss[row, column] = focal * np.sqrt(dx * dx + dy * dy)


@compiled
def _solve_line(value, confidence, link, c):
    """Solve (diag(confidence) + Laplacian(link)) u = value along a line, in place (Thomas algorithm)."""
    n = len(value)
    diagonal = confidence[0] + link[0] + 1e-12
    c[0] = -link[0] / diagonal
    value[0] /= diagonal
    for i in range(1, n):
        after = link[i] if i < n - 1 else 0.0
        diagonal = confidence[i] + link[i - 1] + after + 1e-12 + link[i - 1] * c[i - 1]
        c[i] = -after / diagonal
        value[i] = (value[i] + link[i - 1] * value[i - 1]) / diagonal
    for i in range(n - 2, -1, -1):
        value[i] -= c[i] * value[i + 1]


@compiled_parallel
def smooth_pass(value, weight, links, strength):
    """Smooth ``h w`` numerator and denominator along each row, by ``strength`` times the links (``h w``) to the right.

    A pass of the fast global smoother (Min et al. 2014); passes along the other axis take transposed maps.
    """
    height, width = value.shape
    for row in numba.prange(height):
        link = np.empty(width)
        c = np.empty(width)
        ones = np.ones(width)
        for column in range(width):
            link[column] = strength * links[row, column] if column < width - 1 else 0.0
        line = value[row].astype(np.float64)
        _solve_line(line, ones, link, c)
        value[row] = line
        line = weight[row].astype(np.float64)
        _solve_line(line, ones, link, c)
        weight[row] = line
