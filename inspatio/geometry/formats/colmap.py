"""Import COLMAP dense workspaces (Schoenberger and Frahm, CVPR 2016): a text or binary model and dense depth maps.

    sparse/{cameras,images}.{bin,txt}                 the model; also sparse/0/ or the folder itself
    stereo/depth_maps/<image>.geometric.bin           or .photometric.bin: depth maps of patch-match stereo

also one level down in ``dense/``. A model without depth maps is refused: interpolating a few thousand sparse points is
worse than a prior, and moving objects have no points at all. Images are matched to the clip's frames by the
last number in their names. COLMAP's pixel origin is the first pixel's corner, hence the shift by half a pixel. Its
scale is arbitrary: the geometry is ``relative``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.formats.colmap_model import UNDISTORT, Camera, pinhole, poses_of, read_model
from inspatio.errors import ClipError
from inspatio.geometry.formats.common import (
    ImportedGeometry,
    Maps,
    check_aspect,
    half_pixel_shifted,
    in_frame_order,
)
from inspatio.media import SourceInfo

KINDS = ("geometric", "photometric")


def matches(folder: Path) -> bool:
    """Whether the folder has this format's files."""
    return any(_model_folder(root) is not None for root in _roots(folder))


def open_folder(folder: Path, video: SourceInfo) -> ImportedGeometry:
    """Open the folder lazily.

    Raises:
        ClipError: a file is missing or damaged, or the geometry is not of this video.
    """
    root = next((root for root in _roots(folder) if (root / "stereo" / "depth_maps").is_dir()), None)
    model = None if root is None else _model_folder(root)
    if root is None or model is None:
        raise ClipError(
            f"{folder}: a COLMAP model without dense depth maps (stereo/depth_maps/*.bin); {UNDISTORT}, "
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
    matrices = {number: pinhole(model, camera) for number, camera in cameras.items()}
    return ImportedGeometry(
        size,
        depth_size,
        half_pixel_shifted(np.stack([matrices[image.camera] for image in ordered])),
        poses_of(ordered),
        "relative",
        _read_maps(paths, depth_size),
        {"format": "colmap", "depth_maps": paths[0].suffixes[-2].lstrip(".")},
        calibrated=True,
    )


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


def _depth_paths(folder: Path, names: list[str]) -> list[Path]:
    """The maps of one kind for all images: geometric (checked between views) where complete, else photometric."""
    missing: list[Path] = []
    for kind in KINDS:
        paths = [folder / f"{name}.{kind}.bin" for name in names]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return paths
    raise ClipError(f"{missing[0]}: no such depth map ({len(missing)} of {len(names)} are missing); {UNDISTORT}")


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
