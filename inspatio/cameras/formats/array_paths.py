"""Camera paths as numpy arrays: LingBot-World's folder of .npy files and Lyra 2's .npz.

What the numbers mean is said in ``conventions.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.camera_path import CameraPath
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.checks import positive_focal, rigid
from inspatio.cameras.formats.conventions import from_camera_to_world, to_camera_to_world
from inspatio.cameras.formats.lenses import default_intrinsics, resized
from inspatio.cameras.poses import invert
from inspatio.errors import ClipError
from inspatio.storage import DAMAGED_ARRAYS

POSES, INTRINSICS = "poses.npy", "intrinsics.npy"
_LINGBOT_SIZE = (480, 832)
"""(height, width) of the pixels that LingBot-World's intrinsics are in."""


def read_lingbot(folder: Path, size: tuple[int, int]) -> CameraPath:
    """Read a folder with ``poses.npy`` (n 4 4) and, where it is there, ``intrinsics.npy`` (n 4: fx fy cx cy)."""
    poses = _matrices(folder / POSES, _array(folder / POSES))
    world_to_camera = invert(to_camera_to_world("lingbot", poses))
    path = folder / INTRINSICS
    if not path.is_file():
        return CameraPath(Cameras.from_poses(world_to_camera, default_intrinsics(size)))
    values = _array(path)
    if values.shape != (len(poses), 4):
        raise ClipError(f"{path}: got shape {values.shape}, expected ({len(poses)}, 4): fx fy cx cy")
    matrices = np.tile(np.eye(3), (len(values), 1, 1))
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2] = values.T
    intrinsics = positive_focal(path, resized(matrices, _LINGBOT_SIZE, size))
    return CameraPath(Cameras(intrinsics, world_to_camera), has_intrinsics=True)


def write_lingbot(folder: Path, cameras: Cameras, size: tuple[int, int]) -> None:
    """Write ``poses.npy`` and ``intrinsics.npy`` into a folder."""
    np.save(folder / POSES, from_camera_to_world("lingbot", invert(cameras.world_to_camera)))
    matrices = resized(cameras.intrinsics, size, _LINGBOT_SIZE)
    values = [matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2]]
    np.save(folder / INTRINSICS, np.stack(values, axis=1))


def read_lyra(path: Path, size: tuple[int, int]) -> CameraPath:
    """Read an .npz with ``w2c`` (n 4 4), ``K`` (n 3 3 or 3 3), ``h`` and ``w``."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in ("w2c", "K", "h", "w") if name in file.files}
    except DAMAGED_ARRAYS as error:
        raise ClipError(f"{path}: cannot be read as .npz ({error})") from None
    missing = {"w2c", "K", "h", "w"} - set(found)
    if missing:
        raise ClipError(f"{path}: has no {', '.join(sorted(missing))}, expected w2c, K, h and w")
    poses = _matrices(path, found["w2c"])
    height, width = int(found["h"].flat[0]), int(found["w"].flat[0])
    if (
        height < 1
        or width < 1
        or found["K"].shape[-2:] != (3, 3)
        or len(found["K"].reshape(-1, 3, 3))
        not in (
            1,
            len(poses),
        )
    ):
        raise ClipError(f"{path}: got K {found['K'].shape} for {width}x{height}, expected {len(poses)} or 1 of 3x3")
    matrices = np.broadcast_to(found["K"].reshape(-1, 3, 3).astype(np.float64), (len(poses), 3, 3))
    intrinsics = positive_focal(path, resized(matrices, (height, width), size))
    return CameraPath(Cameras(intrinsics, invert(to_camera_to_world("lyra", poses))), has_intrinsics=True)


def write_lyra(path: Path, cameras: Cameras, size: tuple[int, int]) -> None:
    """Write an .npz with ``w2c``, ``K``, ``h`` and ``w``."""
    poses = from_camera_to_world("lyra", invert(cameras.world_to_camera))
    with path.open("wb") as file:
        np.savez(file, w2c=poses, K=cameras.intrinsics, h=np.int64(size[0]), w=np.int64(size[1]))


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
