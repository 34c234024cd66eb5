"""One rigid 4x4 matrix per line (16 numbers row by row, or 12 without the last row), under a header line.

::

    # camera_to_world unit=foreground
    1 0 0 0  0 1 0 0  0 0 1 0  0 0 0 1
    1 0 0 0.2  0 1 0 0  0 0 1 0  0 0 0 1

``# world_to_camera`` is the other direction. The world is the first source camera (OpenCV axes, see ``poses.py``).
Translations are in the scene's unit, or with ``unit=foreground`` times the scene's foreground depth, so that one file
suits scenes of any size.

A recorded flight has ``source_time=frames`` in its header, and before each matrix the number of the source frame that
is shown there::

    # camera_to_world unit=scene source_time=frames
    0  1 0 0 0  0 1 0 0  0 0 1 0  0 0 0 1
    0  1 0 0 0.2  0 1 0 0  0 0 1 0  0 0 0 1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from inspatio.cameras.formats.keyframes import timing
from inspatio.cameras.formats.text import NumberFile
from inspatio.cameras.poses import check_rigid, invert, orthonormalised
from inspatio.cameras.trajectory import (
    MAX_DISPLACEMENT,
    MAX_FRAMES,
    MAX_TURN_DEGREES,
    FlightTrajectory,
    MatrixTrajectory,
    Unit,
)
from inspatio.errors import UsageError
from inspatio.types import CameraToWorld, Direction


def matches(file: NumberFile, direction: Direction | None) -> bool:
    """Whether the file holds matrices: a direction is named, or every line has the shape of a matrix.

    Three lines of 12 or 16 keyframes have that shape too, unless they end in the last row of a rigid transform.
    """
    if direction is not None or _headers(file):
        return True
    if not all(len(row.values) in (12, 16) for row in file.rows):
        return False
    return len(file.rows) != 3 or all(row.values[12:] == (0, 0, 0, 1) for row in file.rows)


def parse(file: NumberFile, direction: Direction | None) -> MatrixTrajectory | FlightTrajectory:
    """Read the matrices; ``direction`` counts where no header names one.

    Raises:
        UsageError: no direction, two of them, an unknown unit, a line of another length, a matrix that is not rigid, a
            translation, a number of matrices or a turn that cannot be meant.
    """
    direction, unit, timed = _header(file, direction)
    if direction is None:
        raise UsageError(
            f"{file.path}: found one matrix per line but no direction. "
            "Add a first line '# camera_to_world' or '# world_to_camera', or give --traj_direction."
        )
    if len(file.rows) > MAX_FRAMES:
        raise UsageError(f"{file.path}: {len(file.rows)} matrices, expected at most {MAX_FRAMES}")
    if timed:
        if "time" in file.timing:
            line = file.timing["time"].line
            raise UsageError(
                f"{file.path}, line {line}: got time in a flight with source frames. Leave one of them out"
            )
        frames = tuple(_source_frames(file))
        return FlightTrajectory(_camera_to_world(file, direction, timed), frames, **timing(file))
    trajectory = MatrixTrajectory(_camera_to_world(file, direction, timed), unit, **timing(file))
    if trajectory.total_angle > MAX_TURN_DEGREES:
        raise UsageError(
            f"{file.path}: got a turn of {trajectory.total_angle:g} degrees in total, "
            f"expected at most {MAX_TURN_DEGREES:g}"
        )
    return trajectory


def _headers(file: NumberFile) -> list[tuple[int, str]]:
    """The comment lines that begin with a direction."""
    return [(line, text) for line, text in file.comments if text.split()[:1] and text.split()[0] in get_args(Direction)]


def _header(file: NumberFile, direction: Direction | None) -> tuple[Direction | None, Unit, bool]:
    """Direction, unit, and whether every line begins with a source frame."""
    headers = _headers(file)
    if not headers:
        return direction, "scene", False
    if len(headers) > 1:
        raise UsageError(f"{file.path}, line {headers[1][0]}: a second header '# {headers[1][1]}', expected one")
    line, text = headers[0]
    name, *options = text.split()
    named: Direction = "world_to_camera" if name == "world_to_camera" else "camera_to_world"
    if direction not in (None, named):
        raise UsageError(f"{file.path}, line {line}: the header says {named}, but {direction} was asked for")
    match options:
        case [] | ["unit=scene"]:
            return named, "scene", False
        case ["unit=foreground"]:
            return named, "foreground", False
        case ["unit=scene", "source_time=frames"]:
            return named, "scene", True
        case _:
            raise UsageError(
                f"{file.path}, line {line}: got '{' '.join(options)}' after {named}, "
                "expected unit=scene, unit=foreground or unit=scene source_time=frames"
            )


def write_matrices(camera_to_world: CameraToWorld, source_frames: Sequence[int] | None = None) -> str:
    """The text of ``k 4 4`` poses in scene units, of a flight with its source frames; reading gives the same."""
    lines = ["# camera_to_world unit=scene" + " source_time=frames" * (source_frames is not None)]
    for index, pose in enumerate(camera_to_world):
        frame = "" if source_frames is None else f"{source_frames[index]} "
        lines.append(frame + " ".join(repr(float(value)) for value in pose.reshape(-1)))
    return "\n".join(lines) + "\n"


def _source_frames(file: NumberFile) -> list[int]:
    for row in file.rows:
        if not (row.values[0] >= 0 and row.values[0].is_integer()):
            raise UsageError(f"{file.path}, line {row.line}: got source frame {row.values[0]:g}, expected 0, 1, 2 ..")
    return [int(row.values[0]) for row in file.rows]


def _camera_to_world(file: NumberFile, direction: Direction, timed: bool) -> CameraToWorld:
    """``k 4 4`` from rows of 12 or 16 numbers, after a source frame where the file is ``timed``."""
    matrices = np.tile(np.eye(4), (len(file.rows), 1, 1))
    for matrix, row in zip(matrices, file.rows, strict=True):
        numbers = row.values[timed:]
        count = len(numbers)
        if count not in (12, 16):
            raise UsageError(
                f"{file.path}, line {row.line}: {len(row.values)} numbers, "
                f"expected a {direction} matrix of 16 (or 12){' after a source frame' * timed}"
            )
        matrix.reshape(-1)[:count] = numbers
        try:
            check_rigid(matrix, f"{file.path}, line {row.line}: the matrix")
        except ValueError as error:
            raise UsageError(str(error)) from None
        if np.abs(matrix[:3, 3]).max() > MAX_DISPLACEMENT:
            raise UsageError(
                f"{file.path}, line {row.line}: got a translation of {np.abs(matrix[:3, 3]).max():g}, "
                f"expected at most {MAX_DISPLACEMENT:g}"
            )
    poses = orthonormalised(matrices)
    return invert(poses) if direction == "world_to_camera" else poses
