"""Procedural textures that only the evaluation suite uses: no training data may draw them.

Their patterns are other ones than those of ``textures.py`` (tiles, mosaics, plaids, prints), and their colours come
from a continuous wheel of hues, so that a network that learned the training family's patterns and palette by heart
gains nothing. As there, a texture is a function of a surface point in metres, and an albedo is linear (red, green,
blue) in 0..1.
"""

from __future__ import annotations

import math

from inspatio.evaluation.synthetic_room.noise import cloud, lattice_hash, mix, noise, scale
from inspatio.jit import compiled

FIRST = 32
"""Numbers from here on are materials of this module."""

(
    PLASTER,
    CHEVRON,
    HEXAGONS,
    TERRAZZO,
    TARTAN,
    DOTS,
    BASKET,
    CONTOURS,
    MOSAIC,
    SCALES,
    ARCS,
    CORK,
    PRINT,
    STAINED_GLASS,
    TARGET,
) = range(FIRST, FIRST + 15)


@compiled
def _hue(seed: float, number: float, light: float):
    """Colour ``number`` of a scheme that ``seed`` (0..1) chooses: its hues, how strong and how light they are.

    ``light`` is the mean albedo of a scheme of medium light.
    """
    turn = seed + 0.381966 * number
    light *= 0.65 + 0.6 * (31.7 * seed - math.floor(31.7 * seed))
    spread = light * (0.12 + 0.5 * (17.3 * seed - math.floor(17.3 * seed)))
    return (
        light + spread * math.cos(2 * math.pi * turn),
        light + spread * math.cos(2 * math.pi * (turn + 0.36)),
        light + spread * math.cos(2 * math.pi * (turn + 0.69)),
    )


@compiled
def _cell(u: float, v: float):
    """The Voronoi cell of a point among one random point per unit square: (column, row, distance, distance to next)."""
    i, j = math.floor(u), math.floor(v)
    best, second, column, row = 9.0, 9.0, 0, 0
    for a in range(-1, 2):
        for b in range(-1, 2):
            x = i + a + 0.15 + 0.7 * lattice_hash(int(i + a), int(j + b), 21)
            y = j + b + 0.15 + 0.7 * lattice_hash(int(i + a), int(j + b), 22)
            distance = math.sqrt((u - x) ** 2 + (v - y) ** 2)
            if distance < best:
                best, second, column, row = distance, best, int(i + a), int(j + b)
            elif distance < second:
                second = distance
    return column, row, best, second


@compiled
def _chevron(u: float, v: float, seed: float):
    """Planks that meet in zigzags, 40 cm from point to point."""
    column = math.floor(u / 0.20)
    across = u / 0.20 - column
    slant = across if int(column) % 2 == 0 else 1 - across
    along = v / 0.09 + 1.6 * slant
    plank = math.floor(along)
    tone = lattice_hash(int(column), int(plank), 31)
    grain = cloud(u * 9, v * 60, 7 * tone)
    colour = scale(_hue(seed, 0.25 * tone, 0.34), 0.7 + 0.35 * grain + 0.2 * tone)
    edge = min(min(along - plank, 1 - (along - plank)) * 0.09, min(across, 1 - across) * 0.20)
    return scale(colour, 0.45 if edge < 0.004 else 1.0)


@compiled
def _hexagons(u: float, v: float, seed: float):
    """Six-sided tiles of three colours, 16 cm wide."""
    s = 0.16
    best, second, key = 9.0, 9.0, 0
    row = math.floor(v / (s * 0.866))
    for b in range(-1, 3):
        y = (row + b) * s * 0.866
        shift = 0.5 * (int(row + b) % 2)
        column = math.floor(u / s - shift + 0.5)
        for a in range(-1, 2):
            x = (column + a + shift) * s
            distance = (u - x) ** 2 + (v - y) ** 2
            if distance < best:
                best, second, key = distance, best, int(column + a) * 7919 + int(row + b)
            elif distance < second:
                second = distance
    if math.sqrt(second) - math.sqrt(best) < 0.012:
        return _hue(seed, 2.5, 0.5)
    tone = lattice_hash(key, 3, 41)
    return scale(_hue(seed, math.floor(3 * tone), 0.38), 0.85 + 0.25 * noise(u * 30, v * 30, tone))


