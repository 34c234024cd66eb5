"""Import geometry folders written by the public InSpatio-World code, of both kinds.

The direct output of its Depth Anything 3 step::

    depth/0000.png      8-bit RGBA, the four bytes of a pixel are one little-endian float32 depth
    extrinsic.txt       three rows of four numbers per frame: world to camera
    intrinsic.txt       three rows of three numbers per frame

and the converted form (``vggt_depth_path`` of its ``new.json``)::

    depth/000000.png    16-bit grey, 0..65535 spread over the two depths in metadata.txt
    metadata.txt        smallest and largest depth
    extrinsics.txt      one line per frame: [[a b c d], [..], [..]], world to camera
    intrinsics.txt      one line: [[..], [..], [..]] of the first frame

Depth is in metres (nested model), maps and intrinsics are for the whole frame stretched to the map's size, and the
principal point is at half the width, where this package has (width - 1) / 2: hence the shift.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.formats.tables import read_numbers
from inspatio.cameras.poses import check_rigid, orthonormalised
from inspatio.errors import ClipError
from inspatio.geometry.formats.common import (
    ImportedGeometry,
    Maps,
    half_pixel_shifted,
    in_frame_order,
)
from inspatio.geometry.formats.png import read_png
from inspatio.media import SourceInfo
from inspatio.types import Intrinsics, WorldToCamera


def matches(folder: Path) -> bool:
    """Whether the folder has this format's files."""
    names = (("extrinsic.txt", "intrinsic.txt"), ("extrinsics.txt", "intrinsics.txt", "metadata.txt"))
    return (folder / "depth").is_dir() and any(all((folder / name).is_file() for name in kind) for kind in names)


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: a file is missing or damaged, or the geometry is not of this video.
    """
    names = [path.name for path in (folder / "depth").glob("*.png")]
    paths = [folder / "depth" / name for name in in_frame_order(names, folder, video.frame_count)]
    packed = (folder / "extrinsic.txt").is_file()
    if packed:
        world_to_camera = _poses(folder / "extrinsic.txt", read_numbers(folder / "extrinsic.txt", 4), len(paths))
        intrinsics = _stacked(folder / "intrinsic.txt", read_numbers(folder / "intrinsic.txt", 3), len(paths))
        depth_range = None
    else:
        rows = read_numbers(folder / "extrinsics.txt", 12).reshape(-1, 4)
        world_to_camera = _poses(folder / "extrinsics.txt", rows, len(paths))
        intrinsics = _stacked(folder / "intrinsics.txt", read_numbers(folder / "intrinsics.txt", 9).reshape(-1, 3), 1)
        intrinsics = np.repeat(intrinsics, len(paths), axis=0)
        depth_range = _depth_range(folder / "metadata.txt")
    size = _read_depth(paths[0], None, depth_range).shape
    return ImportedGeometry(
        size,
        size,
        half_pixel_shifted(intrinsics),
        world_to_camera,
        "metres",
        (Maps(_read_depth(path, size, depth_range)) for path in paths),
        {"format": "da3" if packed else "da3_16bit"},
    )


def _depth_range(path: Path) -> tuple[float, float]:
    numbers = read_numbers(path, 2)
    if len(numbers) != 1:
        raise ClipError(f"{path}: {len(numbers)} lines of two numbers, expected one: smallest and largest depth")
    return float(numbers[0, 0]), float(numbers[0, 1])


def _stacked(path: Path, rows: NDArray[np.float64], count: int) -> Intrinsics:
    if len(rows) != 3 * count:
        raise ClipError(f"{path}: {len(rows)} rows, expected {3 * count} (three for each of {count} frames)")
    return rows.reshape(count, 3, -1)


def _poses(path: Path, rows: NDArray[np.float64], count: int) -> WorldToCamera:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3] = _stacked(path, rows, count)
    try:
        check_rigid(poses, f"{path}: matrix")
    except ValueError as error:
        raise ClipError(str(error)) from None
    return orthonormalised(poses)


def _read_depth(
    path: Path, size: tuple[int, ...] | None, depth_range: tuple[float, float] | None
) -> NDArray[np.float32]:
    image = read_png(path)
    wanted = ((4,), np.uint8, "8-bit RGBA (packed float32)") if depth_range is None else ((), np.uint16, "16-bit grey")
    if (image.shape[2:], image.dtype) != wanted[:2]:
        raise ClipError(f"{path}: {image.dtype} image of shape {image.shape}, expected {wanted[2]}")
    if size is not None and image.shape[:2] != size:
        raise ClipError(f"{path}: {image.shape[1]}x{image.shape[0]}, expected {size[1]}x{size[0]} like the first map")
    if depth_range is None:
        return np.ascontiguousarray(image).view("<f4")[..., 0].astype(np.float32)
    low, high = depth_range
    return (image / 65535.0 * (high - low) + low).astype(np.float32)
