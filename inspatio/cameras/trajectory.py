"""Trajectory files: where the new camera goes, whatever the clip and its length.

Two kinds of text file; ``#`` starts a comment.

Three lines of keyframes (the InSpatio-World format), each line with as many as it likes::

    0 10 0 -10 0      pitch in degrees, positive orbits up
    0 5 0             yaw in degrees, positive orbits left
    1                 displacement, times the scene's foreground depth

With any angle the displacement is the radius of an orbit around the point straight ahead at that distance; with all
angles zero it is a dolly, positive moves forward.

One 4x4 matrix per line (16 numbers row by row, or 12 without the last row), after a header that names the direction::

    # camera_to_world unit=foreground
    1 0 0 0  0 1 0 0  0 0 1 0  0 0 0 1
    1 0 0 0.2  0 1 0 0  0 0 1 0  0 0 0 1

``# world_to_camera`` is the other direction. The world is the first source camera (OpenCV axes, see ``cameras.py``).
Translations are in the scene's unit, or with ``unit=foreground`` times the scene's foreground depth, so that one file
suits scenes of any size.

Keyframes are spread evenly over the clip and interpolated through every one of them without overshoot: numbers by
PCHIP (Fritsch and Carlson 1980: monotone between keyframes), rotations along great arcs at constant speed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from inspatio.cameras import poses as cameras
from inspatio.errors import UsageError
from inspatio.types import CameraToWorld

Direction = Literal["world_to_camera", "camera_to_world"]
Unit = Literal["scene", "foreground"]

_EXPECTED = "three lines (pitch, yaw, displacement), or a 4x4 matrix per line under '# camera_to_world'"


class Trajectory(Protocol):
    """A camera path, not yet laid over a clip."""

    @property
    def total_angle(self) -> float:
        """How far the camera turns in all, in degrees; decides how many frames the path needs."""
        ...

    @property
    def is_dolly(self) -> bool:
        """Whether the camera moves, if at all, without ever turning away from the source's first view."""
        ...

    def camera_to_world(
        self, frame_count: int, foreground_depth: float, *, rotation_only: bool = False
    ) -> CameraToWorld:
        """The path over ``frame_count`` frames, ``n 4 4`` in the first source camera's world.

        ``foreground_depth`` (scene units) scales displacements; ``rotation_only`` leaves the camera at the origin.
        """
        ...


@dataclass(frozen=True)
class OrbitTrajectory:
    """Keyframes of pitch and yaw (degrees) and of displacement (foreground depths); a tuple each, any length."""

    pitch_deg: tuple[float, ...]
    yaw_deg: tuple[float, ...]
    displacement: tuple[float, ...]

    @property
    def total_angle(self) -> float:
        """The larger of the summed steps of pitch and of yaw between keyframes."""
        return float(max(np.abs(np.diff(self.pitch_deg)).sum(), np.abs(np.diff(self.yaw_deg)).sum()))

    @property
    def is_dolly(self) -> bool:
        return not any(self.pitch_deg) and not any(self.yaw_deg)

    def camera_to_world(
        self, frame_count: int, foreground_depth: float, *, rotation_only: bool = False
    ) -> CameraToWorld:
        pitch = interpolate(self.pitch_deg, frame_count)
        yaw = interpolate(self.yaw_deg, frame_count)
        distance = interpolate(self.displacement, frame_count) * foreground_depth
        poses = cameras.dolly(distance) if self.is_dolly else cameras.orbit(pitch, yaw, distance)
        return cameras.rotation_only(poses) if rotation_only else poses


@dataclass(frozen=True, eq=False)
class MatrixTrajectory:
    """Key poses, ``camera_to_world`` ``k 4 4``; their translations are in ``unit``."""

    key_poses: CameraToWorld
    unit: Unit = "scene"

    @property
    def total_angle(self) -> float:
        """The summed angles between the rotations of successive key poses."""
        rotations = Rotation.from_matrix(self.key_poses[:, :3, :3])
        return math.degrees((rotations[:-1].inv() * rotations[1:]).magnitude().sum()) if len(rotations) > 1 else 0.0

    @property
    def is_dolly(self) -> bool:
        return bool(np.abs(self.key_poses[:, :3, :3] - np.eye(3)).max() < 1e-9)

    def camera_to_world(
        self, frame_count: int, foreground_depth: float, *, rotation_only: bool = False
    ) -> CameraToWorld:
        count = len(self.key_poses)
        poses = np.tile(np.eye(4), (frame_count, 1, 1))
        rotations = Rotation.from_matrix(self.key_poses[:, :3, :3])
        turns = Slerp(np.arange(count), rotations)(_places(count, frame_count)) if count > 1 else rotations
        poses[:, :3, :3] = turns.as_matrix()
        if not rotation_only:
            scale = foreground_depth if self.unit == "foreground" else 1.0
            poses[:, :3, 3] = interpolate(self.key_poses[:, :3, 3], frame_count) * scale
        return poses