@compiled
def _terrazzo(u: float, v: float, seed: float):
    """Chips of stone in a pale ground."""
    column, row, distance, _ = _cell(u / 0.07, v / 0.07)
    size = 0.15 + 0.33 * lattice_hash(column, row, 51)
    ground = scale(_hue(seed, 0.0, 0.55), 0.92 + 0.12 * noise(u * 50, v * 50, 2.0))
    return _hue(seed, math.floor(4 * lattice_hash(column, row, 52)), 0.33) if distance < size else ground


@compiled
def _tartan(u: float, v: float, seed: float):
    """Crossing bands of cloth, 24 cm to a repeat."""
    p, q = u / 0.24 - math.floor(u / 0.24), v / 0.24 - math.floor(v / 0.24)
    base = _hue(seed, 0.0, 0.28)
    for place, width, number in ((0.12, 0.09, 1.0), (0.50, 0.16, 2.0), (0.82, 0.03, 3.0)):
        if abs(p - place) < width:
            base = mix(base, _hue(seed, number, 0.4), 0.5)
        if abs(q - place) < width:
            base = mix(base, _hue(seed, number, 0.4), 0.5)
    return scale(base, 0.9 + 0.2 * noise(u * 130, v * 130, 5.0))


@compiled
def _basket(u: float, v: float, seed: float):
    """Woven strips, over and under in turn."""
    i, j = math.floor(u / 0.10), math.floor(v / 0.10)
    a, b = u / 0.10 - i, v / 0.10 - j
    over = int(i + j) % 2 == 0
    strip = (a if over else b) * 3
    bulge = 0.55 + 0.45 * math.sin(math.pi * (b if over else a))
    gap = 0.5 if min(strip - math.floor(strip), 1 - (strip - math.floor(strip))) < 0.12 else 1.0
    return scale(_hue(seed, 0.15 * lattice_hash(int(i), int(j), 61), 0.42), bulge * gap)


@compiled
def _contours(x: float, y: float, z: float, seed: float):
    """Height lines of a noise, as on a map."""
    height = 9 * noise(2.2 * x + 40 * seed, 2.2 * y, 2.2 * z) + 1.5 * noise(7 * x, 7 * y, 7 * z)
    band = math.floor(height)
    colour = _hue(seed, 0.21 * band, 0.4)
    return scale(colour, 0.4 if height - band < 0.10 else 1.0)


@compiled
def _scales(u: float, v: float, seed: float):
    """Overlapping round shingles, 12 cm wide."""
    for step in range(2):
        row = math.floor(v / 0.06) + 1 - step
        shift = 0.5 if int(row) % 2 else 0.0
        column = math.floor(u / 0.12 + shift)
        a = (u / 0.12 + shift - column - 0.5) * 0.12
        b = v - row * 0.06 + 0.06
        radius = math.sqrt(a * a + b * b)
        if radius < 0.066 and b > -0.06:
            tone = lattice_hash(int(column), int(row), 71)
            return scale(_hue(seed, 0.4 * tone, 0.40), 0.45 if radius > 0.060 else 0.75 + 6 * radius)
    return _hue(seed, 0.6, 0.2)


@compiled
def _arcs(u: float, v: float, seed: float):
    """Tiles with quarter circles at two corners, turned at random (Truchet)."""
    i, j = math.floor(u / 0.15), math.floor(v / 0.15)
    a, b = u / 0.15 - i, v / 0.15 - j
    if lattice_hash(int(i), int(j), 81) < 0.5:
        a = 1 - a
    near = min(math.sqrt(a * a + b * b), math.sqrt((1 - a) ** 2 + (1 - b) ** 2))
    line = abs(near - 0.5)
    colour = _hue(seed, 0.0, 0.5) if near < 0.5 else _hue(seed, 1.0, 0.3)
    return _hue(seed, 2.0, 0.2) if line < 0.07 else colour


