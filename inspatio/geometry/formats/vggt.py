"""Import the result of VGGT (Wang et al. 2025): ``predictions.npz``, as its demo writes it.

    depth       n h w 1   z-depth
    depth_conf  n h w     confidence, 1 upwards
    extrinsic   n 3 4     world to camera, OpenCV axes
    intrinsic   n 3 3     of images of the depth maps' size

The demo takes one frame a second of a video; give it the clip's frames as images to get one of each. It scales pictures
to 518 pixels of width and cuts what is higher than that, so portrait clips are refused by their shape. Depth has no
unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from inspatio.cameras.poses import check_rigid, orthonormalised
from inspatio.errors import ClipError
from inspatio.geometry.formats.common import ImportedGeometry, Maps, check_aspect
from inspatio.geometry.formats.npz import member_shape, read_member, stream_member
from inspatio.media import SourceInfo

PREDICTIONS = "predictions.npz"


def matches(folder: Path) -> bool:
    """Whether the folder has this format's file."""
    return (folder / PREDICTIONS).is_file()


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: the file is damaged or not of this video.
    """
    path = folder / PREDICTIONS
    shape = member_shape(path, "depth")
    if len(shape) != 4 or shape[3] != 1:
        raise ClipError(
            f"{path}: array 'depth' has shape {' x '.join(map(str, shape))}, expected n x height x width x 1"
        )
    count, size = shape[0], (shape[1], shape[2])
    check_aspect(folder, size, video.size)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3] = read_member(path, "extrinsic", (count, 3, 4))
    try:
        check_rigid(poses, f"{path}: extrinsic")
    except ValueError as error:
        raise ClipError(f"{error}") from None
    return ImportedGeometry(
        size,
        size,
        read_member(path, "intrinsic", (count, 3, 3)),
        orthonormalised(poses),
        "relative",
        _maps(path),
        {"format": "vggt"},
        calibrated=True,
    )


def _maps(path: Path) -> Iterator[Maps]:
    depths, confidences = stream_member(path, "depth"), stream_member(path, "depth_conf")
    for depth, confidence in zip(depths, confidences, strict=True):
        yield Maps(depth[..., 0].astype(np.float32), confidence.astype(np.float32))
