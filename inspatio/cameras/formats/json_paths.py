"""Camera paths as JSON: nerfstudio's camera_path.json and transforms.json, and ReCamMaster's camera_extrinsics.json.

What the numbers mean is said in ``conventions.py``. Sources: nerfstudio ``cameras/camera_paths.py`` and
``dataparsers/nerfstudio_dataparser.py``; ReCamMaster ``inference_recammaster.py``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.camera_path import CameraPath
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.checks import check_fov, positive_focal, rigid
from inspatio.cameras.formats.conventions import from_camera_to_world, to_camera_to_world
from inspatio.cameras.formats.lenses import (
    default_intrinsics,
    from_corner_origin,
    from_vertical_fov,
    resized,
    vertical_fov,
)
from inspatio.cameras.poses import invert
from inspatio.errors import ClipError
from inspatio.types import WorldToCamera

TRANSFORMS = "transforms.json"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        ClipError: the file cannot be read, or holds something else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ClipError(f"{path}: cannot be read as JSON ({str(error) or 'nested too deeply'})") from None
    if not isinstance(record, dict):
        raise ClipError(f"{path}: got {type(record).__name__}, expected a JSON object with cameras")
    return record


def read_nerfstudio(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read ``camera_path.json``, with the source's cameras where a ``transforms.json`` lies beside it."""
    record = read_json(path)
    frames = _list(path, record, "camera_path")
    poses = rigid(path, _rows(path, frames, "camera_to_world"))
    missing = [number for number, frame in enumerate(frames) if "fov" not in frame]
    if missing and len(missing) < len(frames):
        raise ClipError(f"{path}: camera {missing[0]} has no fov, but others have. Give all of them one, or none")
    notes, times = [], None
    if missing:
        notes.append(f"{path.name}: has no fov, so the focal length is the source's")
        intrinsics = default_intrinsics(size)
    else:
        fov = check_fov(path, np.deg2rad(_numbers(path, frames, "fov")))
        intrinsics = from_vertical_fov(fov, size)
    if any("render_time" in frame for frame in frames):
        times = _numbers(path, frames, "render_time")
        if not ((times >= 0) & (times <= 1)).all():
            raise ClipError(f"{path}: got render_time {times.min():g} to {times.max():g}, expected 0 to 1")
    source = path.with_name(TRANSFORMS)
    return CameraPath(
        Cameras.from_poses(invert(to_camera_to_world("nerfstudio", poses)), intrinsics),
        has_intrinsics=not missing,
        source_times=times,
        source=read_transforms(source, size).cameras.world_to_camera if source.is_file() else None,
        notes=tuple(notes),
    )


def write_nerfstudio(
    cameras: Cameras, size: tuple[int, int], frame_rate: Fraction, source_times: Sequence[float] | None = None
) -> str:
    """``camera_path.json``."""
    height, width = size
    poses = from_camera_to_world("nerfstudio", invert(cameras.world_to_camera))
    fov = np.rad2deg(vertical_fov(cameras.intrinsics, size))
    frames = []
    for number, (pose, angle) in enumerate(zip(poses, fov, strict=True)):
        frame = {"camera_to_world": pose.reshape(-1).tolist(), "fov": float(angle), "aspect": width / height}
        if source_times is not None:
            frame["render_time"] = float(source_times[number])
        frames.append(frame)
    record = {
        "camera_type": "perspective",
        "render_height": height,
        "render_width": width,
        "fps": float(frame_rate),
        "seconds": len(frames) / float(frame_rate),
        "is_cycle": False,
        "smoothness_value": 0,
        "keyframes": [],
        "camera_path": frames,
    }
    return json.dumps(record, indent=1) + "\n"


