"""Import COLMAP dense workspaces (Schoenberger and Frahm, CVPR 2016): a text or binary model and dense depth maps.

    sparse/{cameras,images}.{bin,txt}                 the model; also sparse/0/ or the folder itself
    stereo/depth_maps/<image>.geometric.bin           or .photometric.bin: depth maps of patch-match stereo

also one level down in ``dense/``. A model without depth maps is refused: interpolating a few thousand sparse points is
worse than a prior, and moving objects have no points at all. Images are matched to the clip's frames by the
last number in their names. COLMAP's pixel origin is the first pixel's corner, hence the shift by half a pixel. Its
scale is arbitrary: the geometry is ``relative``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.errors import ClipError
from inspatio.geometry.formats.common import (
    ImportedGeometry,
    Maps,
    check_aspect,
    half_pixel_shifted,
    in_frame_order,
    read_lines,
)
from inspatio.media import VideoInfo
from inspatio.settings import parse_number

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
KINDS = ("geometric", "photometric")
_UNDISTORT = "run `colmap image_undistorter` and `colmap patch_match_stereo` on it, and make the clip of its images"


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


def matches(folder: Path) -> bool:
    """Whether the folder has this format's files."""
    return any(_model_folder(root) is not None for root in _roots(folder))


def open_folder(folder: Path, video: VideoInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: a file is missing or damaged, or the geometry is not of this video.
    """
    root = next((root for root in _roots(folder) if (root / "stereo" / "depth_maps").is_dir()), None)
    model = None if root is None else _model_folder(root)
    if root is None or model is None:
        raise ClipError(
            f"{folder}: a COLMAP model without dense depth maps (stereo/depth_maps/*.bin); {_UNDISTORT}, "
            "or choose --geometry da3"
        )
    cameras, images = read_model(model)
    by_name = {image.name: image for image in images}
    ordered = [by_name[name] for name in in_frame_order(list(by_name), model, video.frame_count)]
    size = _common_size(model, [cameras[image.camera] for image in ordered])
    check_aspect(folder, size, video.size)
    paths = _depth_paths(root / "stereo" / "depth_maps", [image.name for image in ordered])
    depth_size = _read_depth(paths[0]).shape
    check_aspect(paths[0], depth_size, size)
    world_to_camera = np.tile(np.eye(4), (len(ordered), 1, 1))
    scalar_first = np.array([image.rotation for image in ordered])
    world_to_camera[:, :3, :3] = Rotation.from_quat(scalar_first[:, [1, 2, 3, 0]]).as_matrix()
    world_to_camera[:, :3, 3] = [image.translation for image in ordered]
    matrices = {number: _intrinsics(model, camera) for number, camera in cameras.items()}
    return ImportedGeometry(
        size,
        depth_size,
        half_pixel_shifted(np.stack([matrices[image.camera] for image in ordered])),
        world_to_camera,
        "relative",
        _read_maps(paths, depth_size),
        {"format": "colmap", "depth_maps": paths[0].suffixes[-2].lstrip(".")},
    )


def read_model(folder: Path) -> tuple[dict[int, Camera], list[Image]]:
    """Cameras by number, and images, of a text or binary model.

    Raises:
        ClipError: a file is cut short or not what it should be.
    """
    if (folder / "images.bin").is_file():
        return _read_binary(folder)
    return _read_text(folder)


def _roots(folder: Path) -> tuple[Path, ...]:
    return folder, folder / "dense", folder / "dense" / "0"


def _model_folder(root: Path) -> Path | None:
    for folder in (root / "sparse", root / "sparse" / "0", root):
        if any(
            all((folder / f"{name}{kind}").is_file() for name in ("cameras", "images")) for kind in (".bin", ".txt")
        ):
            return folder
    return None


def _common_size(model: Path, cameras: list[Camera]) -> tuple[int, int]:
    sizes = {camera.size for camera in cameras}
    if len(sizes) > 1:
        raise ClipError(f"{model}: images of {len(sizes)} sizes, expected one: the clip's frames")
    return sizes.pop()


def _intrinsics(model: Path, camera: Camera) -> NDArray[np.float64]:
    _, count, focals, pinhole = next(entry for entry in CAMERA_MODELS if entry[0] == camera.model)
    focal, centre = camera.params[:focals], camera.params[focals : focals + 2]
    if not pinhole or any(camera.params[focals + 2 : count]):
        raise ClipError(f"{model}: camera model {camera.model} with lens distortion, expected a pinhole; {_UNDISTORT}")
    return np.array([[focal[0], 0, centre[0]], [0, focal[-1], centre[1]], [0, 0, 1]])


def _depth_paths(folder: Path, names: list[str]) -> list[Path]:
    """The maps of one kind for all images: geometric (checked between views) where complete, else photometric."""
    missing: list[Path] = []
    for kind in KINDS:
        paths = [folder / f"{name}.{kind}.bin" for name in names]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return paths
    raise ClipError(f"{missing[0]}: no such depth map ({len(missing)} of {len(names)} are missing); {_UNDISTORT}")


def _read_maps(paths: list[Path], size: tuple[int, ...]) -> Iterator[Maps]:
    for path in paths:
        depth = _read_depth(path)
        if depth.shape != size:
            raise ClipError(
                f"{path}: {depth.shape[1]}x{depth.shape[0]}, expected {size[1]}x{size[0]} like the first map"
            )
        yield Maps(depth)


def _read_depth(path: Path) -> NDArray[np.float32]:
    """``width&height&channels&`` in letters, then float32 row by row."""
    data = path.read_bytes()
    fields = data.split(b"&", 3)
    try:
        width, height, channels = (int(field) for field in fields[:3])
        values = np.frombuffer(fields[3], "<f4")
    except (ValueError, IndexError):
        raise ClipError(f"{path}: not a COLMAP depth map, expected 'width&height&1&' and float32 values") from None
    if channels != 1 or values.size != width * height or values.size == 0:
        raise ClipError(f"{path}: {values.size} values, expected {width} x {height} of one channel (cut short?)")
    return values.reshape(height, width)


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
