"""Import the geometry of scene folders of InSpatio-World 1.5 (``media/scene_folder.py`` has the rest of them).

    depth/depth.png             one view: 16-bit grey; depth_00.png .. for several views, or
    depth/depth.mp4             a video's frames: lossless RGB, red the high byte and green the low one
    depth/metadata.txt          smallest and largest depth; a depth is min + value / 65535 (max - min), 0 is unknown
    depth/source_intrinsics.txt 9 numbers a view or frame, for pictures of ``resolution``
    depth/source_tcw.txt        16 numbers a view or frame: world to camera, OpenCV axes

Pixel centres are at integers, as the public renderer has them; a principal point off the centre is the calibration's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.formats.tables import read_numbers
from inspatio.cameras.poses import check_rigid, orthonormalised
from inspatio.errors import ClipError
from inspatio.geometry.formats.common import ImportedGeometry, Maps
from inspatio.geometry.formats.png import read_png
from inspatio.geometry.store import VALID_FRAMES
from inspatio.media import SourceInfo, VideoReader
from inspatio.media.listing import SCENE_FILE
from inspatio.media.scene_folder import SceneFile, read_scene_file

DEPTH_VIDEO = "depth/depth.mp4"
RANGE_FILE = "depth/metadata.txt"
INTRINSICS_FILE = "depth/source_intrinsics.txt"
POSES_FILE = "depth/source_tcw.txt"
LEVELS = 65535
SAME_WORLD = 1e-4


def matches(folder: Path) -> bool:
    """Whether the folder is a scene folder with geometry."""
    return (folder / SCENE_FILE).is_file() and (folder / RANGE_FILE).is_file()


def depth_names(views: int) -> list[str]:
    """The depth pictures of a scene of ``views`` images."""
    return ["depth/depth.png"] if views == 1 else [f"depth/depth_{index:02d}.png" for index in range(views)]


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: a file is missing, shorter than the scene, or damaged.
    """
    scene = read_scene_file(folder)
    if video.frame_count != scene.views:
        raise ClipError(f"{folder}: a scene of {scene.views} views, but {video.path.name} has {video.frame_count}")
    intrinsics = _rows(folder / INTRINSICS_FILE, 9, scene.views).reshape(-1, 3, 3)
    poses = _rows(folder / POSES_FILE, 16, scene.views).reshape(-1, 4, 4)
    try:
        check_rigid(poses, f"{folder / POSES_FILE}: matrix")
    except ValueError as error:
        raise ClipError(str(error)) from None
    notes = ()
    if np.abs(poses[0] - np.eye(4)).max() > SAME_WORLD:
        notes = (
            f"The world of {folder.name} is not its first camera; paths are read in that of the first camera, so "
            "target_tcw.txt fits only if it is relative to it.",
        )
    names = depth_names(scene.views) if scene.kind == "image" else [DEPTH_VIDEO]
    for name in names:
        if not (folder / name).is_file():
            raise ClipError(f"{folder / name}: no such file, expected the depth of {scene.views} views or frames")
    return ImportedGeometry(
        scene.size,
        scene.size,
        intrinsics,
        orthonormalised(poses),
        "metres",
        _maps(scene, names),
        {"format": "v15"} | ({VALID_FRAMES: scene.valid_frames} if scene.kind == "video" else {}),
        notes,
        calibrated=True,
    )


def _maps(scene: SceneFile, names: list[str]) -> Iterator[Maps]:
    low, high = _rows(scene.folder / RANGE_FILE, 2, 1)[0].tolist()
    if scene.kind == "image":
        for name in names:
            values = read_png(scene.folder / name)
            if values.dtype != np.uint16 or values.shape != scene.size:
                raise ClipError(
                    f"{scene.folder / name}: {values.dtype} of shape {values.shape}, expected 16-bit grey of "
                    f"{scene.size[1]}x{scene.size[0]}"
                )
            yield Maps(_depth(values, low, high))
        return
    with VideoReader(scene.folder / DEPTH_VIDEO) as reader:
        if len(reader) != scene.views or reader.info.size != scene.size:
            height, width = reader.info.size
            raise ClipError(
                f"{scene.folder / DEPTH_VIDEO}: {len(reader)} frames of {width}x{height}, expected {scene.views} of "
                f"{scene.size[1]}x{scene.size[0]}"
            )
        for index in range(scene.views):
            frame = reader.read([index])[0].astype(np.uint16)
            yield Maps(_depth(frame[..., 0] << 8 | frame[..., 1], low, high))


def _depth(values: NDArray[np.uint16], low: float, high: float) -> NDArray[np.float32]:
    return (low + values / LEVELS * (high - low)).astype(np.float32)


def _rows(path: Path, columns: int, count: int) -> NDArray[np.float64]:
    """A text file of ``count`` rows of numbers."""
    if not path.is_file():
        raise ClipError(f"{path}: no such file, expected {count} lines of {columns} numbers")
    rows = read_numbers(path, columns)
    if len(rows) != count:
        raise ClipError(f"{path}: {len(rows)} lines, expected {count}, one for each view or frame")
    return rows
