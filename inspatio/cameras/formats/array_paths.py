"""Camera paths as numpy arrays: LingBot-World's folder of .npy files and Lyra 2's .npz.

What the numbers mean is said in ``conventions.py``. Sources: LingBot-World ``wan/image2video.py`` and
``wan/utils/cam_utils.py``; Lyra ``lyra_2/_src/inference/lyra2_custom_traj_inference.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.camera_path import CameraPath
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.checks import positive_focal, rigid
from inspatio.cameras.formats.conventions import from_camera_to_world, to_camera_to_world
from inspatio.cameras.formats.lenses import default_intrinsics, from_corner_origin, resized, to_corner_origin
from inspatio.cameras.poses import invert
from inspatio.errors import ClipError
from inspatio.storage import DAMAGED_ARRAYS

POSES, INTRINSICS = "poses.npy", "intrinsics.npy"
_LINGBOT_SIZE = (480, 832)
"""(height, width) of the pixels that LingBot-World's intrinsics are in."""
_LYRA_FIELDS = ("w2c", "intrinsics", "image_height", "image_width")


def read_lingbot(folder: Path, size: tuple[int, int]) -> CameraPath:
    """Read a folder with ``poses.npy`` (n 4 4) and, where it is there, ``intrinsics.npy`` (n 4: fx fy cx cy)."""
    poses = _matrices(folder / POSES, _array(folder / POSES))
    world_to_camera = invert(to_camera_to_world("lingbot", poses))
    notes = (f"{folder.name}: LingBot-World takes lengths in any unit; path(.., scale=..) brings them to the scene's",)
    path = folder / INTRINSICS
    if not path.is_file():
        return CameraPath(Cameras.from_poses(world_to_camera, default_intrinsics(size)), notes=notes)
    values = _array(path)
    if values.shape != (len(poses), 4):
        raise ClipError(f"{path}: got shape {values.shape}, expected ({len(poses)}, 4): fx fy cx cy")
    matrices = np.tile(np.eye(3), (len(values), 1, 1))
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2] = values.T
    intrinsics = positive_focal(path, resized(from_corner_origin(matrices), _LINGBOT_SIZE, size))
    return CameraPath(Cameras(intrinsics, world_to_camera), has_intrinsics=True, notes=notes)


def write_lingbot(folder: Path, cameras: Cameras, size: tuple[int, int]) -> None:
    """Write ``poses.npy`` and ``intrinsics.npy`` into a folder."""
    np.save(folder / POSES, from_camera_to_world("lingbot", invert(cameras.world_to_camera)))
    matrices = to_corner_origin(resized(cameras.intrinsics, size, _LINGBOT_SIZE))
    values = [matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2]]
    np.save(folder / INTRINSICS, np.stack(values, axis=1))


def read_lyra(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read an .npz with ``w2c`` (n 4 4), ``intrinsics`` (n 3 3), ``image_height`` and ``image_width``."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in _LYRA_FIELDS if name in file.files}
    except DAMAGED_ARRAYS as error:
        raise ClipError(f"{path}: cannot be read as .npz ({error})") from None
    missing = [name for name in _LYRA_FIELDS if name not in found]
    if missing:
        raise ClipError(f"{path}: has no {', '.join(missing)}, expected {', '.join(_LYRA_FIELDS)}")
    poses, matrices = _matrices(path, found["w2c"]), found["intrinsics"]
    height, width = (int(found[name].flat[0]) if found[name].size == 1 else 0 for name in _LYRA_FIELDS[2:])
    if min(height, width) < 1 or matrices.shape != (len(poses), 3, 3) or matrices.dtype.kind not in "fiu":
        raise ClipError(
            f"{path}: got intrinsics {matrices.shape} for {width}x{height}, expected ({len(poses)}, 3, 3) and a size"
        )
    lenses = from_corner_origin(matrices.astype(np.float64))
    intrinsics = positive_focal(path, resized(lenses, (height, width), size))
    return CameraPath(Cameras(intrinsics, invert(to_camera_to_world("lyra", poses))), has_intrinsics=True)


def write_lyra(path: Path, cameras: Cameras, size: tuple[int, int]) -> None:
    """Write an .npz with ``w2c``, ``intrinsics``, ``image_height`` and ``image_width``."""
    poses = from_camera_to_world("lyra", invert(cameras.world_to_camera))
    values = (poses, to_corner_origin(cameras.intrinsics), np.int64(size[0]), np.int64(size[1]))
    with path.open("wb") as file:
        np.savez(file, **dict(zip(_LYRA_FIELDS, values, strict=True)))


def _array(path: Path) -> NDArray[np.float64]:
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
            raise ValueError("not an array of numbers")
    except DAMAGED_ARRAYS as error:
        raise ClipError(f"{path}: cannot be read as .npy ({error})") from None
    return values.astype(np.float64)


def _matrices(path: Path, values: NDArray) -> NDArray[np.float64]:
    if values.ndim != 3 or values.shape[1:] not in ((4, 4), (3, 4)) or values.dtype.kind not in "fiu":
        raise ClipError(f"{path}: got poses {values.shape}, expected (n, 4, 4)")
    return rigid(path, values.astype(np.float64).reshape(len(values), -1))
