"""Random rooms with furniture and things that move, each a pure function of a seed and a family of materials.

    room = make_room(900_000, textures.SUITE)
    image = room.view(0.5, world_to_camera, intrinsics, (240, 416))      what a camera sees half-way through the clip

Evaluation draws from :data:`SUITE_SEEDS` and the family ``textures.SUITE``, training from :data:`TRAINING_SEEDS` and
``textures.TRAINING``: neither shares a layout or a texture with the other. Room coordinates are x right, y into the
room, z up, metres; the camera stands near the origin and looks along y. The world is the first source camera's (OpenCV
axes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inspatio.evaluation.synthetic_room import raycast, textures
from inspatio.evaluation.synthetic_room.raycast import BOX, CONE, ELLIPSOID
from inspatio.evaluation.synthetic_room.textures import Family
from inspatio.evaluation.synthetic_room.things import grouped, thing, turned
from inspatio.types import Image, Intrinsics, WorldToCamera

TRAINING_SEEDS = range(900_000)
SUITE_SEEDS = range(900_000, 1_000_000)

RAYS = 2
"""Rays to a pixel: so many by so many. Three by three look smoother and cost twice as much."""

Rows = list[np.ndarray]
Mover = Callable[[float], Rows]
"""The things that move, at a time from 0 (first frame) to 1 (last frame)."""


@dataclass(frozen=True, eq=False)
class Room:
    """A room with everything in it, as the ray-caster wants it, and where the first camera stands."""

    corners: np.ndarray
    """``2 3``: lower and upper."""
    sides: np.ndarray
    """``6``: material plus texture seed of -x, +x, -y, +y, -z, +z."""
    window: np.ndarray
    """``3 3``: lower and upper corner of the window in the left wall, and the lamp."""
    still: Sequence[Rows]
    mover: Mover | None
    world_to_room: np.ndarray
    """``4 4``."""

    def view(self, time: float, world_to_camera: WorldToCamera, intrinsics: Intrinsics, size: tuple[int, int]) -> Image:
        """Ray-cast ``h w 3`` uint8 RGB: what a camera (``4 4``, ``3 3``) sees at a time from 0 to 1."""
        things, groups = self._things(time)
        pose = self.world_to_room @ np.linalg.inv(world_to_camera)
        return raycast.view(things, groups, self.corners, self.window, self.sides, pose, intrinsics, size, RAYS)

    def depth(
        self, time: float, world_to_camera: WorldToCamera, intrinsics: Intrinsics, size: tuple[int, int]
    ) -> np.ndarray:
        """Ray-cast ``h w`` float32 z-depth in metres at the pixel centres; arguments as in :meth:`view`."""
        things, groups = self._things(time)
        pose = self.world_to_room @ np.linalg.inv(world_to_camera)
        return raycast.view_depth(things, groups, self.corners, pose, intrinsics, size)

    def _things(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        return grouped([*self.still, self.mover(time)] if self.mover else self.still)


def make_room(seed: int, family: Family) -> Room:
    """Furnish a random room: floor plan, materials, 8 to 14 pieces, and in two of three rooms something that moves."""
    rng = np.random.default_rng(seed)
    width, length, height = rng.uniform(4.4, 6.4), rng.uniform(3.9, 5.6), rng.uniform(2.4, 3.0)
    corners, sides, window, lamp = _shell(rng, family, width, length, height)
    still: list[Rows] = [_rug(rng, family), _lamp(lamp, height), *_pictures(rng, family, corners)]
    still.append(_cabinet(rng, family, corners))
    taken: list[tuple[float, float, float]] = []
    pieces = (_table, _stack, _stack, _column, _heap, _heap)
    for number in range(int(rng.integers(6, 11))):
        piece, radius = (_table, 0.75) if number == 0 else (pieces[rng.integers(len(pieces))], 0.42)
        place = _free_place(rng, taken, corners, radius)
        if place is not None:
            still.append(piece(rng, family, *place))
            taken.append((*place, radius))
    movers = (None, _bouncing_ball, _walking_figure)
    mover = movers[rng.integers(len(movers))]
    eye, tilt = (rng.uniform(-0.2, 0.2), 0.0, rng.uniform(1.25, 1.6)), np.radians(rng.uniform(6, 15))
    still = [group for group in still if group]
    return Room(corners, sides, window, still, mover(rng, family) if mover else None, look_from(eye, tilt))


def make_hall(seed: int, family: Family) -> Room:
    """Furnish a long hall with pieces along both sides and a way of 1.3 m between them; nothing moves by itself."""
    rng = np.random.default_rng(seed)
    width, length, height = rng.uniform(3.6, 4.2), rng.uniform(8.0, 9.5), rng.uniform(2.5, 2.9)
    corners, sides, window, lamp = _shell(rng, family, width, length, height)
    still: list[Rows] = [_rug(rng, family), _lamp(lamp, height), *_pictures(rng, family, corners)]
    pieces = (_stack, _column, _heap, _stack)
    for side, wall in zip((-1, 1), corners[:, 0], strict=True):
        y = rng.uniform(1.2, 1.8)
        while y < length - 0.6:
            x = side * rng.uniform(0.95, abs(wall) - 0.4)
            still.append(pieces[rng.integers(len(pieces))](rng, family, x, y))
            y += rng.uniform(0.9, 1.3)
    eye, tilt = (0.0, 0.0, rng.uniform(1.4, 1.6)), np.radians(rng.uniform(2, 4))
    return Room(corners, sides, window, [group for group in still if group], None, look_from(eye, tilt))


def make_table_room(seed: int, family: Family) -> Room:
    """Furnish a room around a laid table in its middle, behind which a person-like figure walks past."""
    rng = np.random.default_rng(seed)
    width, length, height = rng.uniform(5.6, 6.4), rng.uniform(5.0, 5.6), rng.uniform(2.5, 2.9)
    corners, sides, window, lamp = _shell(rng, family, width, length, height)
    still: list[Rows] = [_rug(rng, family), _lamp(lamp, height), *_pictures(rng, family, corners)]
    still += [_cabinet(rng, family, corners), _table(rng, family, 0.0, 2.3)]
    # The figure walks between the table and what stands along the far wall.
    taken = [(0.0, 2.3, 0.8), *((x, 3.5, 0.35) for x in np.linspace(-1.2, 1.2, 7))]
    for piece in (_stack, _column, _heap, _heap):
        place = _free_place(rng, taken, corners, 0.42)
        if place is not None:
            still.append(piece(rng, family, *place))
            taken.append((*place, 0.42))
    mover = _walking_figure(rng, family, behind=0.7)
    eye, tilt = (0.0, 0.0, rng.uniform(1.35, 1.55)), np.radians(rng.uniform(13, 16))
    return Room(corners, sides, window, [group for group in still if group], mover, look_from(eye, tilt))


def _shell(
    rng: np.random.Generator, family: Family, width: float, length: float, height: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Corners, materials of the sides, and window of a room, and where its lamp hangs; see :class:`Room`."""
    left = -width * rng.uniform(0.42, 0.58)
    corners = np.array([[left, -5.0, 0.0], [left + width, length, height]])
    wall = _material(rng, family.walls)
    back = _material(rng, family.walls)
    sides = np.array([wall, wall, wall, back, _material(rng, family.floors), _material(rng, family.ceilings)])
    middle, half = rng.uniform(1.6, length - 1.2), rng.uniform(0.5, 0.8)
    lamp = (rng.uniform(left + 1.2, left + width - 1.2), rng.uniform(2.2, length - 0.8), height - rng.uniform(0.5, 0.9))
    window = np.array([[left, middle - half, 0.9], [left, middle + half, rng.uniform(1.9, 2.2)], lamp])
    return corners, sides, window, lamp


