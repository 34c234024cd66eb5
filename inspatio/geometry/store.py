"""Read and write geometry folders, the result of every geometry backend.

    cameras.json     intrinsics and poses of every frame, what a depth of 1 means, who made it (``camera_file.py``)
    depth.npy        float16 or float32, ``n h w`` (or ``1 h w``: the same for every frame), 0 = unknown
    confidence.npy   float16, like depth, optional; the estimator's own measure, larger is more certain
    sky.npy          uint8, like depth, optional; 1 where the estimator saw sky

Maps show the whole upright source frame at the estimator's own resolution; intrinsics are in pixels of ``image_size``,
which may differ from it. Maps are appended when written and memory-mapped when read, so that memory does not grow with
the clip. (Writing through a memory map would kill the process when the disk is full, instead of raising.)
``cameras.json`` is written last: a folder without it is unfinished. Conventions are those of ``cameras/poses.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.poses import relative_to_first
from inspatio.errors import ClipError
from inspatio.media.fit import Fit
from inspatio.storage import DAMAGED_ARRAYS
from inspatio.types import DepthMaps, Intrinsics, ScaleKind, WorldToCamera

CAMERAS_FILE = "cameras.json"
DEPTH_FILE = "depth.npy"
CONFIDENCE_FILE = "confidence.npy"
SKY_FILE = "sky.npy"
CALIBRATED = "calibrated"
"""Among the settings: principal points are a calibration's, and target cameras keep them (``scene.Scene``)."""
VALID_FRAMES = "valid_frames"
"""Among the settings: how many of the frames are meant; those after them only fill a block."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry(CameraFile):
    """A geometry folder, opened: cameras in memory, maps (``n h w`` or ``1 h w``) memory-mapped and read-only."""

    depth: NDArray[np.floating]
    confidence: NDArray[np.floating] | None = None
    sky: NDArray[np.uint8] | None = None


class GeometryWriter:
    """Writes a geometry folder frame by frame: ``write`` until all frames are there, then ``finish``.

    The caller owns the folder: it makes a temporary one and renames it when ``finish`` has returned.
    ``depth_size`` and ``image_size`` are (height, width). With ``same_depth`` one depth map stands for all frames.
    """

    def __init__(
        self,
        folder: Path,
        image_size: tuple[int, int],
        depth_size: tuple[int, int],
        frame_count: int,
        *,
        dtype: DTypeLike = np.float32,
        same_depth: bool = False,
    ) -> None:
        assert np.dtype(dtype) in (np.float16, np.float32), f"depth is float16 or float32, got {np.dtype(dtype)}"
        self._largest = float(np.finfo(np.float16 if np.dtype(dtype) == np.float16 else np.float32).max)
        self._folder = folder
        self._image_size = image_size
        self._frame_count = frame_count
        self._shape = (1 if same_depth else frame_count, *depth_size)
        self._depth = _MapWriter(folder / DEPTH_FILE, self._shape, dtype)
        self._extras = {
            CONFIDENCE_FILE: _MapWriter(folder / CONFIDENCE_FILE, self._shape, np.float16),
            SKY_FILE: _MapWriter(folder / SKY_FILE, self._shape, np.uint8),
        }

    def write(
        self, depth: NDArray[np.floating], confidence: NDArray[np.floating] | None = None, sky: NDArray | None = None
    ) -> None:
        """Append maps, ``t h w``; confidence and sky come with every frame or with none.

        Depths that are negative, infinite or not numbers become 0, unknown.
        """
        depth = np.asarray(depth)
        known = np.isfinite(depth) & (depth > 0)
        self._depth.append(np.where(known, np.minimum(depth, self._largest), 0))
        if confidence is not None:
            largest = np.finfo(np.float16).max
            self._extras[CONFIDENCE_FILE].append(np.clip(np.nan_to_num(confidence), -largest, largest))
        if sky is not None:
            self._extras[SKY_FILE].append(np.asarray(sky) > 0)

    def finish(
        self,
        intrinsics: Intrinsics,
        world_to_camera: WorldToCamera,
        scale: ScaleKind,
        backend: str,
        settings: dict[str, Any],
    ) -> None:
        """Close the maps and write ``cameras.json``.

        ``intrinsics`` is ``n 3 3``, or ``3 3`` for all frames, in pixels of ``image_size``; ``world_to_camera`` is
        ``n 4 4`` in any world: it is brought to the first camera's.
        """
        self._depth.close()
        for writer in self._extras.values():
            if writer.written:
                writer.close()
        if np.ndim(intrinsics) == 2:
            intrinsics = np.broadcast_to(intrinsics, (self._frame_count, 3, 3))
        assert len(world_to_camera) == self._frame_count, f"{len(world_to_camera)} poses for {self._frame_count} frames"
        cameras = CameraFile(self._image_size, intrinsics, relative_to_first(world_to_camera), scale, backend, settings)
        cameras.save(self._folder / CAMERAS_FILE)


class GeometryDepth:
    """The depth of a geometry folder, fitted to the scene's size: a :class:`inspatio.scene.DepthSource`.

    ``fit`` is the one that the frames went through; its source is the upright video frame.
    """

    def __init__(self, geometry: Geometry, fit: Fit) -> None:
        self._geometry = geometry
        self._fit = fit

    def __len__(self) -> int:
        return self._geometry.frame_count

    def read(self, indices: Sequence[int]) -> DepthMaps:
        """``t h w`` float32 depth by nearest neighbour, 0 where unknown or outside the source frame."""
        depth = self._geometry.depth
        maps = np.empty((len(indices), *self._fit.target), np.float32)
        for place, index in enumerate(indices):
            maps[place] = self._fit.depth(depth[index if len(depth) > 1 else 0])
        return maps


def load_geometry(folder: Path) -> Geometry:
    """Open a geometry folder.

    Raises:
        ClipError: a file is missing, cut short, from a newer version, or does not agree with the others.
    """
    cameras = read_cameras(folder)
    depth = _open_map(folder / DEPTH_FILE)
    if depth.dtype not in (np.float16, np.float32):
        raise ClipError(f"{folder / DEPTH_FILE}: holds {depth.dtype}, expected float16 or float32 depth")
    if depth.ndim != 3 or len(depth) not in (1, cameras.frame_count):
        shape = " x ".join(map(str, depth.shape))
        raise ClipError(
            f"{folder / DEPTH_FILE}: shape {shape}, expected {cameras.frame_count} (the frames of {CAMERAS_FILE}) "
            "or 1 maps of height x width"
        )
    extras: dict[str, NDArray] = {}
    for name in (CONFIDENCE_FILE, SKY_FILE):
        if (folder / name).exists():
            extras[name] = _open_map(folder / name)
            if extras[name].shape != depth.shape:
                raise ClipError(
                    f"{folder / name}: shape {extras[name].shape}, expected that of the depth {depth.shape}"
                )
    fields = {name: getattr(cameras, name) for name in CameraFile.__dataclass_fields__}
    return Geometry(**fields, depth=depth, confidence=extras.get(CONFIDENCE_FILE), sky=extras.get(SKY_FILE))


def read_cameras(folder: Path) -> CameraFile:
    """Read and check the ``cameras.json`` of a geometry folder.

    Raises:
        ClipError: it is missing, not JSON, from a newer version, or a field is missing or wrong (named).
    """
    return CameraFile.load(folder / CAMERAS_FILE, "Run the geometry stage again with --force.")


def _open_map(path: Path) -> NDArray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        array.close()
        raise ClipError(f"{path}: an archive of arrays (.npz), expected one array (.npy); save it with np.save")
    except FileNotFoundError:
        raise ClipError(f"{path}: no such file; run the geometry stage again") from None
    except DAMAGED_ARRAYS as error:
        raise ClipError(
            f"{path}: not a whole array file ({error}); run the geometry stage again with --force"
        ) from None


class _MapWriter:
    """A ``.npy`` file whose shape is known beforehand and whose maps come one after the other."""

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: DTypeLike) -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.written = 0
        self._file: BinaryIO | None = None

    def append(self, maps: NDArray) -> None:
        assert maps.shape[1:] == self.shape[1:], f"maps {maps.shape}, expected (t, {self.shape[1]}, {self.shape[2]})"
        if self._file is None:
            self._file = self.path.open("wb")
            header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(self._file, header)
        self._file.write(np.ascontiguousarray(maps, self.dtype).tobytes())
        self.written += len(maps)

    def close(self) -> None:
        assert self.written == self.shape[0], f"{self.path}: {self.written} maps written, {self.shape[0]} announced"
        if self._file is not None:
            self._file.close()