@compiled
def _print(u: float, v: float, seed: float):
    """Rows of invented letters: random 4 by 5 dots each."""
    i, j = math.floor(u / 0.06), math.floor(v / 0.08)
    a, b = int((u / 0.06 - i) * 6), int((v / 0.08 - j) * 8)
    paper = scale(_hue(seed, 0.0, 0.6), 0.95 + 0.08 * noise(u * 20, v * 20, 3.0))
    if a >= 4 or b >= 5 or int(j) % 5 == 4 or lattice_hash(int(i), int(j), 91) < 0.15:
        return paper
    letter = int(26 * lattice_hash(int(i), int(j), 92))
    return _hue(seed, 2.0, 0.12) if lattice_hash(letter, a, 93 + b) < 0.5 else paper


@compiled
def _framed(material: int, seed: float, u: float, v: float):
    """The two pictures, u and v in -1..1: coloured glass in lead, and coloured rings around a point."""
    if max(abs(u), abs(v)) > 0.9:
        return _hue(seed, 2.3, 0.25)
    if material == STAINED_GLASS:
        column, row, near, next_near = _cell(2.6 * u + 50 * seed, 2.6 * v)
        tone = lattice_hash(column, row, 95)
        return (0.05, 0.05, 0.06) if next_near - near < 0.09 else _hue(seed, 5 * tone, 0.3 + 0.25 * tone)
    x, y = u - 0.4 * math.cos(6.28 * seed), v - 0.3 * math.sin(6.28 * seed)
    ring = math.floor(6 * math.sqrt(x * x + y * y) + 0.35 * math.sin(3 * math.atan2(y, x)))
    return scale(_hue(seed, 0.7 * ring, 0.42), 0.9 + 0.15 * cloud(u * 8, v * 8, 4.0))


@compiled
def held_out_albedo(material: int, seed: float, p, half, normal):
    """The colour of a surface; arguments and result as of :func:`textures.albedo`."""
    x, y, z = p
    # The two coordinates along the surface, from the side of a box that the normal is nearest to.
    if abs(normal[2]) > 0.7:
        u, v = x, y
    elif abs(normal[1]) > abs(normal[0]):
        u, v = x, z
    else:
        u, v = y, z
    if material == PLASTER:
        return scale(_hue(seed, 0.0, 0.5), 0.8 + 0.35 * cloud(1.3 * x, 1.3 * y, 1.3 * z + 9 * seed))
    if material == CHEVRON:
        return _chevron(u, v, seed)
    if material == HEXAGONS:
        return _hexagons(u, v, seed)
    if material == TERRAZZO:
        return _terrazzo(u, v, seed)
    if material == TARTAN:
        return _tartan(u, v, seed)
    if material == DOTS:
        row = math.floor(v / 0.085)
        shift = 0.5 * (int(row) % 2)
        column = math.floor(u / 0.098 + shift)
        a, b = (u / 0.098 + shift - column - 0.5) * 0.098, (v / 0.085 - row - 0.5) * 0.085
        inside = a * a + b * b < 0.026**2
        dot = _hue(seed, 1.0 + math.floor(2 * lattice_hash(int(column), int(row), 45)), 0.45)
        return dot if inside else _hue(seed, 0.0, 0.3)
    if material == BASKET:
        return _basket(u, v, seed)
    if material == CONTOURS:
        return _contours(x, y, z, seed)
    if material == MOSAIC:
        column, row, near, next_near = _cell(u / 0.08, v / 0.08)
        tone = lattice_hash(column, row, 65)
        return _hue(seed, 2.0, 0.55) if next_near - near < 0.12 else _hue(seed, 0.3 * tone, 0.22 + 0.25 * tone)
    if material == SCALES:
        return _scales(u, v, seed)
    if material == ARCS:
        return _arcs(u, v, seed)
    if material == CORK:
        speck = noise(x * 70, y * 70, z * 70)
        return scale(_hue(seed, 0.0, 0.38), 0.55 if speck > 0.72 else 0.8 + 0.4 * cloud(x * 18, y * 18, z * 18))
    if material == PRINT:
        return _print(u, v, seed)
    return _framed(material, seed, x / half[0], z / half[2])