def look_from(eye: Sequence[float], tilt: float) -> np.ndarray:
    """``4 4`` world_to_room of a first camera at ``eye`` that looks along y and down by ``tilt`` radians."""
    sin, cos = np.sin(tilt), np.cos(tilt)
    return np.array([[1, 0, 0, eye[0]], [0, -sin, cos, eye[1]], [0, -cos, -sin, eye[2]], [0, 0, 0, 1]], np.float64)


def _material(rng: np.random.Generator, choices: Sequence[int]) -> float:
    """A material with the seed of its texture as fraction."""
    return choices[int(rng.integers(len(choices)))] + rng.uniform(0, 0.999)


def _piece(rng: np.random.Generator, family: Family, kind: int, centre, half, axes=None, taper: float = 0.0):
    """A thing of a random material."""
    material, seed = divmod(_material(rng, family.things), 1)
    return thing(kind, centre, half, int(material), seed, axes, taper)


def _free_place(
    rng: np.random.Generator, taken: Sequence[tuple[float, float, float]], corners: np.ndarray, radius: float
) -> tuple[float, float] | None:
    """A place on the floor before the camera that keeps clear of the others; None where there is none."""
    for _ in range(30):
        y = rng.uniform(1.5, corners[1, 1] - radius - 0.3)
        x = rng.uniform(-0.62, 0.62) * (y + 0.6)
        inside = corners[0, 0] + radius < x < corners[1, 0] - radius
        if inside and all(np.hypot(x - a, y - b) > radius + other for a, b, other in taken):
            return x, y
    return None