def read_transforms(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read ``transforms.json``: its frames in the order of their file names."""
    record = read_json(path)
    frames = sorted(_list(path, record, "frames"), key=lambda frame: _natural(str(frame.get("file_path", ""))))
    poses = rigid(path, _rows(path, frames, "transform_matrix"))
    lenses = [_lens(path, {**record, **frame}, size) for frame in frames]
    known = all(lens is not None for lens in lenses)
    intrinsics = positive_focal(path, np.array(lenses)) if known else default_intrinsics(size)
    return CameraPath(
        Cameras.from_poses(invert(to_camera_to_world("transforms", poses)), intrinsics),
        has_intrinsics=known,
        notes=() if known else (f"{path.name}: has no focal length, so it is the source's",),
    )


def write_transforms(
    cameras: Cameras,
    size: tuple[int, int],
    names: Sequence[str],
    points: str | None = None,
) -> str:
    """``transforms.json`` of frames whose images have these names; ``points`` names a point cloud in the same world."""
    height, width = size
    poses = from_camera_to_world("transforms", invert(cameras.world_to_camera))
    frames = []
    for name, matrix, pose in zip(names, cameras.intrinsics, poses, strict=True):
        frames.append(
            {
                "file_path": name,
                "fl_x": matrix[0, 0],
                "fl_y": matrix[1, 1],
                "cx": matrix[0, 2] + 0.5,
                "cy": matrix[1, 2] + 0.5,
                "w": width,
                "h": height,
                "transform_matrix": pose.tolist(),
            }
        )
    record: dict[str, Any] = {"camera_model": "PINHOLE"}
    if points is not None:
        record["ply_file_path"] = points
    return json.dumps({**record, "frames": frames}, indent=1) + "\n"


def to_z_up(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """``n 3`` points in the world of :func:`write_transforms`."""
    poses = np.tile(np.eye(4), (len(points), 1, 1))
    poses[:, :3, 3] = points
    return from_camera_to_world("transforms", poses)[:, :3, 3]


def read_recammaster(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read one camera of ``camera_extrinsics.json``; ``<file>#cam05`` names another than the first."""
    file, _, wanted = str(path).partition("#")
    path = Path(file)
    record = read_json(path)
    frames = sorted((key for key in record if key.startswith("frame")), key=_natural)
    names = sorted(record[frames[0]]) if frames and isinstance(record[frames[0]], dict) else []
    camera = wanted or next(iter(names), "")
    if camera not in names:
        raise ClipError(f"{path}: got camera {camera!r}, expected one of {', '.join(names) or 'cam01 ..'}")
    rows = []
    for frame in frames:
        text = str(record[frame].get(camera, "")) if isinstance(record[frame], dict) else ""
        try:
            row = [float(word) for word in re.sub(r"[\[\],]", " ", text).split()]
        except ValueError:
            row = []
        if len(row) != 16:
            raise ClipError(f"{path}, {frame}: got {text[:40]!r}, expected 16 numbers of {camera}")
        rows.append(row)
    matrices = np.array(rows).reshape(-1, 4, 4).swapaxes(1, 2)
    poses = to_camera_to_world("recammaster", rigid(path, matrices.reshape(-1, 16)))
    others = f" of {', '.join(names)}; for another give {path.name}#{names[-1]}" if len(names) > 1 else ""
    return CameraPath(
        Cameras.from_poses(invert(poses), default_intrinsics(size)), notes=(f"{path.name}: camera {camera}{others}",)
    )


def write_recammaster(cameras: Cameras) -> str:
    """``camera_extrinsics.json`` with one camera, cam01."""
    poses = from_camera_to_world("recammaster", invert(cameras.world_to_camera))
    record = {}
    for number, pose in enumerate(poses):
        rows = " ".join("[" + " ".join(repr(float(value)) for value in row) + "]" for row in pose.T)
        record[f"frame{number}"] = {"cam01": rows + " "}
    return json.dumps(record, indent=1) + "\n"


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _list(path: Path, record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    frames = record.get(name)
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise ClipError(f"{path}: field {name!r}: got {type(frames).__name__}, expected a list of cameras")
    return frames


def _rows(path: Path, frames: Sequence[dict[str, Any]], name: str) -> WorldToCamera:
    rows = []
    for number, frame in enumerate(frames):
        try:
            row = np.array(frame.get(name), np.float64).ravel()
        except (TypeError, ValueError):
            row = np.zeros(0)
        if len(row) not in (12, 16) or not np.isfinite(row).all():
            raise ClipError(f"{path}: {name!r} of camera {number}: expected 16 finite numbers")
        rows.append(np.concatenate([row, [0, 0, 0, 1]])[:16])
    return np.array(rows)


def _numbers(path: Path, frames: Sequence[dict[str, Any]], name: str) -> NDArray[np.float64]:
    found = []
    for number, frame in enumerate(frames):
        value = frame.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ClipError(f"{path}: {name!r} of camera {number}: got {value!r}, expected a number")
        found.append(float(value))
    return np.array(found)


def _lens(path: Path, record: dict[str, Any], size: tuple[int, int]) -> NDArray[np.float64] | None:
    """``3 3`` intrinsics of a frame of ``transforms.json``, for ``size``; None where it has none."""

    def number(name: str, otherwise: float) -> float:
        value = record.get(name, otherwise)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ClipError(f"{path}: field {name!r}: got {value!r}, expected a number")
        return float(value)

    width, height = number("w", size[1]), number("h", size[0])
    if width < 1 or height < 1:
        raise ClipError(f"{path}: got an image of {width:g}x{height:g}, expected at least one pixel")
    if "fl_x" in record:
        focal = number("fl_x", 0)
    elif "camera_angle_x" in record:
        angle = number("camera_angle_x", 0)
        focal = width / 2 / math.tan(angle / 2) if 0 < angle < math.pi else 0.0
    else:
        return None
    corner = np.array(
        [[focal, 0, number("cx", width / 2)], [0, number("fl_y", focal), number("cy", height / 2)], [0, 0, 1.0]]
    )
    return resized(from_corner_origin(corner), (round(height), round(width)), size)
