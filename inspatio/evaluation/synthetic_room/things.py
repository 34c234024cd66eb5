"""Rows of the ray-caster's tables: things (boxes, ellipsoids, cones) and their groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from inspatio.evaluation.synthetic_room import raycast
from inspatio.evaluation.synthetic_room.raycast import ELLIPSOID


def thing(
    kind: int,
    centre: ArrayLike,
    half: ArrayLike,
    material: int,
    seed: float = 0.0,
    axes: np.ndarray | None = None,
    taper: float = 0.0,
) -> np.ndarray:
    """A thing's row (``COLUMNS``); centre and half extents in metres, seed of its texture 0..1."""
    centre, half = np.asarray(centre, float), np.asarray(half, float)
    axes = np.eye(3) if axes is None else axes
    widest = half * (1 + abs(taper), 1 + abs(taper), 1)
    reach = max(half) ** 2 if kind == ELLIPSOID else np.sum(widest**2)
    return np.array([kind, *centre, *half, *axes.ravel(), material, seed, taper, reach])


def turned(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Axes (as rows) of a thing rolled about x, pitched about y, then turned about z; degrees."""
    a, b, c = np.radians([yaw, pitch, roll])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return (about_z @ about_y @ about_x).T


def bounds(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner of a thing's bounding box in room coordinates."""
    centre, half = row[raycast.CENTRE : raycast.CENTRE + 3], row[raycast.HALF : raycast.HALF + 3].copy()
    half[:2] *= 1 + abs(row[raycast.TAPER])
    reach = np.abs(row[raycast.AXES : raycast.AXES + 9].reshape(3, 3)).T @ half + 1e-6
    return centre - reach, centre + reach


def grouped(groups: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Things (``v COLUMNS``) and groups (``g GROUP_COLUMNS``) as the ray-caster wants them.

    What lies close together belongs in one group: rays that miss its bounding box ask none of its things.
    """
    rows: list[np.ndarray] = []
    boxes = []
    for group in groups:
        lower = np.min([bounds(row)[0] for row in group], axis=0)
        upper = np.max([bounds(row)[1] for row in group], axis=0)
        boxes.append([*lower, *upper, len(rows), len(rows) + len(group)])
        rows.extend(group)
    return np.array(rows), np.array(boxes)
