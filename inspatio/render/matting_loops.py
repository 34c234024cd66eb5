"""The loops of ``matting.py`` for one frame, compiled for the CPU."""

from __future__ import annotations

import math

import numpy as np

from inspatio.jit import compiled
from inspatio.render.splat_loops import HALF, ONE, SNAP

WINDOW = 4
"""Samples of foreground and background are looked for within so many rows and columns."""
FARTHEST = 5
"""A pixel whose squared distance to the other surface is larger is not mixed with it."""
CONTRAST = np.float32(50.0)
"""Where foreground and background differ by less (of 255), the depth says more about a pixel than its colour."""
DISTANCE_COST = 4
"""What a squared pixel of distance counts for against a squared difference of colour, when samples are chosen."""
CLEAR, OPAQUE = np.float32(0.1), np.float32(0.9)
"""An alpha below and above is taken for 0 and 1."""
SAME_SURFACE = np.float32(0.03)
"""An edge is drawn over what lies behind it, and over the surface it belongs to, which is within this share of it."""
HIDING = np.float32(20.0)
"""How fast the weight of an edge falls with the share that it is behind the nearest one: to a third at 5 %."""
HIDING_SHARE = np.float32(0.3)
"""An edge pixel that covers less of a target pixel hides nothing there."""
UNDER = 3
"""The background is continued under opaque foreground with the colours within so many rows and columns."""
NOWHERE = 1 << 30


@compiled
def split(frame, filmed, band, middle, rows, columns, background, depth, colours, alphas, depths):
    """Split the pixels (``rows``, ``columns``) of a frame into foreground and background.

    ``filmed`` (``h w``) is the frame's depth, ``band`` (``h w``) where pixels may be mixed, ``middle`` (``h w``) the
    depth that parts the two surfaces there. Written: the foreground's ``colours``, ``alphas`` and ``depths``, and
    ``background`` and ``depth`` at these pixels.

    A pixel's colour is held against the most similar unmixed pixels of the two surfaces around it: where it lies on the
    line between them gives alpha (Ruzon & Tomasi 2000). What one of them does not explain is given to the surface that
    has the larger share, so that the two parts give the pixel back.
    """
    height, width = filmed.shape
    colour = np.empty(3, np.float32)
    fore = np.empty(3, np.float32)
    back = np.empty(3, np.float32)
    for k in range(rows.size):
        y, x = rows[k], columns[k]
        between = middle[y, x]
        is_near = filmed[y, x] < between
        own_red, own_green, own_blue = np.int32(frame[y, x, 0]), np.int32(frame[y, x, 1]), np.int32(frame[y, x, 2])
        near_row, near_column, far_row, far_column = y, x, y, x
        near_depth, far_depth = filmed[y, x], filmed[y, x]
        near_distance, far_distance = NOWHERE, NOWHERE
        near_cost, far_cost = NOWHERE, NOWHERE
        for i in range(max(y - WINDOW, 0), min(y + WINDOW + 1, height)):
            for j in range(max(x - WINDOW, 0), min(x + WINDOW + 1, width)):
                there = filmed[i, j]
                if there == 0:
                    continue
                distance = (i - y) * (i - y) + (j - x) * (j - x)
                cost = NOWHERE
                if band[i, j] == 0:
                    red = np.int32(frame[i, j, 0]) - own_red
                    green = np.int32(frame[i, j, 1]) - own_green
                    blue = np.int32(frame[i, j, 2]) - own_blue
                    cost = red * red + green * green + blue * blue + DISTANCE_COST * distance
                if there < between:
                    if distance < near_distance:
                        near_distance, near_depth = distance, there
                    if cost < near_cost:
                        near_cost, near_row, near_column = cost, i, j
                else:
                    if distance < far_distance:
                        far_distance, far_depth = distance, there
                    if cost < far_cost:
                        far_cost, far_row, far_column = cost, i, j
        for c in range(3):
            colour[c] = np.float32(frame[y, x, c])
            fore[c] = np.float32(frame[near_row, near_column, c])
            back[c] = np.float32(frame[far_row, far_column, c])
        alpha = ONE if is_near else np.float32(0)
        if (far_distance if is_near else near_distance) <= FARTHEST:
            contrast, along = np.float32(0), np.float32(0)
            for c in range(3):
                contrast += (fore[c] - back[c]) * (fore[c] - back[c])
                along += (colour[c] - back[c]) * (fore[c] - back[c])
            by_colour = min(max(along / (contrast + ONE), np.float32(0)), ONE)
            trust = contrast / (contrast + CONTRAST * CONTRAST)
            alpha = trust * by_colour + (ONE - trust) * alpha
        if alpha < CLEAR:
            alpha = np.float32(0)
        elif alpha > OPAQUE:
            alpha = ONE
        alphas[k] = alpha
        depths[k] = near_depth if near_distance < NOWHERE else filmed[y, x]
        for c in range(3):
            if alpha > HALF:
                fore[c] = min(max((colour[c] - (ONE - alpha) * back[c]) / alpha, np.float32(0)), np.float32(255))
            else:
                back[c] = min(max((colour[c] - alpha * fore[c]) / (ONE - alpha), np.float32(0)), np.float32(255))
            colours[k, c] = np.uint8(fore[c] + HALF)
        if alpha == ONE:
            depth[y, x] = 0
        elif alpha > 0:
            if is_near:
                depth[y, x] = far_depth
            for c in range(3):
                background[y, x, c] = np.uint8(back[c] + HALF)


