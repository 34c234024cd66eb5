"""Procedural colours of the synthetic rooms: one numba function from a surface point to an albedo.

Every texture is a function of the point in the surface's own coordinates (metres), so it sticks to the surface
from whatever side it is looked at, and has no detail finer than about two millimetres, so that supersampling can
resolve it. Albedos are linear RGB in 0..1.

Random rooms draw their materials from one of two families that have none in common (:data:`TRAINING`, :data:`SUITE`):
what a network is trained on never shows what it is measured on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from inspatio.evaluation.synthetic_room import held_out
from inspatio.evaluation.synthetic_room.held_out import held_out_albedo
from inspatio.evaluation.synthetic_room.noise import cloud, lattice_hash, mix, noise, scale
from inspatio.jit import compiled

(
    PLAIN,
    BOARDS,
    WALLPAPER,
    BRICK,
    CEILING,
    RUG,
    WOOD,
    FABRIC,
    LANDSCAPE,
    ABSTRACT,
    BALL,
    BOOK,
    LEAF,
    MARBLE,
    GLAZE,
    GLOW,
) = range(16)
"""Materials of the example and of training; the last one shines by itself and takes no shade."""


@dataclass(frozen=True)
class Family:
    """The materials that random rooms of one kind are made of."""

    floors: tuple[int, ...]
    walls: tuple[int, ...]
    ceilings: tuple[int, ...]
    things: tuple[int, ...]
    pictures: tuple[int, ...]

    @property
    def materials(self) -> frozenset[int]:
        return frozenset(self.floors + self.walls + self.ceilings + self.things + self.pictures)


TRAINING = Family(
    floors=(BOARDS, WOOD, MARBLE),
    walls=(WALLPAPER, BRICK, FABRIC, MARBLE),
    ceilings=(CEILING, PLAIN),
    things=(PLAIN, WOOD, FABRIC, BOOK, MARBLE, GLAZE, BALL),
    pictures=(LANDSCAPE, ABSTRACT),
)
"""Materials of training data; training may add to them, but nothing of :data:`SUITE`."""
SUITE = Family(
    floors=(held_out.CHEVRON, held_out.HEXAGONS, held_out.TERRAZZO, held_out.BASKET),
    walls=(held_out.PLASTER, held_out.DOTS, held_out.SCALES, held_out.ARCS, held_out.TARTAN, held_out.PRINT),
    ceilings=(held_out.PLASTER, held_out.CORK),
    things=(
        held_out.TARTAN,
        held_out.DOTS,
        held_out.BASKET,
        held_out.CONTOURS,
        held_out.MOSAIC,
        held_out.CORK,
        held_out.TERRAZZO,
        held_out.PRINT,
    ),
    pictures=(held_out.STAINED_GLASS, held_out.TARGET, held_out.PRINT),
)
"""Materials of the held-out suite."""


@compiled
def _palette(seed: float):
    """One of the books' and cushions' colours."""
    index = int(seed * 9) % 9
    if index == 0:
        return 0.52, 0.10, 0.07
    if index == 1:
        return 0.06, 0.20, 0.33
    if index == 2:
        return 0.72, 0.45, 0.10
    if index == 3:
        return 0.10, 0.28, 0.14
    if index == 4:
        return 0.75, 0.68, 0.52
    if index == 5:
        return 0.30, 0.09, 0.20
    if index == 6:
        return 0.08, 0.33, 0.35
    if index == 7:
        return 0.60, 0.24, 0.09
    return 0.14, 0.13, 0.17


@compiled
def _boards(x: float, y: float):
    """Floor boards that run along y, 14 cm wide."""
    board = math.floor(x / 0.14)
    along = y + 1.7 * lattice_hash(int(board), 3, 1)
    piece = math.floor(along / 1.5)
    tone = lattice_hash(int(board), int(piece), 5)
    grain = cloud(x * 45, y * 2.2 + 9 * tone, 10 * tone)
    rings = 0.5 + 0.5 * math.sin(40 * (x + 0.04 * noise(x * 6, y * 1.1, 4 * tone)) + 30 * tone)
    colour = scale(mix((0.40, 0.22, 0.10), (0.62, 0.40, 0.21), 0.6 * grain + 0.4 * tone), 0.88 + 0.18 * rings)
    edge = min(x / 0.14 - board, 1 - (x / 0.14 - board)) * 0.14
    end = min(along / 1.5 - piece, 1 - (along / 1.5 - piece)) * 1.5
    return scale(colour, 0.45 if min(edge, end) < 0.0025 else 1.0)


@compiled
def _wallpaper(u: float, z: float):
    """Panelling up to 0.85 m, wallpaper with a leaf motif above."""
    if z < 0.85:
        tone = 0.92 + 0.08 * cloud(u * 9, z * 9, 2.0)
        if z < 0.12 or z > 0.80:
            return scale((0.74, 0.72, 0.66), tone * (0.75 if abs(z - 0.12) < 0.006 or abs(z - 0.80) < 0.006 else 1.0))
        p = u / 0.62 - math.floor(u / 0.62)
        inside = min(min(p, 1 - p) * 0.62 - 0.05, min(z - 0.17, 0.75 - z))
        line = 0.72 if abs(inside) < 0.008 else (1.1 if abs(inside - 0.014) < 0.006 else 1.0)
        return scale((0.68, 0.67, 0.62), tone * line)
    row = math.floor(z / 0.22)
    shift = 0.5 if int(row) % 2 else 0.0
    column = math.floor(u / 0.22 + shift)
    a = (u / 0.22 + shift - column - 0.5) * 0.22
    b = (z / 0.22 - row - 0.5) * 0.22
    base = scale((0.24, 0.40, 0.42), 0.88 + 0.2 * cloud(u * 5, z * 5, 1.0))
    stripe = 0.5 + 0.5 * math.sin(2 * math.pi * u / 0.11)
    colour = scale(base, 0.95 + 0.08 * stripe)
    radius = math.sqrt(a * a + b * b)
    petals = 0.052 + 0.026 * math.cos(5 * math.atan2(b, a) + 1.3 * (int(row) + int(column)))
    if radius < 0.016:
        return 0.80, 0.50, 0.16
    if radius < petals:
        return mix((0.62, 0.66, 0.52), (0.42, 0.55, 0.48), radius / petals)
    diamond = abs(a) + abs(b)
    if abs(diamond - 0.104) < 0.004:
        return 0.60, 0.56, 0.40
    return colour


@compiled
def _brick(u: float, z: float):
    """Brickwork, 24 by 8 cm."""
    row = math.floor(z / 0.08)
    shift = 0.5 if int(row) % 2 else 0.0
    column = math.floor(u / 0.24 + shift)
    a = u / 0.24 + shift - column
    b = z / 0.08 - row
    grit = cloud(u * 40, z * 40, 3.0)
    if min(min(a, 1 - a) * 0.24, min(b, 1 - b) * 0.08) < 0.006:
        return scale((0.60, 0.56, 0.50), 0.75 + 0.3 * grit)
    tone = lattice_hash(int(column), int(row), 11)
    colour = mix((0.45, 0.17, 0.10), (0.66, 0.36, 0.23), tone)
    return scale(colour, 0.72 + 0.45 * grit)


@compiled
def _rug(x: float, y: float, hx: float, hy: float):
    """Borders, stripes and a field of diamonds."""
    edge = min(hx - abs(x), hy - abs(y))
    weave = 0.88 + 0.16 * noise(x * 160, y * 160, 0.0)
    red, cream, blue, gold = (0.46, 0.07, 0.06), (0.74, 0.64, 0.46), (0.05, 0.11, 0.25), (0.70, 0.40, 0.09)
    if edge < 0.05:
        colour = blue
    elif edge < 0.065:
        colour = cream
    elif edge < 0.20:
        p = (x + y) / 0.12 - math.floor((x + y) / 0.12)
        q = (x - y) / 0.12 - math.floor((x - y) / 0.12)
        colour = gold if (p < 0.5) != (q < 0.5) else red
    elif edge < 0.22:
        colour = cream
    else:
        u, v = x / 0.30, y / 0.30
        d = abs(u - math.floor(u) - 0.5) + abs(v - math.floor(v) - 0.5)
        odd = (math.floor(u) + math.floor(v)) % 2
        if d < 0.16:
            colour = gold
        elif d < 0.30:
            colour = cream if odd else blue
        elif d < 0.36:
            colour = gold
        else:
            colour = red
    return scale(colour, weave)


@compiled
def _landscape(u: float, v: float):
    """A painting: hills under an evening sky; u, v in -1..1."""
    stroke = 0.16 * (noise(u * 14, v * 22, 5.0) - 0.5)
    sky = mix((0.92, 0.52, 0.22), (0.16, 0.27, 0.52), min(max(0.75 * v + 0.25 + stroke, 0.0), 1.0))
    sun = math.sqrt((u - 0.35) ** 2 + (0.7 * (v - 0.16)) ** 2)
    if sun < 0.13:
        sky = (0.98, 0.86, 0.52)
    elif sun < 0.30:
        sky = mix((0.98, 0.80, 0.45), sky, (sun - 0.13) / 0.17)
    haze = cloud(u * 2.5 + 3, v * 7, 1.0)
    colour = mix(sky, (0.95, 0.80, 0.70), min(max(5 * (haze - 0.58), 0.0), 0.8))
    for layer in range(4):
        ridge = 0.12 - 0.27 * layer + 0.26 * (noise(u * (1.6 + layer) + 17 * layer, 0.5, layer * 3.0) - 0.4)
        if v < ridge:
            far = mix((0.30, 0.32, 0.48), (0.07, 0.16, 0.06), layer / 3)
            colour = scale(far, 0.8 + 0.5 * cloud(u * 9, v * 13, 2.0 + layer))
    return colour


@compiled
def _abstract(u: float, v: float, seed: float):
    """A painting: overlapping discs and bars; u, v in -1..1."""
    colour = (0.80, 0.76, 0.66)
    for i in range(9):
        a, b = 2 * lattice_hash(i, 1, int(99 * seed)) - 1, 2 * lattice_hash(i, 2, int(99 * seed)) - 1
        r = 0.15 + 0.35 * lattice_hash(i, 3, int(99 * seed))
        tint = _palette(lattice_hash(i, 4, int(99 * seed)))
        if i % 3 == 2:
            if abs((u - a) * 0.8 + (v - b) * 0.6) < 0.07:
                colour = tint
        elif (u - a) ** 2 + (v - b) ** 2 < r * r:
            colour = mix(colour, tint, 0.85)
    return scale(colour, 0.9 + 0.15 * cloud(u * 12, v * 12, 4.0))


@compiled
def _ball(x: float, y: float, z: float):
    """Six coloured segments of a unit ball, white caps with a ring."""
    if abs(z) > 0.93:
        return 0.88, 0.86, 0.80
    segment = math.floor((math.atan2(y, x) / math.pi + 1) * 3) % 6
    if segment == 0:
        return 0.80, 0.06, 0.05
    if segment == 2:
        return 0.95, 0.60, 0.04
    if segment == 4:
        return 0.03, 0.22, 0.62
    return 0.88, 0.86, 0.80


@compiled
def albedo(material: int, seed: float, p, half, normal):
    """The colour of a surface.

    Args:
        material: one of the constants above, or one of ``held_out``.
        seed: 0..1, tells things of one material apart.
        p: the point (x, y, z) in the thing's own axes, metres from its centre (room: room coordinates).
        half: the thing's half extents (x, y, z), metres.
        normal: outward normal in the thing's own axes.

    Returns:
        Linear (red, green, blue).
    """
    if material >= held_out.FIRST:
        return held_out_albedo(material, seed, p, half, normal)
    x, y, z = p
    if material == BOARDS:
        return _boards(x, y)
    if material == WALLPAPER:
        return _wallpaper(x if abs(normal[1]) > 0.5 else y, z)
    if material == BRICK:
        return _brick(y if abs(normal[0]) > 0.5 else x, z)
    if material == CEILING:
        beam = abs(y / 0.9 - math.floor(y / 0.9) - 0.5) * 0.9
        if beam < 0.07:
            return scale((0.32, 0.20, 0.11), 0.7 + 0.5 * cloud(x * 2, y * 40, 1.0))
        return scale((0.80, 0.78, 0.72), 0.92 + 0.1 * cloud(x * 6, y * 6, 6.0))
    if material == RUG:
        return _rug(x, y, half[0], half[1])
    if material == WOOD:
        # The grain runs along the longest side.
        along, a, b = x, y, z
        if half[1] > half[0] and half[1] > half[2]:
            along, a, b = y, x, z
        elif half[2] > half[0]:
            along, a, b = z, x, y
        wave = 0.5 + 0.5 * math.sin(95 * (a + b) + 14 * noise(along * 2.5, a * 9, b * 9 + 20 * seed))
        grain = 0.6 * cloud(along * 4, a * 70, b * 70 + 30 * seed) + 0.4 * wave
        light = (0.52, 0.31, 0.15) if seed < 0.5 else (0.30, 0.15, 0.07)
        return scale(light, 0.62 + 0.65 * grain)
    if material == FABRIC:
        tone = 0.84 + 0.22 * noise(x * 120, y * 120, z * 120)
        cord = 0.93 + 0.09 * math.sin(2 * math.pi * (x + y) / 0.03)
        return scale(_palette(seed), tone * cord * 1.15)
    if material in (LANDSCAPE, ABSTRACT):
        u, v = x / half[0], z / half[2]
        if max(abs(u), abs(v)) > 0.92 or abs(normal[1]) < 0.5:
            return scale((0.45, 0.29, 0.09), 0.75 + 0.5 * noise(x * 50, y * 50, z * 50))
        if max(abs(u), abs(v)) > 0.80 and material == ABSTRACT:
            return 0.85, 0.83, 0.78
        return _landscape(u / 0.92, v / 0.92) if material == LANDSCAPE else _abstract(u / 0.8, v / 0.8, seed)
    if material == BALL:
        return _ball(x / half[0], y / half[1], z / half[2])
    if material == BOOK:
        cover = _palette(seed * 7.13 - math.floor(seed * 7.13))
        if normal[2] > 0.5 and half[2] > half[0]:
            return scale((0.80, 0.75, 0.64), 0.8 + 0.25 * math.sin(900 * x))
        w = z / half[2]
        band = (abs(w) > 0.72 and abs(w) < 0.82) or (abs(w - 0.2) < 0.16 and abs(x) < 0.6 * half[0])
        return scale(mix(cover, (0.85, 0.72, 0.40), 0.75 if band else 0.0), 0.85 + 0.2 * noise(x * 90, y * 90, z * 90))
    if material == LEAF:
        vein = 0.75 if abs(y) < 0.10 * half[1] else 1.0
        return scale(
            mix((0.05, 0.20, 0.05), (0.22, 0.42, 0.10), seed), vein * (0.8 + 0.4 * noise(x * 40, y * 60, z * 60))
        )
    if material == MARBLE:
        vein = 0.5 + 0.5 * math.sin(38 * (x + 0.6 * y + 0.8 * z) + 9 * cloud(x * 9, y * 9, z * 9 + 20 * seed))
        return mix((0.80, 0.77, 0.70), (0.16, 0.26, 0.30), vein**3)
    if material == GLAZE:
        w = z / half[2]
        stripe = 0.5 + 0.5 * math.sin(9 * w + 2.2 * math.sin(6 * math.atan2(y, x)))
        return mix(_palette(seed), (0.85, 0.80, 0.68), 1.0 if stripe > 0.72 else 0.0)
    if material == GLOW:
        return 1.0, 0.86, 0.62
    return _palette(seed)
