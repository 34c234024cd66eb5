"""Read and write COLMAP models (Schoenberger and Frahm, CVPR 2016): cameras and images, as text or binary.

Poses are world_to_camera with OpenCV's axes and scalar-first quaternions. The origin of pixel coordinates is the first
pixel's corner, half a pixel from this package's. Source: https://colmap.github.io/format.html.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.tables import read_lines
from inspatio.errors import ClipError
from inspatio.settings import parse_number

UNDISTORT = "run `colmap image_undistorter` and `colmap patch_match_stereo` on it, and make the clip of its images"

# In the order of COLMAP's model numbers: name, parameters in all, of those focal lengths, and whether it is a pinhole
# once its distortion is zero.
CAMERA_MODELS = (
    ("SIMPLE_PINHOLE", 3, 1, True),
    ("PINHOLE", 4, 2, True),
    ("SIMPLE_RADIAL", 4, 1, True),
    ("RADIAL", 5, 1, True),
    ("OPENCV", 8, 2, True),
    ("OPENCV_FISHEYE", 8, 2, False),
    ("FULL_OPENCV", 12, 2, True),
    ("FOV", 5, 2, False),
    ("SIMPLE_RADIAL_FISHEYE", 4, 1, False),
    ("RADIAL_FISHEYE", 5, 1, False),
    ("THIN_PRISM_FISHEYE", 12, 2, False),
)


@dataclass(frozen=True)
class Camera:
    """One COLMAP camera, in COLMAP's pixel coordinates."""

    model: str
    size: tuple[int, int]
    params: tuple[float, ...]


@dataclass(frozen=True)
class Image:
    """One registered image; ``rotation`` (w x y z) and ``translation`` take world points to camera points."""

    name: str
    camera: int
    rotation: tuple[float, ...]
    translation: tuple[float, ...]


def read_model(folder: Path) -> tuple[dict[int, Camera], list[Image]]:
    """Cameras by number, and images, of a text or binary model.

    Raises:
        ClipError: a file is cut short or not what it should be.
    """
    if (folder / "images.bin").is_file():
        return _read_binary(folder)
    return _read_text(folder)


def pinhole(model: Path, camera: Camera) -> NDArray[np.float64]:
    """The ``3 3`` intrinsics of a camera of ``model``, in COLMAP's pixel coordinates.

    Raises:
        ClipError: the camera's lens distorts.
    """
    _, count, focals, undistorted = next(entry for entry in CAMERA_MODELS if entry[0] == camera.model)
    focal, centre = camera.params[:focals], camera.params[focals : focals + 2]
    if not undistorted or any(camera.params[focals + 2 : count]):
        raise ClipError(f"{model}: camera model {camera.model} with lens distortion, expected a pinhole; {UNDISTORT}")
    return np.array([[focal[0], 0, centre[0]], [0, focal[-1], centre[1]], [0, 0, 1]])


def poses_of(images: Sequence[Image]) -> NDArray[np.float64]:
    """``n 4 4`` world_to_camera of images."""
    poses = np.tile(np.eye(4), (len(images), 1, 1))
    scalar_first = np.array([image.rotation for image in images])
    poses[:, :3, :3] = Rotation.from_quat(scalar_first, scalar_first=True).as_matrix()
    poses[:, :3, 3] = [image.translation for image in images]
    return poses


def write_model(folder: Path, cameras: Cameras, size: tuple[int, int], names: Sequence[str]) -> None:
    """Write ``cameras.txt`` and ``images.txt``: a camera of its own for every image, (height, width) ``size``."""
    height, width = size
    rotations = Rotation.from_matrix(cameras.world_to_camera[:, :3, :3]).as_quat(scalar_first=True)
    lenses, images = [], []
    for index, (matrix, pose) in enumerate(zip(cameras.intrinsics, cameras.world_to_camera, strict=True)):
        number = index + 1
        centre = f"{matrix[0, 2] + 0.5:.9g} {matrix[1, 2] + 0.5:.9g}"
        lenses.append(f"{number} PINHOLE {width} {height} {matrix[0, 0]:.9g} {matrix[1, 1]:.9g} {centre}\n")
        rigid = " ".join(f"{value:.12g}" for value in (*rotations[index], *pose[:3, 3]))
        # The second line of an image lists its key points; there are none.
        images.append(f"{number} {rigid} {number} {names[index]}\n\n")
    (folder / "cameras.txt").write_text("# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n" + "".join(lenses))
    (folder / "images.txt").write_text(
        "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then key points\n" + "".join(images)
    )


