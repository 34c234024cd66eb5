"""The loops of ``fill.py`` for one frame, compiled for the CPU."""

from __future__ import annotations

import numpy as np

from inspatio.jit import compiled

HALF_LEVEL = np.float32(0.5)
LEAST_AMOUNT = np.float32(1e-6)
CRACK, WIDE = 1, 2
"""What remains to be filled: a surface that came apart, or a gap between surfaces."""
CRACK_REACH = 2
"""A crack is filled from the pixels within so many rows and columns."""


@compiled
def seam_differences(render, holes, ring, depth, image, view_depth, tolerance, table, weights, differences):
    """What a remembered picture must change by along the holes, where it shows the render's surface.

    Written in the ring around the ``holes`` (both ``h w``) where the two depths agree: ``differences`` (``h w 3``),
    weighted by the entry of ``table`` for their largest channel, and that weight (``weights``, ``h w``). Both are zero
    beforehand. Returns whether there is any such pixel.
    """
    found = False
    for row in range(holes.shape[0]):
        for column in range(holes.shape[1]):
            if not ring[row, column] or holes[row, column]:
                continue
            d = depth[row, column]
            if not abs(view_depth[row, column] - d) < tolerance * d:
                continue
            found = True
            largest = 0
            for c in range(3):
                largest = max(largest, abs(np.int32(render[row, column, c]) - np.int32(image[row, column, c])))
            weight = table[largest]
            weights[row, column] = weight
            for c in range(3):
                difference = np.float32(render[row, column, c]) - np.float32(image[row, column, c])
                differences[row, column, c] = difference * weight
    return found


@compiled
def divide(total, amount):
    """Divide ``total`` (``h w c``) by ``amount`` (``h w``) in place, nothing by less than LEAST_AMOUNT."""
    height, width, channels = total.shape
    for row in range(height):
        for column in range(width):
            by = max(amount[row, column], LEAST_AMOUNT)
            for c in range(channels):
                total[row, column, c] /= by


@compiled
def take_known(render, holes, cracks, depth, image, view_depth, seam, fill, filled_depth, rest):
    """Fill the holes from the memory's view where it knows them; the covered pixels are the render's.

    Written: ``fill`` (``h w 3`` float32), ``filled_depth`` and ``rest`` (``h w``): CRACK or WIDE in the holes that
    remain, else 0.
    """
    for row in range(holes.shape[0]):
        for column in range(holes.shape[1]):
            hole, crack = holes[row, column], cracks[row, column]
            known = hole and not crack and view_depth[row, column] > 0
            rest[row, column] = 0 if known or not hole else CRACK if crack else WIDE
            filled_depth[row, column] = view_depth[row, column] if known else depth[row, column]
            for c in range(3):
                if known:
                    fill[row, column, c] = np.float32(image[row, column, c]) + seam[row, column, c]
                else:
                    fill[row, column, c] = np.float32(render[row, column, c])


@compiled
def fill_cracks(rest, fill):
    """Fill narrow cracks (CRACK in ``rest``) with the mean of the pixels around them that do not remain to be filled.

    A crack without such pixels becomes WIDE. Returns whether any pixel is WIDE.
    """
    height, width = rest.shape
    side = 2 * CRACK_REACH + 1
    scale = 1.0 / (side * side)
    wide = False
    for row in range(height):
        for column in range(width):
            if rest[row, column] == CRACK:
                count, red, green, blue = 0, 0.0, 0.0, 0.0
                for i in range(-CRACK_REACH, CRACK_REACH + 1):
                    for j in range(-CRACK_REACH, CRACK_REACH + 1):
                        y, x = reflected(row + i, height), reflected(column + j, width)
                        if rest[y, x] == 0:
                            count += 1
                            red += fill[y, x, 0]
                            green += fill[y, x, 1]
                            blue += fill[y, x, 2]
                if count == 0:
                    rest[row, column] = WIDE
                else:
                    even = max(np.float32(count * scale), LEAST_AMOUNT)
                    fill[row, column, 0] = np.float32(red * scale) / even
                    fill[row, column, 1] = np.float32(green * scale) / even
                    fill[row, column, 2] = np.float32(blue * scale) / even
            wide = wide or rest[row, column] == WIDE
    return wide


@compiled
def reflected(place, count):
    """A place beyond a border mirrored back into ``0 .. count - 1``, the border pixel itself not repeated."""
    if count == 1:
        return 0
    place = abs(place)
    return place if place < count else 2 * (count - 1) - place


@compiled
def round_holes(holes, fill, result):
    """Write the filled holes into ``result`` (``h w 3`` uint8), rounded."""
    for row in range(holes.shape[0]):
        for column in range(holes.shape[1]):
            if holes[row, column]:
                for c in range(3):
                    value = fill[row, column, c] + HALF_LEVEL
                    result[row, column, c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))
