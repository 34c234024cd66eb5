"""Files of public WorldFM scenes: the cameras of a point cloud's reference pictures, and poses and intrinsics in JSON.

    transforms_condition.json    {"frames": [{"path", "c2w", "K" or "fx" "fy" "cx" "cy"}]}

Cameras have OpenCV axes and map to the world of the points; intrinsics are in pixels of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import check_rigid, orthonormalised
from inspatio.errors import ClipError
from inspatio.media.cloud_folder import read_entries


@dataclass(frozen=True)
class ReferencePicture:
    """A picture of the place: its file, intrinsics ``3 3`` in its pixels, and ``camera_to_world`` ``4 4``."""

    path: Path
    lens: NDArray[np.float64]
    camera_to_world: NDArray[np.float64]


def read_conditions(path: Path) -> list[ReferencePicture]:
    """Read a ``transforms_condition.json``: at least one picture, none of which is opened.

    Raises:
        ClipError: the file cannot be read, names no picture, or a camera is not one.
    """
    pictures = []
    for number, entry in enumerate(read_entries(path)):
        what = f"{path}: frame {number}"
        given = entry.get("K")
        if given is None:
            fx, fy, cx, cy = (entry.get(key) for key in ("fx", "fy", "cx", "cy"))
            given = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
        lens, pose = parse_lens(given, f"{what}: K"), parse_pose(entry.get("c2w"), f"{what}: c2w")[0]
        pictures.append(ReferencePicture(path.parent / entry["path"], lens, pose))
    return pictures


def parse_pose(values: Any, what: str) -> NDArray[np.float64]:
    """Poses ``n 4 4`` of nested lists: one or several matrices, 4x4 or 3x4 (the last row is then added).

    Raises:
        ClipError: another shape, or not rigid.
    """
    try:
        poses = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        poses = np.zeros(0)
    if poses.ndim == 2:
        poses = poses[None]
    if poses.ndim != 3 or poses.shape[1:] not in ((3, 4), (4, 4)) or len(poses) == 0:
        raise ClipError(f"{what}: got {_shape(values)}, expected a 4x4 or 3x4 matrix, or several")
    if poses.shape[1:] == (3, 4):
        poses = np.concatenate((poses, np.tile([[[0.0, 0.0, 0.0, 1.0]]], (len(poses), 1, 1))), axis=1)
    try:
        check_rigid(poses, what)
    except ValueError as error:
        raise ClipError(str(error)) from error
    return orthonormalised(poses)


def parse_lens(values: Any, what: str) -> NDArray[np.float64]:
    """Intrinsics ``3 3`` of nested lists.

    Raises:
        ClipError: another shape, or focal lengths that are not positive.
    """
    try:
        lens = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        lens = np.zeros(0)
    if lens.shape != (3, 3) or not np.isfinite(lens).all() or min(lens[0, 0], lens[1, 1]) <= 0:
        raise ClipError(f"{what}: got {_shape(values)}, expected a 3x3 matrix in pixels with positive focal lengths")
    return lens


def _shape(values: Any) -> str:
    try:
        return "x".join(map(str, np.shape(values))) or repr(values)[:40]
    except ValueError:
        return "rows of different lengths"
