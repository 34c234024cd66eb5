"""What every reader of camera paths checks: rigid matrices, unit quaternions, rising times, positive focal lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import check_rigid, compose, orthonormalised
from inspatio.cameras.trajectory import MAX_FRAMES
from inspatio.errors import ClipError
from inspatio.types import Intrinsics

UNIT_TOLERANCE = 1e-2
"""How far a quaternion may be from length 1: two printed decimals are enough."""


def rigid(path: Path, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """``n 4 4`` from rows of 12 or 16 numbers, in the file's direction; rounded rotations are made exact.

    Raises:
        ClipError: one is not a rotation and a translation.
    """
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices.reshape(len(rows), 16)[:, : rows.shape[1]] = rows
    try:
        check_rigid(matrices, f"{path}: the matrix")
    except ValueError as error:
        raise ClipError(f"{error}. Check the format") from None
    return orthonormalised(matrices)


def poses_from_quaternions(
    path: Path, quaternions: NDArray[np.float64], positions: NDArray[np.float64], scalar_first: bool = False
) -> NDArray[np.float64]:
    """``n 4 4`` poses from ``n 4`` quaternions and ``n 3`` translations.

    Raises:
        ClipError: a quaternion is not of length 1.
    """
    lengths = np.linalg.norm(quaternions, axis=1)
    wrong = np.flatnonzero(np.abs(lengths - 1) > UNIT_TOLERANCE)
    if len(wrong):
        raise ClipError(
            f"{path}: the quaternion of camera {wrong[0]} has length {lengths[wrong[0]]:.3g}, expected 1. "
            "Check the order of the columns"
        )
    return compose(Rotation.from_quat(quaternions, scalar_first=scalar_first).as_matrix(), positions)


def rising(path: Path, times: NDArray[np.float64], what: str = "time") -> NDArray[np.float64]:
    """The times, checked.

    Raises:
        ClipError: one is not later than the one before.
    """
    wrong = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong):
        before, after = times[wrong[0]], times[wrong[0] + 1]
        fault = "repeats" if before == after else "falls"
        raise ClipError(
            f"{path}: the {what} of camera {wrong[0] + 1} {fault}: got {after:.12g} after {before:.12g}, "
            f"expected rising {what}s. Remove repeated lines, or sort them"
        )
    return times


def positive_focal(path: Path, intrinsics: Intrinsics) -> Intrinsics:
    """``n 3 3`` intrinsics, checked.

    Raises:
        ClipError: one is not finite or has a focal length of 0 or less.
    """
    focal = intrinsics[:, [0, 1], [0, 1]]
    good = np.isfinite(intrinsics).all((1, 2)) & (focal > 0).all(1)
    if not good.all():
        first = int(np.argmin(good))
        raise ClipError(
            f"{path}: camera {first} has focal lengths {focal[first, 0]:g} and {focal[first, 1]:g}, "
            "expected positive ones"
        )
    return intrinsics


def check_fov(path: Path, radians: NDArray[np.float64]) -> NDArray[np.float64]:
    """``n`` fields of view, checked.

    Raises:
        ClipError: one is not between 0 and 180 degrees.
    """
    wrong = np.flatnonzero(~((radians > 0) & (radians < np.pi - 1e-9)))
    if len(wrong):
        raise ClipError(
            f"{path}: camera {wrong[0]} has a field of view of {np.rad2deg(radians[wrong[0]]):g} degrees, "
            "expected between 0 and 180"
        )
    return radians


def not_too_many(path: Path, count: int) -> None:
    """Raise ClipError unless a path of ``count`` cameras can be meant."""
    if not 0 < count <= MAX_FRAMES:
        raise ClipError(f"{path}: got {count} cameras, expected 1 to {MAX_FRAMES}")
