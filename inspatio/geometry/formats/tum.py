"""Import TUM RGB-D sequences (Sturm et al., IROS 2012).

    rgb.txt             time and file of each colour picture: the clip's frames
    depth.txt           time and file of each depth map: 16-bit PNG, 5000 per metre, 0 = unknown
    groundtruth.txt     time tx ty tz qx qy qz qw: camera to world
    intrinsics.txt      optional, one line: fx fy cx cy in pixels of the depth maps

Depth maps are registered to the colour pictures. Each frame takes the depth map nearest in time and the camera path
interpolated to its own time. The sequences carry no intrinsics; without ``intrinsics.txt`` the data set's
recommended ones are used (525 pixels at 640x480, principal point in the middle).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from inspatio.cameras.formats.tables import read_lines, read_numbers
from inspatio.cameras.poses import invert
from inspatio.errors import ClipError
from inspatio.geometry.formats.common import (
    ImportedGeometry,
    Maps,
    check_aspect,
)
from inspatio.geometry.formats.png import read_png
from inspatio.media import SourceInfo
from inspatio.settings import parse_number
from inspatio.types import Intrinsics, WorldToCamera

UNITS_PER_METRE = 5000.0
MAX_GAP_SECONDS = 0.05
"""A frame and its depth or pose may be this far apart in time: one and a half frames at 30 per second."""

INTRINSICS_NOTE = (
    "The sequence has no intrinsics: a focal length of 525 pixels at 640x480 was assumed; for another camera put "
    "'fx fy cx cy' in intrinsics.txt."
)


def matches(folder: Path) -> bool:
    """Whether the folder has this format's files."""
    return (folder / "depth.txt").is_file() and (folder / "groundtruth.txt").is_file()


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: a file is missing or damaged, or the geometry is not of this video.
    """
    times, _ = _read_index(folder / "rgb.txt")
    if len(times) != video.frame_count:
        raise ClipError(
            f"{folder / 'rgb.txt'}: {len(times)} pictures, but the clip has {video.frame_count} frames; "
            "expected the clip to consist of these pictures"
        )
    depth_times, depth_files = _read_index(folder / "depth.txt")
    nearest = np.abs(depth_times[None] - times[:, None]).argmin(axis=1)
    _check_gaps(folder / "depth.txt", times, depth_times[nearest])
    paths = [folder / depth_files[i] for i in nearest]
    size = _read_depth(paths[0], None).shape
    check_aspect(folder, size, video.size)
    intrinsics, notes = _intrinsics(folder, size)
    return ImportedGeometry(
        size,
        size,
        np.tile(intrinsics, (len(times), 1, 1)),
        _poses(folder / "groundtruth.txt", times),
        "metres",
        _read_maps(paths, size),
        {"format": "tum"},
        notes,
        calibrated=True,
    )


def _read_index(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Times in seconds and file names."""
    times, files = [], []
    for line, text in enumerate(read_lines(path), start=1):
        words = text.partition("#")[0].split(maxsplit=1)
        if not words:
            continue
        try:
            times.append(parse_number(words[0]))
            files.append(words[1].strip())
        except (ValueError, IndexError):
            raise ClipError(f"{path}, line {line}: got {text.strip()[:60]!r}, expected a time and a file") from None
    if not times:
        raise ClipError(f"{path}: empty, expected a time and a file on each line")
    return np.array(times), files


def _poses(path: Path, times: NDArray[np.float64]) -> WorldToCamera:
    rows = read_numbers(path, 8)
    rows = rows[np.unique(rows[:, 0], return_index=True)[1]]
    if len(rows) < 2:
        raise ClipError(f"{path}: {len(rows)} poses, expected at least two")
    _check_gaps(path, times, np.clip(times, rows[0, 0], rows[-1, 0]))
    inside = np.clip(times, rows[0, 0], rows[-1, 0])
    try:
        rotations = Rotation.from_quat(rows[:, 4:8])
    except ValueError as error:
        raise ClipError(f"{path}: {error}; expected quaternions qx qy qz qw") from None
    camera_to_world = np.tile(np.eye(4), (len(times), 1, 1))
    camera_to_world[:, :3, :3] = Slerp(rows[:, 0], rotations)(inside).as_matrix()
    for axis in range(3):
        camera_to_world[:, axis, 3] = np.interp(inside, rows[:, 0], rows[:, 1 + axis])
    return invert(camera_to_world)


def _check_gaps(path: Path, times: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    gaps = np.abs(times - found)
    worst = int(gaps.argmax())
    if gaps[worst] > MAX_GAP_SECONDS:
        raise ClipError(
            f"{path}: nothing within {MAX_GAP_SECONDS} s of picture {worst} at {times[worst]:.4f} s, "
            f"the nearest is {gaps[worst]:.3f} s away"
        )


def _intrinsics(folder: Path, size: tuple[int, ...]) -> tuple[Intrinsics, tuple[str, ...]]:
    path = folder / "intrinsics.txt"
    if path.is_file():
        rows = read_numbers(path, 4)
        if len(rows) != 1:
            raise ClipError(f"{path}: {len(rows)} lines of numbers, expected one: fx fy cx cy")
        (fx, fy, cx, cy), notes = rows[0], ()
    else:
        fx = fy = 525.0 * size[1] / 640
        cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
        notes = (INTRINSICS_NOTE,)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), notes


def _read_maps(paths: list[Path], size: tuple[int, ...]) -> Iterator[Maps]:
    for path in paths:
        yield Maps(_read_depth(path, size))


def _read_depth(path: Path, size: tuple[int, ...] | None) -> NDArray[np.float32]:
    image = read_png(path)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise ClipError(f"{path}: {image.dtype} image of shape {image.shape}, expected 16-bit grey")
    if size is not None and image.shape != size:
        raise ClipError(f"{path}: {image.shape[1]}x{image.shape[0]}, expected {size[1]}x{size[0]} like the first map")
    return (image / UNITS_PER_METRE).astype(np.float32)
