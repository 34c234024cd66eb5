"""Three lines of keyframes, the trajectory format of InSpatio-World (arXiv 2604.07209).

::

    0 10 0 -10 0      pitch in degrees, positive orbits up
    0 5 0             yaw in degrees, positive orbits left
    1                 displacement, times the scene's foreground depth

Each line has any number of keyframes, spread evenly over the clip.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from inspatio.cameras.formats.text import EXPECTED, NumberFile, Row
from inspatio.cameras.trajectory import MAX_DISPLACEMENT, MAX_FRAMES, MAX_TURN_DEGREES, OrbitTrajectory
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
        count = len(row.values)
        if count > MAX_FRAMES:
            raise UsageError(f"{file.path}, line {row.line}: {count} keyframes, expected at most {MAX_FRAMES}")
    _check_turn(file.path, pitch)
    _check_turn(file.path, yaw)
    _check_size(file.path, displacement, MAX_DISPLACEMENT, "displacements within", "times the foreground depth")
    return OrbitTrajectory(pitch.values, yaw.values, displacement.values)


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
