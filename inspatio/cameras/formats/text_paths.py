"""Camera paths as lines of numbers: RealEstate10K, TUM, KITTI, InSpatio-World 1.5 and .chan, one function each way.

What the numbers mean is said in ``conventions.py``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.camera_path import CameraPath
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.checks import check_fov, poses_from_quaternions, positive_focal, rigid, rising
from inspatio.cameras.formats.conventions import from_camera_to_world, to_camera_to_world
from inspatio.cameras.formats.lenses import default_intrinsics, from_vertical_fov, vertical_fov
from inspatio.cameras.formats.tables import read_lines, read_numbers
from inspatio.cameras.poses import invert
from inspatio.errors import ClipError
from inspatio.settings import parse_number
from inspatio.types import CameraToWorld, PathFormat

_SAME = np.cos(np.deg2rad(1.0 / 2))
"""A quaternion whose scalar part is larger turns by less than a degree."""
_CHAN_ORDER = "zxy"
"""Rotation about z first, then x, then y, in fixed axes: the default of Nuke's cameras. The file does not store it."""


def read_re10k(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read RealEstate10K text: an address, then lines of time, normalised intrinsics and a 3x4 matrix."""
    lines = read_lines(path)
    first = 0 if lines and len(lines[0].split()) == 19 else 1
    rows = []
    for number, line in enumerate(lines[first:], start=first + 1):
        words = line.split()
        if not words:
            continue
        try:
            row = [parse_number(word) for word in words]
        except ValueError:
            row = []
        if len(row) != 19:
            raise ClipError(f"{path}, line {number}: got {len(words)} words, expected 19 numbers of RealEstate10K")
        rows.append(row)
    values = np.array(rows, np.float64).reshape(-1, 19)
    height, width = size
    intrinsics = np.tile(np.eye(3), (len(values), 1, 1))
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = values[:, 1] * width, values[:, 2] * height
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = values[:, 3] * width - 0.5, values[:, 4] * height - 0.5
    poses = to_camera_to_world("re10k", rigid(path, values[:, 7:]))
    cameras = Cameras(positive_focal(path, intrinsics), invert(poses))
    return CameraPath(cameras, has_intrinsics=True, times=rising(path, values[:, 0]) / 1e6)


def write_re10k(cameras: Cameras, size: tuple[int, int], times: NDArray[np.float64]) -> str:
    """RealEstate10K text."""
    height, width = size
    scale = np.array([width, height, width, height])
    lines = ["about:blank"]
    for time, matrix, pose in zip(times, cameras.intrinsics, _poses("re10k", cameras), strict=True):
        lens = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5]) / scale
        lines.append(f"{round(1e6 * time)} {spell(lens)} 0 0 {spell(pose[:3])}")
    return "\n".join(lines) + "\n"


def read_tum(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read TUM text; a file whose quaternions are scalar-first is found out and read as such, with a note."""
    rows = read_numbers(path, 8)
    scalar_first, notes = _is_scalar_first(path, rows[:, 4:])
    poses = poses_from_quaternions(path, rows[:, 4:], rows[:, 1:4], scalar_first)
    return _without_lens("tum", poses, size, times=rising(path, rows[:, 0]), notes=notes)


def write_tum(cameras: Cameras, size: tuple[int, int], times: NDArray[np.float64]) -> str:
    """TUM text."""
    poses = _poses("tum", cameras)
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    rows = zip(times, poses[:, :3, 3], quaternions, strict=True)
    return "".join(f"{time:.6f} {spell(t)} {spell(q)}\n" for time, t, q in rows)


def read_kitti(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read KITTI odometry text."""
    return _without_lens("kitti", rigid(path, read_numbers(path, 12)), size)


def write_kitti(cameras: Cameras, size: tuple[int, int], times: NDArray[np.float64]) -> str:
    """KITTI odometry text."""
    return "".join(f"{spell(pose[:3])}\n" for pose in _poses("kitti", cameras))


def read_tcw(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read ``target_tcw.txt`` of InSpatio-World 1.5, with the source's cameras where they lie beside it.

    Of poses that only fill a block (after the ``valid_frames`` of its scene folder) none is kept.
    """
    source = _source_beside(path)
    found = None if source is None else rigid(source, read_numbers(source, 16))
    notes = [f"{path.name}: matrices are read as world to camera, which is what InSpatio-World 1.5 means by them"]
    poses = rigid(path, read_numbers(path, 16))
    facts = _facts_beside(path)
    valid = None if facts is None else _valid_frames(facts)
    if valid is not None and valid < len(poses):
        notes.append(f"{path.name}: the first {valid} of its {len(poses)} poses are meant, by scene.json")
        poses = poses[:valid]
    return _without_lens("tcw", poses, size, source=found, notes=tuple(notes))


def files_beside(path: Path) -> tuple[Path, ...]:
    """What else is read of the scene folder that a ``target_tcw.txt`` lies in: the source's cameras, and its facts."""
    return tuple(filter(None, (_source_beside(path), _facts_beside(path))))


def _source_beside(path: Path) -> Path | None:
    source = path.parent.parent / "depth" / "source_tcw.txt"
    return source if path.parent.name == "input" and source.is_file() else None


def _facts_beside(path: Path) -> Path | None:
    facts = path.parent.parent / "scene.json"
    return facts if path.parent.name == "input" and facts.is_file() else None


def _valid_frames(facts: Path) -> int:
    """How many poses of the path are meant, by a ``scene.json``."""
    try:
        values = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ClipError(f"{facts}: cannot be read ({str(error).splitlines()[0]}), expected a scene's facts") from None
    valid = values.get("valid_frames") if isinstance(values, dict) else None
    if not isinstance(valid, int) or isinstance(valid, bool) or valid < 1:
        raise ClipError(f"{facts}: valid_frames: got {str(valid)[:40]!r}, expected a number from 1 on")
    return valid


def write_tcw(cameras: Cameras, size: tuple[int, int], times: NDArray[np.float64]) -> str:
    """``target_tcw.txt`` of InSpatio-World 1.5."""
    return "".join(f"{spell(pose)}\n" for pose in _poses("tcw", cameras))


def read_chan(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read a .chan file: frame, position, Euler angles in degrees and, in most, the vertical field of view."""
    lines = (line.partition("#")[0].split() for line in read_lines(path))
    first = next(filter(None, lines), [])
    rows = read_numbers(path, 8 if len(first) == 8 else 7)
    rising(path, rows[:, 0], "frame number")
    rx, ry, rz = rows[:, 4:7].T
    rotations = Rotation.from_euler(_CHAN_ORDER, np.stack([rz, rx, ry], axis=1), degrees=True)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotations.as_matrix(), rows[:, 1:4]
    note = f"{path.name}: the order of rotations is not stored; read as {_CHAN_ORDER.upper()}, Nuke's default"
    if rows.shape[1] == 7:
        return _without_lens("chan", poses, size, notes=(note,))
    intrinsics = from_vertical_fov(check_fov(path, np.deg2rad(rows[:, 7])), size)
    cameras = Cameras(intrinsics, invert(to_camera_to_world("chan", poses)))
    return CameraPath(cameras, has_intrinsics=True, notes=(note,))


def write_chan(cameras: Cameras, size: tuple[int, int], times: NDArray[np.float64]) -> str:
    """A .chan file with rotations in the order ZXY."""
    poses = _poses("chan", cameras)
    angles = Rotation.from_matrix(poses[:, :3, :3]).as_euler(_CHAN_ORDER, degrees=True)[:, [1, 2, 0]]
    fov = np.rad2deg(vertical_fov(cameras.intrinsics, size))
    rows = zip(poses[:, :3, 3], angles, fov, strict=True)
    return "".join(f"{number} {spell(t)} {spell(r)} {spell(f)}\n" for number, (t, r, f) in enumerate(rows, start=1))


def spell(values: NDArray[np.float64]) -> str:
    """Numbers with all their digits."""
    return " ".join(repr(float(value)) for value in np.ravel(values))


def _is_scalar_first(path: Path, quaternions: NDArray[np.float64]) -> tuple[bool, tuple[str, ...]]:
    """Whether quaternions are w x y z, and what to say of it.

    A comment that names the columns decides. Without one, a first rotation that is none in one of the two orders does:
    trackers begin at the identity, and it is half a turn in the other order. Nothing else tells the two apart: the
    angles between the cameras are the same in both. Then TUM's order is taken, which is said.
    """
    named = next((text for text in read_lines(path) if text.startswith("#") and "qw" in text), "")
    order = re.findall(r"q[wxyz]", named)[:4]
    if sorted(order) == ["qw", "qx", "qy", "qz"]:
        if order[0] == "qw":
            return True, (f"{path.name}: quaternions are qw qx qy qz, as its comment says",)
        return False, ()
    first = quaternions[0] if len(quaternions) else np.array([0, 0, 0, 1.0])
    if abs(first[0]) > _SAME and np.abs(first[1:]).max() < 0.02:
        return True, (
            f"{path.name}: quaternions are read as qw qx qy qz: the first is {spell(first.round(3))}, "
            "no rotation in that order and half a turn in TUM's",
        )
    if abs(first[3]) > _SAME:
        return False, ()
    return False, (
        f"{path.name}: nothing in it says the order of its quaternions, so they are read as TUM's qx qy qz qw; "
        "a comment with their names (# qw qx qy qz) says another",
    )


def _without_lens(kind: PathFormat, poses: NDArray[np.float64], size: tuple[int, int], **more) -> CameraPath:
    world_to_camera = invert(to_camera_to_world(kind, poses))
    return CameraPath(Cameras.from_poses(world_to_camera, default_intrinsics(size)), **more)


def _poses(kind: PathFormat, cameras: Cameras) -> NDArray[np.float64]:
    camera_to_world: CameraToWorld = invert(cameras.world_to_camera)
    return from_camera_to_world(kind, camera_to_world)