def _rug(rng: np.random.Generator, family: Family) -> Rows:
    half = (rng.uniform(0.8, 1.4), rng.uniform(0.6, 1.0), 0.006)
    return [_piece(rng, family, BOX, (rng.uniform(-0.5, 0.5), 2.6, 0.006), half, turned(rng.uniform(-25, 25)))]


def _lamp(place: Sequence[float], height: float) -> Rows:
    x, y, z = place
    cord = (height - z - 0.1) / 2
    return [
        thing(CONE, (x, y, z + 0.1 + cord), (0.005, 0.005, cord), textures.PLAIN, 0.95),
        thing(ELLIPSOID, (x, y, z), (0.09, 0.09, 0.09), textures.GLOW),
    ]


def _pictures(rng: np.random.Generator, family: Family, corners: np.ndarray) -> list[Rows]:
    hung: list[Rows] = []
    x = corners[0, 0] + 0.5
    for _ in range(4):
        half = rng.uniform(0.2, 0.55), rng.uniform(0.2, 0.4)
        x += half[0] + rng.uniform(0.05, 0.5)
        if x + half[0] > corners[1, 0] - 0.2:
            break
        material, seed = divmod(_material(rng, family.pictures), 1)
        centre = (x, corners[1, 1] - 0.02, rng.uniform(1.35, 1.7))
        hung.append([thing(BOX, centre, (half[0], 0.02, half[1]), int(material), seed)])
        x += half[0]
    return hung


def _cabinet(rng: np.random.Generator, family: Family, corners: np.ndarray) -> Rows:
    """A low cupboard along the far wall with a row of upright things on it."""
    half, x = (rng.uniform(0.5, 0.9), 0.2, rng.uniform(0.3, 0.5)), rng.uniform(-1.0, 1.0)
    y = corners[1, 1] - half[1] - 0.02
    rows = [_piece(rng, family, BOX, (x, y, half[2]), half)]
    at = x - half[0] + 0.05
    while at < x + half[0] - 0.12:
        thick, high = rng.uniform(0.02, 0.05), rng.uniform(0.08, 0.18)
        rows.append(_piece(rng, family, BOX, (at + thick, y, 2 * half[2] + high), (thick, 0.12, high)))
        at += 2 * thick + rng.choice([0.004, 0.05])
    return rows


def _table(rng: np.random.Generator, family: Family, x: float, y: float) -> Rows:
    """Four legs, a top, and three to five things on it."""
    turn = turned(rng.uniform(-40, 40))
    wide, deep, high = rng.uniform(0.4, 0.6), rng.uniform(0.28, 0.38), rng.uniform(0.4, 0.7)
    top = _piece(rng, family, BOX, (x, y, high), (wide, deep, 0.02), turn)
    rows = [top]
    for a in (-1, 1):
        for b in (-1, 1):
            foot = turn.T @ np.array([a * (wide - 0.05), b * (deep - 0.05), 0.0])
            rows.append(thing(BOX, (x + foot[0], y + foot[1], high / 2), (0.025, 0.025, high / 2), *_look(top)))
    for number in range(int(rng.integers(3, 6))):
        place = turn.T @ np.array([wide * (-0.75 + 0.36 * number), rng.uniform(-0.6, 0.6) * deep, 0.0])
        size = rng.uniform(0.05, 0.11)
        kind = int(rng.choice([BOX, ELLIPSOID, CONE]))
        taper = rng.uniform(-0.5, 0.3) if kind == CONE else 0.0
        centre = (x + place[0], y + place[1], high + 0.02 + size)
        rows.append(_piece(rng, family, kind, centre, (size, size, size), turned(rng.uniform(0, 90)), taper))
    return rows