@compiled
def extend(depth, middle, rows, columns, alphas, background):
    """Give ``background`` (``h w 3``), where the foreground is opaque, the colours of the background beside it.

    The arguments are those of :func:`split`, after it. A pixel has the mean of the background pixels around it, by the
    fourth power of nearness, so that the nearest count.
    """
    height, width = depth.shape
    for k in range(rows.size):
        if alphas[k] < ONE:
            continue
        y, x = rows[k], columns[k]
        red, green, blue, weight = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for i in range(max(y - UNDER, 0), min(y + UNDER + 1, height)):
            for j in range(max(x - UNDER, 0), min(x + UNDER + 1, width)):
                distance = (i - y) * (i - y) + (j - x) * (j - x)
                if depth[i, j] < middle[y, x] or distance == 0:
                    continue
                share = ONE / np.float32(distance * distance)
                red += share * background[i, j, 0]
                green += share * background[i, j, 1]
                blue += share * background[i, j, 2]
                weight += share
        if weight > 0:
            background[y, x, 0] = np.uint8(red / weight + HALF)
            background[y, x, 1] = np.uint8(green / weight + HALF)
            background[y, x, 2] = np.uint8(blue / weight + HALF)


@compiled
def in_front(between, columns, rows, target_depth, rotation, translation):
    """The pixels ``row * w + column`` of a target view that show foreground beside mixed pixels.

    ``between`` (``h w``) is the depth in the source that parts the foreground from the background, 0 far from edges;
    ``columns`` and ``rows`` are the places in the source, ``rotation`` and ``translation`` take target pixels there.
    """
    height, width = target_depth.shape
    found, count = np.empty(target_depth.size, np.intp), 0
    for y in range(height):
        for x in range(width):
            row = min(max(np.int32(rows[y, x] + HALF), 0), height - 1)
            column = min(max(np.int32(columns[y, x] + HALF), 0), width - 1)
            parted, z = between[row, column], target_depth[y, x]
            if parted == 0 or z == 0:
                continue
            ratio = rotation[2, 0] * np.float32(x) + rotation[2, 1] * np.float32(y) + rotation[2, 2]
            if ratio * z + translation[2] < parted:
                found[count] = y * width + x
                count += 1
    return found[:count].copy()


@compiled
def splat(rows, columns, colours, alphas, depths, mixed, rotation, translation, colour, alpha, depth):
    """Splat edge pixels bilinearly into ``colour`` (``h w 3``), ``alpha`` and ``depth`` (``h w``), which are zero.

    They stay zero where none of the first ``mixed`` pixels lands: there the frame's own splat lacks nothing.

    What lies behind the nearest visible edge counts less, by depth. Alpha is the weighted mean over the edge pixels
    that land on a pixel, clear ones included, so that an edge keeps its softness as it is enlarged; but a clear pixel
    hides nothing.
    """
    height, width = alpha.shape
    weights = np.zeros((height, width), np.float32)
    nearest = np.full((height, width), np.inf, np.float32)
    lands = np.zeros((height, width), np.bool_)
    for places_edges in range(2):
        for k in range(rows.size):
            if not places_edges and alphas[k] < CLEAR:
                continue
            x, y, d = np.float32(columns[k]), np.float32(rows[k]), depths[k]
            z_ratio = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] + translation[2] / d
            if not z_ratio > 0:
                continue
            u = (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] + translation[0] / d) / z_ratio
            v = (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] + translation[1] / d) / z_ratio
            left, top = np.floor(u + SNAP), np.floor(v + SNAP)
            if not (left >= -1 and left < width and top >= -1 and top < height):
                continue
            z = z_ratio * d
            across, down = max(u - left, np.float32(0)), max(v - top, np.float32(0))
            across = across if across >= SNAP else np.float32(0)
            down = down if down >= SNAP else np.float32(0)
            for i in range(2):
                for j in range(2):
                    row, column = int(top) + i, int(left) + j
                    share = (down if i else ONE - down) * (across if j else ONE - across)
                    if share == 0 or not (0 <= row < height and 0 <= column < width):
                        continue
                    if not places_edges:
                        if share >= HIDING_SHARE:
                            nearest[row, column] = min(nearest[row, column], z)
                        continue
                    share *= np.float32(math.exp(-HIDING * max(z / nearest[row, column] - ONE, np.float32(0))))
                    weights[row, column] += share
                    if k < mixed:
                        lands[row, column] = True
                    depth[row, column] += share * z
                    share *= alphas[k]
                    alpha[row, column] += share
                    for c in range(3):
                        colour[row, column, c] += share * np.float32(colours[k, c])
    for row in range(height):
        for column in range(width):
            weight = weights[row, column]
            if weight == 0:
                continue
            if not lands[row, column]:
                alpha[row, column] = depth[row, column] = 0
                colour[row, column] = 0
                continue
            depth[row, column] /= weight
            if alpha[row, column] > 0:
                for c in range(3):
                    colour[row, column, c] /= alpha[row, column]
            alpha[row, column] /= weight


@compiled
def lay_opaque(colour, alpha, edge_depth, frame, mask, depth):
    """Draw the opaque edges into ``frame`` (``h w 3``), its mask and depth; returns the visible others.

    Edges are those of :func:`splat`. Places are ``row * w + column``, in order.
    """
    height, width = alpha.shape
    places, count = np.empty(alpha.size, np.intp), 0
    for y in range(height):
        for x in range(width):
            behind = depth[y, x]
            if not alpha[y, x] > 0 or not (behind == 0 or edge_depth[y, x] < behind * (ONE + SAME_SURFACE)):
                continue
            if alpha[y, x] > OPAQUE:
                for c in range(3):
                    frame[y, x, c] = np.uint8(colour[y, x, c] + HALF)
                depth[y, x] = edge_depth[y, x]
                mask[y, x] = 255
            else:
                places[count] = y * width + x
                count += 1
    return places[:count].copy()
