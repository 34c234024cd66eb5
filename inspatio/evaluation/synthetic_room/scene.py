"""The example scene: a living room with a ball that bounces through it, and the camera that films it.

It knows the truth: :func:`true_view` and :func:`true_depth` give what any camera would see at any moment of the clip,
so that renders and generated videos can be measured (``measure.py``). Room coordinates are x right, y into
the room, z up, metres; the world, as everywhere in the project, is the first camera's OpenCV frame.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from inspatio.evaluation.synthetic_room import raycast, textures
from inspatio.evaluation.synthetic_room.raycast import BOX, CONE, ELLIPSOID
from inspatio.evaluation.synthetic_room.things import grouped, thing, turned

SIZE = (480, 832)
FRAME_COUNT = 97
FRAME_RATE = Fraction(24)
FOCAL = 700.0

ROOM = np.array([[-2.6, -5.0, 0.0], [2.6, 4.4, 2.7]])
SIDES = np.array(
    [
        textures.WALLPAPER,
        textures.BRICK,
        textures.WALLPAPER,
        textures.WALLPAPER,
        textures.BOARDS,
        textures.CEILING,
    ]
)
LAMP = (0.62, 2.95, 1.60)
WINDOW = np.array([[-2.6, 1.9, 0.95], [-2.6, 3.6, 2.25], LAMP])
"""Lower and upper corner of the window in the left wall, and where the lamp hangs."""

EYE = (0.0, 0.0, 1.42)
TILT = np.radians(12.5)
"""The first camera stands at EYE and looks down the room by TILT."""

WORLD_TO_ROOM = np.array(
    [
        [1.0, 0.0, 0.0, EYE[0]],
        [0.0, -np.sin(TILT), np.cos(TILT), EYE[1]],
        [0.0, -np.cos(TILT), -np.sin(TILT), EYE[2]],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def intrinsics() -> np.ndarray:
    """Return the camera's ``3 3`` intrinsics in pixels for frames of SIZE."""
    return np.array([[FOCAL, 0.0, (SIZE[1] - 1) / 2], [0.0, FOCAL, (SIZE[0] - 1) / 2], [0.0, 0.0, 1.0]])


def source_world_to_camera() -> np.ndarray:
    """Return the source cameras ``n 4 4``: a slow truck to the left with a hand's drift; the first is the identity."""
    time = np.arange(FRAME_COUNT) / (FRAME_COUNT - 1)
    ease = time * time * (3 - 2 * time)
    x = -0.34 * ease + 0.012 * np.sin(9.0 * time)
    y = 0.010 * np.sin(7.0 * time) - 0.03 * ease
    z = 0.10 * ease + 0.008 * np.sin(5.0 * time)
    yaw = np.radians(2.2 * ease + 0.30 * np.sin(8.0 * time))
    pitch = np.radians(0.35 * np.sin(6.0 * time))
    poses = np.tile(np.eye(4), (FRAME_COUNT, 1, 1))
    for i in range(FRAME_COUNT):
        ca, sa, cb, sb = np.cos(pitch[i]), np.sin(pitch[i]), np.cos(yaw[i]), np.sin(yaw[i])
        turn = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]]) @ np.array([[1, 0, 0], [0, ca, sa], [0, -sa, ca]])
        poses[i, :3, :3] = turn.T
        poses[i, :3, 3] = -turn.T @ np.array([x[i], y[i], z[i]])
    return poses


def true_view(
    frame: int,
    world_to_camera: np.ndarray,
    camera: np.ndarray | None = None,
    size: tuple[int, int] = SIZE,
) -> np.ndarray:
    """Ray-cast ``h w 3`` uint8 RGB: what a camera sees at a source frame's moment.

    Args:
        frame: index of the source frame, 0 .. FRAME_COUNT - 1.
        world_to_camera: ``4 4`` pose.
        camera: ``3 3`` intrinsics for ``size``; None is the source camera's.
        size: (height, width).
    """
    things, groups = furniture(frame)
    pose = WORLD_TO_ROOM @ np.linalg.inv(world_to_camera)
    return raycast.view(things, groups, ROOM, WINDOW, SIDES, pose, intrinsics() if camera is None else camera, size)


def true_depth(
    frame: int,
    world_to_camera: np.ndarray,
    camera: np.ndarray | None = None,
    size: tuple[int, int] = SIZE,
) -> np.ndarray:
    """Ray-cast ``h w`` float32 z-depth in metres at the pixel centres; arguments as in :func:`true_view`."""
    things, groups = furniture(frame)
    pose = WORLD_TO_ROOM @ np.linalg.inv(world_to_camera)
    return raycast.view_depth(things, groups, ROOM, pose, intrinsics() if camera is None else camera, size)


