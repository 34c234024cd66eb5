"""Camera path files: read a trajectory from any of the known formats, recognised by content.

Each format is one module with ``matches`` and ``parse``; :func:`load_trajectory` asks them in turn. The formats are
specified in ``docs/formats.md``.
"""

from __future__ import annotations

from pathlib import Path

from inspatio.cameras.formats import keyframes, matrices
from inspatio.cameras.formats.text import read_number_file
from inspatio.cameras.trajectory import Trajectory
from inspatio.types import Direction

__all__ = ["load_trajectory"]


def load_trajectory(path: Path, direction: Direction | None = None) -> Trajectory:
    """Read a trajectory file.

    Args:
        path: a text file of keyframes or matrices.
        direction: the direction of matrices in a file whose header does not name it.

    Raises:
        UsageError: the file is missing or empty, a line is missing or holds something other than finite numbers, a
            matrix is not rigid, or its direction is not given. One line with file, line, got and expected.
    """
    file = read_number_file(path)
    if matrices.matches(file, direction):
        return matrices.parse(file, direction)
    return keyframes.parse(file)