def _read_text(folder: Path) -> tuple[dict[int, Camera], list[Image]]:
    cameras: dict[int, Camera] = {}
    path = folder / "cameras.txt"
    for line, text in _lines(path):
        if not text.split():
            continue
        try:
            number, model, width, height, *params = text.split()
            cameras[_whole(number)] = _camera(
                path, model, _whole(width), _whole(height), [parse_number(p) for p in params]
            )
        except ValueError:
            raise ClipError(f"{path}, line {line}: got {text[:60]!r}, expected ID MODEL WIDTH HEIGHT PARAMS") from None
    images = []
    path = folder / "images.txt"
    lines = iter(_lines(path))
    for line, text in lines:
        if not text.split():
            continue
        try:
            _, *numbers, camera, name = text.split(maxsplit=9)
            pose = [parse_number(number) for number in numbers]
            images.append(_image(path, cameras, name, _whole(camera), pose))
        except ValueError:
            raise ClipError(
                f"{path}, line {line}: got {text[:60]!r}, expected ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            ) from None
        next(lines, None)  # the image's points; the line is there even when it is empty
    return cameras, images


def _whole(text: str) -> int:
    parse_number(text)
    return int(text)


def _lines(path: Path) -> list[tuple[int, str]]:
    lines = enumerate(read_lines(path), start=1)
    return [(number, text.strip()) for number, text in lines if not text.startswith("#")]


def _read_binary(folder: Path) -> tuple[dict[int, Camera], list[Image]]:
    path = folder / "cameras.bin"
    try:
        cameras: dict[int, Camera] = {}
        with path.open("rb") as file:
            for _ in range(_unpack(file, "<Q")[0]):
                number, model, width, height = _unpack(file, "<iiQQ")
                if not 0 <= model < len(CAMERA_MODELS):
                    raise ClipError(f"{path}: camera model number {model} is not known, expected a pinhole (0 or 1)")
                name, count, _, _ = CAMERA_MODELS[model]
                cameras[number] = _camera(path, name, width, height, list(_unpack(file, f"<{count}d")))
        images = []
        path = folder / "images.bin"
        size = path.stat().st_size
        with path.open("rb") as file:
            for _ in range(_unpack(file, "<Q")[0]):
                _, *pose, camera = _unpack(file, "<i7di")
                name = b""
                while (letter := _unpack(file, "<c")[0]) != b"\0":
                    name += letter
                points = _unpack(file, "<Q")[0]
                if points > size:
                    raise ClipError(f"{path}: got {points} points of an image in a file of {size} bytes; it is damaged")
                file.seek(points * struct.calcsize("<ddq"), 1)
                images.append(_image(path, cameras, name.decode(), camera, pose))
    except (OSError, struct.error, UnicodeDecodeError) as error:
        raise ClipError(f"{path}: not a whole COLMAP binary file ({error})") from None
    return cameras, images


def _unpack(file: BinaryIO, layout: str) -> tuple:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _camera(path: Path, model: str, width: int, height: int, params: list[float]) -> Camera:
    expected = {name: count for name, count, _, _ in CAMERA_MODELS}.get(model)
    if expected is None:
        raise ClipError(f"{path}: camera model {model} is not known, expected SIMPLE_PINHOLE or PINHOLE")
    if len(params) != expected or min(width, height) < 1 or not np.isfinite(params).all() or params[0] <= 0:
        raise ClipError(f"{path}: {model} {width}x{height} with {params}, expected {expected} positive parameters")
    return Camera(model, (height, width), tuple(params))


def _image(path: Path, cameras: dict[int, Camera], name: str, camera: int, pose: list[float]) -> Image:
    if camera not in cameras:
        raise ClipError(f"{path}: image {name} has camera {camera}, which is not among the cameras")
    if len(pose) != 7 or not np.isfinite(pose).all() or not any(pose[:4]):
        raise ClipError(f"{path}: image {name} has pose {pose}, expected a quaternion and a translation")
    return Image(name, camera, tuple(pose[:4]), tuple(pose[4:]))
