"""Three lines of keyframes, the trajectory format of InSpatio-World (arXiv 2604.07209).

::

    0 10 0 -10 0      pitch in degrees, positive orbits up
    0 5 0             yaw in degrees, positive orbits left
    1                 displacement, times the scene's foreground depth

Each line has any number of keyframes, spread evenly over the clip. Two more lines may follow, also of matrices::

    zoom 1 2 1        focal length, times the source's
    time 0 0.5 0.5 1  moments of the clip (0 its first frame, 1 its last): here it is frozen half way
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

from inspatio.cameras.formats.text import EXPECTED, NumberFile, Row
from inspatio.cameras.trajectory import MAX_DISPLACEMENT, MAX_FRAMES, MAX_TURN_DEGREES, ZOOM_RANGE, OrbitTrajectory
from inspatio.errors import UsageError


def parse(file: NumberFile) -> OrbitTrajectory:
    """Read three lines of keyframes.

    Raises:
        UsageError: another number of lines, or a number, a number of keyframes or a turn that cannot be meant.
    """
    count = len(file.rows)
    if count != 3:
        raise UsageError(f"{file.path}: {count} line{'s' * (count != 1)} of numbers, expected {EXPECTED}")
    pitch, yaw, displacement = file.rows
    for row in file.rows:
        _check_count(file.path, row)
    _check_turn(file.path, pitch)
    _check_turn(file.path, yaw)
    _check_size(file.path, displacement, MAX_DISPLACEMENT, "displacements within", "times the foreground depth")
    return OrbitTrajectory(pitch.values, yaw.values, displacement.values, **timing(file))


class Timing(TypedDict, total=False):
    """The fields of a trajectory that say its focal length and its source time over time."""

    zoom: tuple[float, ...]
    time: tuple[float, ...]


def timing(file: NumberFile) -> Timing:
    """The keyframes of zoom and time of a file, as fields of a trajectory.

    Raises:
        UsageError: a value out of range.
    """
    ranges = {"zoom": (*ZOOM_RANGE, "times the source's focal length"), "time": (0.0, 1.0, "of the clip's length")}
    for name, row in file.timing.items():
        least, most, unit = ranges[name]
        _check_count(file.path, row)
        for value in row.values:
            if not least <= value <= most:
                raise UsageError(
                    f"{file.path}, line {row.line}: got a {name} of {value:g}, expected {least:g} to {most:g} {unit}"
                )
    found: Timing = {}
    if "zoom" in file.timing:
        found["zoom"] = file.timing["zoom"].values
    if "time" in file.timing:
        found["time"] = file.timing["time"].values
    return found


def _check_count(path: Path, row: Row) -> None:
    if len(row.values) > MAX_FRAMES:
        raise UsageError(f"{path}, line {row.line}: {len(row.values)} keyframes, expected at most {MAX_FRAMES}")


def _check_turn(path: Path, row: Row) -> None:
    _check_size(path, row, MAX_TURN_DEGREES, "angles within", "degrees")
    turn = math.fsum(abs(b - a) for a, b in pairwise(row.values))
    if turn > MAX_TURN_DEGREES:
        raise UsageError(
            f"{path}, line {row.line}: got a turn of {turn:g} degrees in total, expected at most {MAX_TURN_DEGREES:g}"
        )


def _check_size(path: Path, row: Row, largest: float, what: str, unit: str) -> None:
    worst = max(row.values, key=abs)
    if abs(worst) > largest:
        raise UsageError(f"{path}, line {row.line}: got {worst:g}, expected {what} {largest:g} {unit}")
