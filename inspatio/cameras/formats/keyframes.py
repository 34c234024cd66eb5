"""Three lines of keyframes, the trajectory format of InSpatio-World (arXiv 2604.07209).

::

    0 10 0 -10 0      pitch in degrees, positive orbits up
    0 5 0             yaw in degrees, positive orbits left
    1                 displacement, times the scene's foreground depth

Each line has any number of keyframes, spread evenly over the clip.
"""

from __future__ import annotations

from inspatio.cameras.formats.text import EXPECTED, NumberFile
from inspatio.cameras.trajectory import OrbitTrajectory
from inspatio.errors import UsageError


def parse(file: NumberFile) -> OrbitTrajectory:
    """Read three lines of keyframes.

    Raises:
        UsageError: another number of lines.
    """
    count = len(file.rows)
    if count != 3:
        raise UsageError(f"{file.path}: {count} line{'s' * (count != 1)} of numbers, expected {EXPECTED}")
    pitch, yaw, displacement = (row.values for row in file.rows)
    return OrbitTrajectory(pitch, yaw, displacement)