def _look(row: np.ndarray) -> tuple[int, float]:
    """Material and seed of another thing, for one that belongs to it."""
    return int(row[raycast.MATERIAL]), float(row[raycast.SEED])


def _stack(rng: np.random.Generator, family: Family, x: float, y: float) -> Rows:
    """A box with a smaller thing on it."""
    half = rng.uniform(0.14, 0.28, 3)
    rows = [_piece(rng, family, BOX, (x, y, half[2]), half, turned(rng.uniform(0, 90)))]
    size = rng.uniform(0.09, 0.14)
    kind = ELLIPSOID if rng.uniform() < 0.5 else CONE
    rows.append(_piece(rng, family, kind, (x, y, 2 * half[2] + size), (size, size, size), None, rng.uniform(-0.4, 0.1)))
    return rows


def _column(rng: np.random.Generator, family: Family, x: float, y: float) -> Rows:
    """A slim pillar or floor lamp: what hides most behind it when the camera moves."""
    radius, high = rng.uniform(0.05, 0.12), rng.uniform(0.5, 0.95)
    rows = [_piece(rng, family, CONE, (x, y, high), (radius, radius, high), None, rng.uniform(-0.2, 0.2))]
    rows.append(_piece(rng, family, ELLIPSOID, (x, y, 2 * high + 0.12), (0.18, 0.18, 0.14)))
    return rows


def _heap(rng: np.random.Generator, family: Family, x: float, y: float) -> Rows:
    """Cushions and balls on the floor."""
    rows = []
    for _ in range(int(rng.integers(2, 5))):
        half = rng.uniform(0.08, 0.2, 3)
        centre = (x + rng.uniform(-0.2, 0.2), y + rng.uniform(-0.2, 0.2), half[2])
        rows.append(_piece(rng, family, ELLIPSOID, centre, half, turned(rng.uniform(0, 180))))
    return rows


def _bouncing_ball(rng: np.random.Generator, family: Family) -> Mover:
    """A ball that crosses the room in hops."""
    radius, y, way = rng.uniform(0.1, 0.16), rng.uniform(1.9, 2.8), rng.choice([-1.0, 1.0])
    row = _piece(rng, family, ELLIPSOID, (0, 0, 0), (radius,) * 3)
    hops = rng.uniform(1.2, 2.2)

    def at(time: float) -> Rows:
        hop = (time * hops + 0.3) % 1.0
        centre = (way * (-0.9 + 1.5 * time), y, radius + 1.6 * hop * (1 - hop))
        return [thing(ELLIPSOID, centre, (radius,) * 3, *_look(row), turned(0.0, way * 300 * time))]

    return at


def _walking_figure(rng: np.random.Generator, family: Family, behind: float = 0.0) -> Mover:
    """A person-like figure (head, body, two legs, two arms) that walks across the room with swinging limbs.

    ``behind``: metres by which it walks farther from the first camera than usual.
    """
    y, way, steps = rng.uniform(2.3, 3.2) + behind, rng.choice([-1.0, 1.0]), rng.uniform(1.5, 2.5)
    body, trousers, skin = (_look(_piece(rng, family, BOX, (0, 0, 0), (1, 1, 1))) for _ in range(3))

    def at(time: float) -> Rows:
        x = way * (-0.8 + 1.2 * time)
        swing = 24.0 * np.sin(2 * np.pi * steps * time)
        rows = [
            thing(ELLIPSOID, (x, y, 1.55), (0.10, 0.11, 0.13), *skin),
            thing(ELLIPSOID, (x, y, 1.13), (0.14, 0.22, 0.33), *body),
        ]
        for side in (-1, 1):
            leg, arm = turned(0.0, side * swing), turned(0.0, -side * swing)
            hip, shoulder = np.array([x, y + side * 0.1, 0.85]), np.array([x, y + side * 0.27, 1.38])
            rows.append(thing(ELLIPSOID, hip - 0.42 * leg[2], (0.08, 0.08, 0.44), *trousers, leg))
            rows.append(thing(ELLIPSOID, shoulder - 0.28 * arm[2], (0.055, 0.055, 0.31), *skin, arm))
        return rows

    return at
