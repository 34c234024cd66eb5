"""Import the result of MegaSaM (Li et al. 2024): ``<name>_sgd_cvd_hr.npz``, as its last step writes it.

    images      n h w 3   the frames, at the size of the depth maps
    depths      n h w     z-depth, 0.001 to 100
    intrinsic   3 3       of these images
    cam_c2w     n 4 4     camera to world, OpenCV axes

Depth has the scale of the network that it started from, which is near metres but not held to them: ``relative``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from inspatio.cameras.poses import check_rigid, invert, orthonormalised
from inspatio.errors import ClipError
from inspatio.geometry.formats.common import ImportedGeometry, Maps, check_aspect
from inspatio.geometry.formats.npz import member_shape, read_member, stream_member
from inspatio.media import SourceInfo

_ENDING = "_sgd_cvd_hr.npz"


def matches(folder: Path) -> bool:
    """Whether the folder has this format's file."""
    return any(path.name.endswith(_ENDING.lstrip("_")) for path in folder.glob("*.npz"))


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: the file is damaged, there are several, or it is not of this video.
    """
    files = [path for path in sorted(folder.glob("*.npz")) if path.name.endswith(_ENDING.lstrip("_"))]
    if len(files) != 1:
        raise ClipError(f"{folder}: {len(files)} files named *{_ENDING}, expected one. Keep the clip's own")
    path = files[0]
    count, height, width = _map_shape(path)
    check_aspect(folder, (height, width), video.size)
    poses = read_member(path, "cam_c2w", (count, 4, 4))
    try:
        check_rigid(poses, f"{path}: cam_c2w")
    except ValueError as error:
        raise ClipError(f"{error}") from None
    return ImportedGeometry(
        (height, width),
        (height, width),
        np.tile(read_member(path, "intrinsic", (3, 3)), (count, 1, 1)),
        invert(orthonormalised(poses)),
        "relative",
        _maps(path),
        {"format": "megasam"},
        calibrated=True,
    )


def _map_shape(path: Path) -> tuple[int, int, int]:
    shape = member_shape(path, "depths")
    if len(shape) != 3:
        raise ClipError(f"{path}: array 'depths' has {len(shape)} axes, expected n x height x width")
    return shape[0], shape[1], shape[2]


def _maps(path: Path) -> Iterator[Maps]:
    for depth in stream_member(path, "depths"):
        yield Maps(depth.astype(np.float32))