def interpolate(keyframes: ArrayLike, frame_count: int) -> NDArray[np.float64]:
    """Keyframes (``k ...``) spread evenly over ``frame_count`` frames: through every one, monotone in between.

    One keyframe is a constant; one frame shows the first keyframe.
    """
    keys = np.asarray(keyframes, np.float64)
    if len(keys) == 1:
        return np.repeat(keys, frame_count, axis=0)
    return PchipInterpolator(np.arange(len(keys)), keys, axis=0)(_places(len(keys), frame_count))


def load_trajectory(path: Path, direction: Direction | None = None) -> Trajectory:
    """Read a trajectory file of either kind; ``direction`` says what the matrices are where no header does.

    Raises:
        UsageError: the file is missing or empty, a line is missing or has what is no finite number, a matrix is not
            rigid, or no direction is given. One line with file, line, what was got and what was expected.
    """
    lines, header = _read_lines(path)
    direction, unit = _read_header(path, header, direction)
    rows = [(number, _numbers(path, number, text)) for number, text in lines]
    if direction is not None:
        return MatrixTrajectory(_matrices(path, rows, direction), unit)
    all_matrices = all(len(values) in (12, 16) for _, values in rows)
    if all_matrices and (len(rows) != 3 or all(values[12:] == [0, 0, 0, 1] for _, values in rows)):
        raise UsageError(
            f"{path}: looks like one matrix per line, but their direction is not given; "
            "put '# camera_to_world' or '# world_to_camera' in its first line"
        )
    if len(rows) != 3:
        raise UsageError(f"{path}: {len(rows)} line{'s' * (len(rows) != 1)} of numbers, expected {_EXPECTED}")
    pitch, yaw, displacement = (tuple(values) for _, values in rows)
    return OrbitTrajectory(pitch, yaw, displacement)


def _places(key_count: int, frame_count: int) -> NDArray[np.float64]:
    """Where each frame stands on the axis of keyframe numbers."""
    return np.linspace(0, key_count - 1, frame_count)


def _read_lines(path: Path) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """The (number, text) of lines that hold something, comments removed, and of the comments that are headers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file, expected a trajectory: {_EXPECTED}; there are some in traj/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error}), expected a trajectory: {_EXPECTED}") from None
    content, header = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        values, sign, comment = line.partition("#")
        if values.strip() or not sign:
            content.append((number, values.strip()))
        elif comment.split() and comment.split()[0] in get_args(Direction):
            header.append((number, comment.strip()))
    while content and not content[-1][1]:
        content.pop()
    while content and not content[0][1]:
        content.pop(0)
    if not content:
        raise UsageError(f"{path}: no numbers in it, expected a trajectory: {_EXPECTED}")
    for number, values in content:
        if not values:
            # A blank line between others is more likely a keyframe line left out than a separator.
            raise UsageError(f"{path}, line {number}: blank, expected numbers; write 0 where nothing is to happen")
    return content, header


def _read_header(
    path: Path, header: Sequence[tuple[int, str]], direction: Direction | None
) -> tuple[Direction | None, Unit]:
    if not header:
        return direction, "scene"
    if len(header) > 1:
        raise UsageError(f"{path}, line {header[1][0]}: a second header '# {header[1][1]}', expected one")
    number, text = header[0]
    name, *options = text.split()
    named: Direction = "world_to_camera" if name == "world_to_camera" else "camera_to_world"
    if direction not in (None, named):
        raise UsageError(f"{path}, line {number}: the header says {named}, but {direction} was asked for")
    match options:
        case [] | ["unit=scene"]:
            return named, "scene"
        case ["unit=foreground"]:
            return named, "foreground"
        case _:
            raise UsageError(
                f"{path}, line {number}: got '{' '.join(options)}' after {named}, "
                "expected unit=scene or unit=foreground"
            )


def _numbers(path: Path, line: int, text: str) -> list[float]:
    values = []
    for word in text.split():
        try:
            value = float(word.replace("_", "?"))  # float() takes 1_000
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"{path}, line {line}: got {word!r}, expected finite numbers separated by blanks")
        values.append(value)
    return values


def _matrices(path: Path, rows: Sequence[tuple[int, list[float]]], direction: Direction) -> CameraToWorld:
    """``k 4 4`` camera_to_world from rows of 12 or 16 numbers."""
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    for matrix, (line, values) in zip(matrices, rows, strict=True):
        if len(values) not in (12, 16):
            raise UsageError(
                f"{path}, line {line}: {len(values)} numbers, expected a {direction} matrix of 16 (or 12), row by row"
            )
        matrix.reshape(-1)[: len(values)] = values
        try:
            cameras.check_rigid(matrix, f"{path}, line {line}: the matrix")
        except ValueError as error:
            raise UsageError(str(error)) from None
    poses = cameras.orthonormalised(matrices)
    return cameras.invert(poses) if direction == "world_to_camera" else poses