def furniture(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The things (``v COLUMNS``) at a moment and their groups (``g GROUP_COLUMNS``), as the ray-caster wants them."""
    return grouped([*_STILL, [_ball(frame)]])


def _ball(frame: int) -> np.ndarray:
    """The ball bounces from the left past the table to the right, and rolls as it goes."""
    radius, time = 0.135, frame / (FRAME_COUNT - 1)
    hop = (time * 3.2 + 0.35) % 1.0
    height = 4 * hop * (1 - hop) * 0.46 * (1 - 0.35 * time)
    x = -0.78 + 1.68 * time
    roll = turned(-18.0) @ turned(0.0, -np.degrees(1.68 * time / radius) * 0.85, 35.0)
    return thing(ELLIPSOID, (x, 2.28 - 0.04 * time, radius + height), (radius,) * 3, textures.BALL, 0.0, roll)


def _table() -> list[np.ndarray]:
    turn = turned(-11.0)
    middle = np.array([0.50, 2.82, 0.0])

    def at(x: float, y: float, z: float) -> np.ndarray:
        return middle + turn.T @ np.array([x, y, z])

    rows = [thing(BOX, at(0, 0, 0.44), (0.66, 0.36, 0.022), textures.WOOD, 0.1, turn)]
    rows += [
        thing(BOX, at(sx * 0.60, sy * 0.30, 0.209), (0.028, 0.028, 0.209), textures.WOOD, 0.2, turn)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    rows.append(thing(BOX, at(0, 0, 0.15), (0.58, 0.28, 0.012), textures.WOOD, 0.3, turn))
    height = 0.462
    for i, (half, yaw) in enumerate([((0.15, 0.11, 0.018), 8), ((0.13, 0.10, 0.022), 25), ((0.12, 0.085, 0.015), -6)]):
        height += half[2]
        rows.append(thing(BOX, at(-0.36, 0.05, height), half, textures.BOOK, 0.13 + 0.31 * i, turned(yaw)))
        height += half[2]
    rows.append(thing(CONE, at(0.02, -0.16, 0.512), (0.042, 0.042, 0.05), textures.GLAZE, 0.12, None, 0.12))
    rows.append(thing(ELLIPSOID, at(0.36, 0.06, 0.577), (0.105, 0.105, 0.115), textures.MARBLE, 0.3))
    rows.append(thing(CONE, at(0.36, 0.06, 0.72), (0.042, 0.042, 0.06), textures.MARBLE, 0.3, None, 0.25))
    rows.append(thing(CONE, at(0.13, 0.17, 0.492), (0.14, 0.14, 0.03), textures.GLAZE, 0.8, None, 0.35))
    for x, y, seed in ((0.09, 0.14, 0.0), (0.18, 0.15, 0.25), (0.13, 0.22, 0.85)):
        rows.append(thing(ELLIPSOID, at(x, y, 0.555), (0.045, 0.045, 0.043), textures.PLAIN, seed))
    rows.append(thing(BOX, at(0.02, 0.0, 0.166), (0.2, 0.14, 0.004), textures.BOOK, 0.62, turned(-20)))
    return rows


def _armchair() -> list[np.ndarray]:
    turn = turned(-32.0)
    middle = np.array([-1.42, 3.22, 0.0])

    def at(x: float, y: float, z: float) -> np.ndarray:
        return middle + turn.T @ np.array([x, y, z])

    colour = 0.68
    rows = [
        thing(BOX, at(0, 0, 0.24), (0.36, 0.36, 0.13), textures.FABRIC, colour, turn),
        thing(BOX, at(0, -0.02, 0.41), (0.29, 0.34, 0.055), textures.FABRIC, colour, turn),
        thing(BOX, at(0, 0.33, 0.56), (0.36, 0.09, 0.36), textures.FABRIC, colour, turn),
        thing(BOX, at(-0.36, 0, 0.36), (0.075, 0.38, 0.25), textures.FABRIC, colour, turn),
        thing(BOX, at(0.36, 0, 0.36), (0.075, 0.38, 0.25), textures.FABRIC, colour, turn),
        thing(ELLIPSOID, at(0.06, 0.17, 0.60), (0.19, 0.075, 0.17), textures.FABRIC, 0.25, turned(-20.0, 9.0, 14.0)),
    ]
    rows += [
        thing(BOX, at(sx * 0.36, sy * 0.33, 0.055), (0.025, 0.025, 0.055), textures.WOOD, 0.8, turn)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    return rows


def _shelf() -> list[list[np.ndarray]]:
    """A bookcase against the far wall: the case, and one group of books to a board."""
    x, y, half_width, half_depth = 1.62, 4.22, 0.62, 0.16
    case = [thing(BOX, (x, 4.385, 1.0), (half_width, 0.012, 1.0), textures.WOOD, 0.7)]
    case += [thing(BOX, (x + s * half_width, y, 1.0), (0.02, half_depth, 1.0), textures.WOOD, 0.6) for s in (-1, 1)]
    heights = [0.06, 0.46, 0.86, 1.26, 1.64, 2.0]
    case += [thing(BOX, (x, y, z), (half_width, half_depth, 0.015), textures.WOOD, 0.9) for z in heights]
    boards = [case]
    rng = np.random.default_rng(5)
    for board, z in enumerate(heights[:-1]):
        books, left = [], x - half_width + 0.03
        end = x + half_width - (0.03, 0.30, 0.05, 0.24, 0.10)[board]
        while True:
            thick, high, deep = rng.uniform(0.016, 0.034), rng.uniform(0.10, 0.155), rng.uniform(0.09, 0.13)
            if left + 2 * thick > end:
                break
            centre = (left + thick, y + 0.13 - deep, z + 0.015 + high)
            books.append(thing(BOX, centre, (thick, deep, high), textures.BOOK, rng.uniform()))
            left += 2 * thick + 0.002
        if board == 1:
            books.append(thing(ELLIPSOID, (left + 0.13, y - 0.02, z + 0.125), (0.11, 0.11, 0.11), textures.MARBLE, 0.7))
        if board == 3:
            books.append(thing(CONE, (left + 0.11, y, z + 0.115), (0.06, 0.06, 0.1), textures.GLAZE, 0.7, None, -0.3))
        boards.append(books)
    return boards


def _plant() -> list[np.ndarray]:
    """A pot plant close to the camera, on a stool."""
    x, y = -0.98, 1.88
    rows = [
        thing(CONE, (x, y, 0.21), (0.16, 0.16, 0.21), textures.WOOD, 0.3, None, -0.1),
        thing(CONE, (x, y, 0.535), (0.105, 0.105, 0.115), textures.GLAZE, 0.35, None, 0.25),
    ]
    rng = np.random.default_rng(12)
    for i in range(22):
        yaw, lean = 137.5 * i, 22.0 + 2.6 * i
        length = 0.15 + 0.05 * rng.uniform()
        axes = turned(yaw, -(90 - lean), 0.0)
        stem = axes.T @ np.array([length * 1.05, 0.0, 0.0])
        centre = np.array([x, y, 0.62]) + stem
        rows.append(thing(ELLIPSOID, centre, (length, 0.036, 0.007), textures.LEAF, rng.uniform(), axes))
    return rows


def _hanging_lamp() -> list[np.ndarray]:
    x, y, z = LAMP
    return [
        thing(CONE, (x, y, z + 0.62), (0.005, 0.005, 0.46), textures.PLAIN, 0.95),
        thing(CONE, (x, y, z + 0.06), (0.13, 0.13, 0.11), textures.GLAZE, 0.05, None, -0.55),
        thing(ELLIPSOID, (x, y, z - 0.04), (0.05, 0.05, 0.05), textures.GLOW),
    ]


_STILL: list[list[np.ndarray]] = [
    [thing(BOX, (0.15, 2.85, 0.006), (1.35, 0.92, 0.006), textures.RUG, 0.0, turned(4.0))],
    _table(),
    _armchair(),
    *_shelf(),
    _plant(),
    _hanging_lamp(),
    [
        thing(BOX, (-0.42, 4.37, 1.52), (0.62, 0.025, 0.42), textures.LANDSCAPE),
        thing(BOX, (0.60, 4.375, 1.72), (0.22, 0.02, 0.25), textures.ABSTRACT, 0.37),
        thing(BOX, (0.60, 4.375, 1.16), (0.22, 0.02, 0.22), textures.ABSTRACT, 0.71),
    ],
    [
        thing(CONE, (-2.2, 4.05, 0.02), (0.16, 0.16, 0.02), textures.PLAIN, 0.95),
        thing(CONE, (-2.2, 4.05, 0.75), (0.014, 0.014, 0.72), textures.PLAIN, 0.95),
        thing(CONE, (-2.2, 4.05, 1.62), (0.19, 0.19, 0.16), textures.FABRIC, 0.45, None, -0.35),
    ],
    [thing(BOX, (1.95, 2.55, 0.17), (0.26, 0.20, 0.17), textures.WOOD, 0.2, turned(22.0))],
    [thing(ELLIPSOID, (1.92, 2.53, 0.46), (0.14, 0.14, 0.12), textures.FABRIC, 0.05)],
]
