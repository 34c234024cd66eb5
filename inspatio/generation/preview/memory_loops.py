"""Compiled loops of the preview's memory; ``memory.py``, ``observe.py`` and ``preview.py`` say what they are for."""

from __future__ import annotations

import numpy as np

from inspatio.render.jit import compiled


@compiled
def points_beyond(points, to_pixels, beyond):
    """Which world points (``v 3``) do not lie before the surface ``beyond`` (``h w`` z-depth) as a camera sees them."""
    height, width = beyond.shape
    kept = np.ones(len(points), np.bool_)
    for i in range(len(points)):
        x, y, z = points[i]
        w = to_pixels[2, 0] * x + to_pixels[2, 1] * y + to_pixels[2, 2] * z + to_pixels[2, 3]
        if w <= 0:
            continue
        column = np.int64(
            np.rint((to_pixels[0, 0] * x + to_pixels[0, 1] * y + to_pixels[0, 2] * z + to_pixels[0, 3]) / w)
        )
        row = np.int64(np.rint((to_pixels[1, 0] * x + to_pixels[1, 1] * y + to_pixels[1, 2] * z + to_pixels[1, 3]) / w))
        if 0 <= column < width and 0 <= row < height and w < beyond[row, column]:
            kept[i] = False
    return kept


@compiled
def look_up(depth, winners, number, matrix, vector, picture, image):
    """Colour the pixels (depth not 0) whose winning point belongs to view ``number`` from its picture, bilinearly."""
    height, width, _ = picture.shape
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            d = depth[row, column]
            if d == 0 or winners[row, column, 0] != number:
                continue
            w = (matrix[2, 0] * column + matrix[2, 1] * row + matrix[2, 2]) * d + vector[2]
            x = ((matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]) * d + vector[0]) / w
            y = ((matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]) * d + vector[1]) / w
            x = min(max(x, np.float32(0)), np.float32(width - 1))
            y = min(max(y, np.float32(0)), np.float32(height - 1))
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            u, v = x - left, y - top
            for c in range(3):
                upper = picture[top, left, c] * (1 - u) + picture[top, left + 1, c] * u
                lower = picture[top + 1, left, c] * (1 - u) + picture[top + 1, left + 1, c] * u
                image[row, column, c] = np.uint8(upper * (1 - v) + lower * v + np.float32(0.5))


@compiled
def steady(frames, depths, matrices, vectors, a, tolerance, picture, kept):
    """What frame ``a`` of several (``m h w 3``, ``m h w``) shows that the others do not contradict.

    ``matrices[b]``, ``vectors[b]`` take a pixel of ``a`` to frame ``b``. ``picture`` gets the median colour of all
    frames that see the same place, ``kept`` (``h w``) 1 where no frame looks through it and no earlier frame shows it.
    """
    count, height, width = depths.shape
    colours = np.empty((3, count), np.uint8)
    for row in range(height):
        for column in range(width):
            d = depths[a, row, column]
            agreeing = 1
            looked_through, seen_before = False, False
            for c in range(3):
                colours[c, 0] = frames[a, row, column, c]
            if d > 0:
                for b in range(count):
                    if b == a:
                        continue
                    w = (matrices[b, 2, 0] * column + matrices[b, 2, 1] * row + matrices[b, 2, 2]) * d + vectors[b, 2]
                    if w <= 0:
                        continue
                    u = (
                        (matrices[b, 0, 0] * column + matrices[b, 0, 1] * row + matrices[b, 0, 2]) * d + vectors[b, 0]
                    ) / w
                    v = (
                        (matrices[b, 1, 0] * column + matrices[b, 1, 1] * row + matrices[b, 1, 2]) * d + vectors[b, 1]
                    ) / w
                    x, y = int(np.rint(u)), int(np.rint(v))
                    if not (1 <= x < width - 1 and 1 <= y < height - 1):
                        continue
                    nearest = np.float32(np.inf)
                    for i in range(-1, 2):
                        for j in range(-1, 2):
                            nearest = min(nearest, depths[b, y + i, x + j])
                    if nearest > w * (1 + tolerance):
                        looked_through = True
                        break
                    there = depths[b, y, x]
                    if abs(there - w) <= tolerance * w:
                        if b < a:
                            seen_before = True
                        for c in range(3):
                            colours[c, agreeing] = frames[b, y, x, c]
                        agreeing += 1
            kept[row, column] = 1 if d > 0 and not looked_through and not seen_before else 0
            for c in range(3):
                if agreeing > 2 and not looked_through:
                    picture[row, column, c] = median(colours[c], agreeing)
                else:
                    picture[row, column, c] = colours[c, 0]


@compiled
def median(values, count):
    """The middle one of the first ``count`` values, which are sorted on the way."""
    for i in range(1, count):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return values[count // 2]


@compiled
def near_edges(depth, jump, step, reach, label):
    """Mark what stands before something farther: 1 within ``reach`` pixels of the edge, 2 within twice that, else 0.

    An edge is where depth rises by the factor ``1 + jump`` from a pixel to its neighbour; the mark then spreads over
    the near surface, from pixel to pixel whose depths differ by less than ``step``. Unknown depth (0) is neither.
    """
    height, width = depth.shape
    queue = np.empty((height * width, 2), np.int32)
    distance = np.full((height, width), -1, np.int32)
    head, tail = 0, 0
    for y in range(height):
        for x in range(width):
            label[y, x] = 0
            d = depth[y, x]
            if d == 0:
                continue
            far = np.float32(0)
            for k in range(4):
                i, j = y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)
                if 0 <= i < height and 0 <= j < width:
                    far = max(far, depth[i, j])
            if far > d * (1 + jump):
                queue[tail, 0], queue[tail, 1] = y, x
                tail += 1
                distance[y, x] = 0
    while head < tail:
        y, x = queue[head]
        head += 1
        label[y, x] = 1 if distance[y, x] < reach else 2
        if distance[y, x] >= 2 * reach:
            continue
        for k in range(4):
            i, j = y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)
            if not (0 <= i < height and 0 <= j < width) or distance[i, j] >= 0 or depth[i, j] == 0:
                continue
            if abs(depth[i, j] - depth[y, x]) < step * depth[y, x]:
                distance[i, j] = distance[y, x] + 1
                queue[tail, 0], queue[tail, 1] = i, j
                tail += 1


@compiled
def looks_through(sight_depth, where, matrix, vector, source_depth, tolerance):
    """Forget (depth 0) what the current source frame sees farther through: it has moved away, or never was there."""
    height, width = source_depth.shape
    for row in range(sight_depth.shape[0]):
        for column in range(sight_depth.shape[1]):
            d = sight_depth[row, column]
            if d == 0 or where[row, column] == 0:
                continue
            w = (matrix[2, 0] * column + matrix[2, 1] * row + matrix[2, 2]) * d + vector[2]
            if w <= 0:
                continue
            x = int(np.rint(((matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]) * d + vector[0]) / w))
            y = int(np.rint(((matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]) * d + vector[1]) / w))
            if not (1 <= x < width - 1 and 1 <= y < height - 1):
                continue
            nearest = np.float32(np.inf)
            for i in range(-1, 2):
                for j in range(-1, 2):
                    nearest = min(nearest, source_depth[y + i, x + j])
            if nearest > w * (1 + tolerance):
                sight_depth[row, column] = 0
