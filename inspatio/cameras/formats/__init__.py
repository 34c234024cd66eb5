"""Camera path files: read a trajectory from any of the known formats, recognised by content.

This project's own text files (keyframes, matrix lines) are read by ``keyframes.py`` and ``matrices.py``, paths of other
programs by ``paths.py`` and tied to the scene by ``cameras/imported.py``. The formats are specified in
``docs/formats.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inspatio.cameras.formats import keyframes, matrices
from inspatio.cameras.formats.paths import DIRECTIONLESS, path_files, read_path, recognise
from inspatio.cameras.formats.text import NumberFile, read_number_file
from inspatio.cameras.imported import NOMINAL_SIZE, imported_trajectory
from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import Trajectory
from inspatio.errors import ClipError, UsageError
from inspatio.types import Direction, PathFormat

__all__ = ["TrajectoryFile", "load_trajectory", "read_trajectory"]

_BINARY = (".json", ".npz", ".gltf", ".glb", ".chan")
_TARGET = "target_tcw.txt"
"""The name that InSpatio-World 1.5 gives its matrix file, which settles the direction of one without a header."""


@dataclass(frozen=True)
class TrajectoryFile:
    """A trajectory that was read from a file, the files that it was read from, and what to tell the user."""

    trajectory: Trajectory
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def load_trajectory(path: Path, direction: Direction | None = None) -> Trajectory:
    """Read a trajectory file of any format; see :func:`read_trajectory`."""
    return read_trajectory(path, direction).trajectory


def read_trajectory(
    path: Path, direction: Direction | None = None, *, scale: float = 1.0, source: Path | None = None
) -> TrajectoryFile:
    """Read a trajectory file of any format.

    Args:
        path: a file of keyframes, of matrices, or of another program's camera path; or a folder with one.
        direction: the direction of matrices in a file that does not name it.
        scale: multiplies the distances of a path of another program whose world nothing ties to the scene's.
        source: a file with the source's cameras in the world of that path.

    Raises:
        UsageError: the file is missing or empty, a line is missing or holds something other than finite numbers, a
            matrix is not rigid, or its direction is not given. One line with file, line, got and expected.
    """
    try:
        kind = _other_program(path, direction)
        if kind is None:
            file = read_number_file(path)
            own = matrices.parse(file, direction) if matrices.matches(file, direction) else keyframes.parse(file)
            return TrajectoryFile(own, (path,))
        found = read_path(path, NOMINAL_SIZE, kind=kind, direction=direction)
        files = path_files(path, kind)
        if source is not None:
            found = replace(found, source=read_path(source, NOMINAL_SIZE).cameras.world_to_camera, in_scene=False)
            files += path_files(source, recognise(source))
        trajectory, notes = imported_trajectory(path, found, scale)
    except ClipError as error:
        raise UsageError(str(error)) from None
    return TrajectoryFile(trajectory, files, notes)


def _other_program(path: Path, direction: Direction | None) -> PathFormat | None:
    """The format of another program's camera path; None for this project's own text files."""
    try:
        if path.is_dir() or str(path).partition("#")[0].endswith(_BINARY):
            return recognise(path)
        if not path.is_file():
            return None  # its reader says so
    except (OSError, ValueError):  # a name that is too long, or has a NUL: its reader says that too
        return None
    try:
        kind = recognise(path)
    except ClipError:
        return None  # keyframes, or something that their reader refuses
    if kind in DIRECTIONLESS:
        if path.name == _TARGET and kind == "tcw" and direction is None:
            return kind
        _ask_for_direction(path, direction)
        return None
    return None if kind == "matrices" or _are_keyframes(path) else kind


def _are_keyframes(path: Path) -> bool:
    """Whether a text file is three lines of numbers, but not three lines of TUM's, whose quaternions tell."""
    try:
        rows = [row.values for row in read_number_file(path).rows]
    except UsageError:
        return False
    is_tum = all(len(row) == 8 and abs(np.linalg.norm(row[4:]) - 1) < 1e-2 for row in rows)
    return len(rows) == 3 and not is_tum


def _ask_for_direction(path: Path, direction: Direction | None) -> None:
    """Raise UsageError for matrices without a direction, saying where each reading takes the camera."""
    file: NumberFile = read_number_file(path)
    if direction is not None or not matrices.matches(file, None):
        return
    readings = {}
    origins: dict[Direction, str] = {"camera_to_world": "KITTI's", "world_to_camera": "InSpatio-World 1.5's"}
    for each, from_where in origins.items():
        try:
            poses = matrices.parse(file, each).key_poses
        except UsageError:
            return  # the matrix reader says what is wrong
        right, down, ahead = (invert(poses[:1]) @ poses[-1:])[0, :3, 3]
        readings[each] = f"as {each} ({from_where}) it ends {right:.3g} right, {-down:.3g} up, {ahead:.3g} ahead"
    raise UsageError(
        f"{path}: found one matrix per line but no direction: {'; '.join(readings.values())}. "
        "Add a first line '# camera_to_world' or '# world_to_camera', or give --traj_direction."
    )
