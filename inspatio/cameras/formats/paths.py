"""Camera paths of other programs, one camera a frame: read and write each format.

    cameras = read_path(Path("poses.txt"), size)         recognised by content
    write_path(Path("poses.txt"), cameras, size, "tum")

==============  ===================  ==============================  =========================================
format          poses                rotation                        intrinsics
==============  ===================  ==============================  =========================================
``inspatio``    world_to_camera      4x4                             pixels, centres at integers (cameras.json)
``re10k``       world_to_camera      3x4                             divided by width and height, corner origin
``tum``         camera_to_world      quaternion, scalar last         none
``kitti``       camera_to_world      3x4                             none
``tcw``         world_to_camera      4x4                             none
``colmap``      world_to_camera      quaternion, scalar first        pixels, corner origin
==============  ===================  ==============================  =========================================

All have OpenCV's axes (x right, y down, z forward). ``re10k`` is RealEstate10K's: a line with the video's address, then
per frame the time in microseconds, fx fy cx cy, two zeros, and 12 numbers. ``tum``: time, translation, quaternion.
``kitti``: 12 numbers. ``tcw``: 16 numbers, ``target_tcw.txt`` of InSpatio-World 1.5. ``colmap``: a folder with a model.
Where a format has no intrinsics, those given stand for all frames. Poses stay in the file's world and scale.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.colmap_model import pinhole, poses_of, read_model, write_model
from inspatio.cameras.formats.tables import read_lines, read_numbers
from inspatio.cameras.poses import check_rigid, compose, invert, orthonormalised
from inspatio.errors import ClipError
from inspatio.settings import parse_number
from inspatio.storage import write_text
from inspatio.types import CameraToWorld, Intrinsics, WorldToCamera

PathFormat = Literal["inspatio", "re10k", "tum", "kitti", "tcw", "colmap"]
_COLUMNS: dict[int, PathFormat] = {19: "re10k", 8: "tum", 12: "kitti", 16: "tcw"}
_FRAME_RATE = Fraction(25)
"""For formats with times, where nobody says another."""


def read_path(path: Path, size: tuple[int, int], intrinsics: Intrinsics | None = None) -> Cameras:
    """Read a camera path for frames of (height, width) ``size``.

    Args:
        path: a file, or a folder with a COLMAP model.
        size: the frames that the intrinsics shall be for; those of a file are scaled to it.
        intrinsics: ``3 3``, for formats that have none; None: half the width as focal length and a central axis.

    Raises:
        ClipError: the file cannot be read, is of no known format, or holds a matrix that is not rigid.
    """
    found = recognise(path)
    if intrinsics is None:
        height, width = size
        intrinsics = np.array([[width / 2, 0, (width - 1) / 2], [0, width / 2, (height - 1) / 2], [0, 0, 1.0]])
    match found:
        case "inspatio":
            file = CameraFile.load(path, "Give a cameras.json of this project.")
            return Cameras(_resized(file.intrinsics, file.image_size, size), file.world_to_camera)
        case "colmap":
            return _read_colmap(path, size)
        case "re10k":
            return _read_re10k(path, size)
        case "tum":
            return Cameras.from_poses(invert(_read_tum(path)), intrinsics)
        case "kitti":
            return Cameras.from_poses(invert(_rigid(path, read_numbers(path, 12))), intrinsics)
        case "tcw":
            return Cameras.from_poses(_rigid(path, read_numbers(path, 16)), intrinsics)


def write_path(
    path: Path, cameras: Cameras, size: tuple[int, int], kind: PathFormat, frame_rate: Fraction = _FRAME_RATE
) -> None:
    """Write a camera path of frames of (height, width) ``size``; ``path`` is a folder for ``colmap``."""
    height, width = size
    camera_to_world = invert(cameras.world_to_camera)
    times = [float(index / frame_rate) for index in range(len(cameras))]
    match kind:
        case "inspatio":
            CameraFile(size, cameras.intrinsics, cameras.world_to_camera, "relative", frame_rate=frame_rate).save(path)
        case "colmap":
            path.mkdir(parents=True, exist_ok=True)
            write_model(path, cameras, size, [f"{index:06d}.png" for index in range(len(cameras))])
        case "re10k":
            scale = np.array([width, height, width, height])
            lines = ["about:blank"]
            for time, matrix, pose in zip(times, cameras.intrinsics, cameras.world_to_camera, strict=True):
                lens = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5]) / scale
                lines.append(f"{round(1e6 * time)} {_spell(lens)} 0 0 {_spell(pose[:3])}")
            write_text(path, "\n".join(lines) + "\n")
        case "tum":
            quaternions = Rotation.from_matrix(camera_to_world[:, :3, :3]).as_quat()
            rows = zip(times, camera_to_world[:, :3, 3], quaternions, strict=True)
            write_text(path, "".join(f"{time:.6f} {_spell(t)} {_spell(q)}\n" for time, t, q in rows))
        case "kitti":
            write_text(path, "".join(f"{_spell(pose[:3])}\n" for pose in camera_to_world))
        case "tcw":
            write_text(path, "".join(f"{_spell(pose)}\n" for pose in cameras.world_to_camera))


def recognise(path: Path) -> PathFormat:
    """The format of a file or folder, by its content.

    Raises:
        ClipError: it is of none of them.
    """
    if path.is_dir():
        return "colmap"
    if path.suffix == ".json":
        return "inspatio"
    rows = [line.partition("#")[0].split() for line in read_lines(path)]
    rows = [row for row in rows if row]
    if len(rows) > 1 and len(rows[0]) == 1 and len(rows[1]) == 19:
        return "re10k"
    found = _COLUMNS.get(len(rows[0])) if rows else None
    if found is None:
        raise ClipError(
            f"{path}: not a camera path: got {len(rows[0]) if rows else 0} numbers in its first line, expected one of "
            f"{', '.join(get_args(PathFormat))}. See docs/formats.md"
        )
    return found


def _read_re10k(path: Path, size: tuple[int, int]) -> Cameras:
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
    return Cameras(intrinsics, _rigid(path, values[:, 7:]))


def _read_tum(path: Path) -> CameraToWorld:
    rows = read_numbers(path, 8)
    if not np.linalg.norm(rows[:, 4:], axis=1).all():
        raise ClipError(f"{path}: got a quaternion of length 0, expected qx qy qz qw")
    return compose(Rotation.from_quat(rows[:, 4:]).as_matrix(), rows[:, 1:4])


def _read_colmap(folder: Path, size: tuple[int, int]) -> Cameras:
    model = next((each for each in (folder, folder / "sparse", folder / "sparse/0") if _is_model(each)), None)
    if model is None:
        raise ClipError(f"{folder}: got no COLMAP model, expected cameras and images (.bin or .txt)")
    cameras, images = read_model(model)
    images = sorted(images, key=lambda image: image.name)
    lenses = [_resized(_centred(pinhole(model, cameras[i.camera])), cameras[i.camera].size, size) for i in images]
    return Cameras(np.array(lenses).reshape(-1, 3, 3), poses_of(images))


def _is_model(folder: Path) -> bool:
    return any(all((folder / f"{name}{end}").is_file() for name in ("cameras", "images")) for end in (".bin", ".txt"))


def _centred(intrinsics: Intrinsics) -> Intrinsics:
    """``3 3`` with the origin of pixels moved from the first pixel's corner to its centre."""
    return intrinsics - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def _resized(intrinsics: Intrinsics, size: tuple[int, int], wanted: tuple[int, int]) -> Intrinsics:
    """``... 3 3`` intrinsics of frames of ``size`` for the same frames resized to ``wanted`` (height, width)."""
    y, x = wanted[0] / size[0], wanted[1] / size[1]
    return np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]]) @ intrinsics


def _rigid(path: Path, rows: NDArray[np.float64]) -> WorldToCamera:
    """``n 4 4`` from rows of 12 or 16 numbers, in the file's direction; rounded rotations are made exact."""
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices.reshape(len(rows), 16)[:, : rows.shape[1]] = rows
    try:
        check_rigid(matrices, f"{path}: the matrix")
    except ValueError as error:
        raise ClipError(f"{error}. Check the format") from None
    return orthonormalised(matrices)


def _spell(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.12g}" for value in np.ravel(values))
