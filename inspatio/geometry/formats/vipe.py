"""Import the results of ViPE (Huang et al. 2025): a folder with one file of each kind for the clip.

    pose/<name>.npz          data n 4 4 camera to world (OpenCV axes), inds n frame numbers
    intrinsics/<name>.npz    data n 4 fx fy cx cy in pixels of the video, inds n
    intrinsics/<name>_camera.txt    optional: `frame: PINHOLE` on each line; other cameras are refused
    depth/<name>.zip         00000.exr ...: z-depth in metres, half floats in channel Z; NaN = unknown

Rays go through whole pixel coordinates, as here. Versions that pack depth in another way are not read.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.formats.tables import read_lines
from inspatio.cameras.poses import check_rigid, invert, orthonormalised
from inspatio.errors import ClipError
from inspatio.geometry.formats.common import (
    ImportedGeometry,
    Maps,
    check_aspect,
    in_frame_order,
)
from inspatio.geometry.formats.exr import read_exr
from inspatio.geometry.formats.npz import read_member
from inspatio.media import SourceInfo
from inspatio.storage import DAMAGED_ARRAYS
from inspatio.types import Intrinsics

CHANNEL = "Z"


def matches(folder: Path) -> bool:
    """Whether the folder has this format's files."""
    return all(any((folder / kind).glob(f"*{end}")) for kind, end in (("pose", ".npz"), ("depth", ".zip")))


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily; with several clips in it, the one of the video's name.

    Raises:
        ClipError: a file is missing or damaged, or the geometry is not of this video.
    """
    names = [path.stem for path in sorted((folder / "pose").glob("*.npz"))]
    name = names[0] if len(names) == 1 else video.path.stem
    if name not in names:
        raise ClipError(f"{folder / 'pose'}: clips {', '.join(names[:4])}, expected {name}.npz (the video's name)")
    depths = folder / "depth" / f"{name}.zip"
    try:
        with zipfile.ZipFile(depths) as archive:
            files = in_frame_order(archive.namelist(), depths, video.frame_count)
    except (OSError, zipfile.BadZipFile) as error:
        raise ClipError(f"{depths}: not a readable archive ({error}); expected one depth map a frame") from None
    size = _depth(depths, files[0]).shape
    check_aspect(folder, (size[0], size[1]), video.size)
    poses = _of_all_frames(folder / "pose" / f"{name}.npz", (4, 4), len(files))
    try:
        check_rigid(poses, f"{folder / 'pose'}: pose")
    except ValueError as error:
        raise ClipError(f"{error}") from None
    return ImportedGeometry(
        video.size,
        (size[0], size[1]),
        _intrinsics(folder / "intrinsics", name, len(files)),
        invert(orthonormalised(poses)),
        "metres",
        (Maps(_depth(depths, file)) for file in files),
        {"format": "vipe"},
        calibrated=True,
    )


def _of_all_frames(path: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """The array ``data`` of a file, which must have the frames 0 .. count - 1 in order."""
    frames = read_member(path, "inds", (None,))
    if not np.array_equal(frames, np.arange(count)):
        raise ClipError(f"{path}: {len(frames)} frames, expected 0 to {count - 1} in order. Run ViPE on the whole clip")
    return read_member(path, "data", (count, *shape))


def _intrinsics(folder: Path, name: str, count: int) -> Intrinsics:
    kinds = folder / f"{name}_camera.txt"
    if kinds.is_file():
        others = {line.partition(":")[2].strip() for line in read_lines(kinds) if line.strip()} - {"PINHOLE"}
        if others:
            raise ClipError(f"{kinds}: camera {', '.join(sorted(others))}, expected PINHOLE. Run ViPE with that camera")
    rows = _of_all_frames(folder / f"{name}.npz", (4,), count)
    matrices = np.tile(np.eye(3), (count, 1, 1))
    matrices[:, [0, 1, 0, 1], [0, 1, 2, 2]] = rows
    return matrices


def _depth(archive: Path, file: str) -> NDArray[np.float32]:
    try:
        with zipfile.ZipFile(archive) as opened:
            return read_exr(opened.read(file), CHANNEL).astype(np.float32)
    except DAMAGED_ARRAYS as error:
        raise ClipError(f"{archive}: {file} is not a depth map ({error})") from None
