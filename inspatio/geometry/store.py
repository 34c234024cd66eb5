"""The geometry folder: what every backend writes and everything after it reads.

    cameras.json     intrinsics and poses of every frame, their convention, what a depth of 1 means, who made it
    depth.npy        float16 or float32, ``n h w`` (or ``1 h w``: the same for every frame), 0 = not known
    confidence.npy   float16, like depth, optional; the estimator's own measure, larger is surer
    sky.npy          uint8, like depth, optional; 1 where the estimator saw sky

Maps show the whole upright source frame at the estimator's own resolution; intrinsics are for ``image_size``, which
need not be that resolution. They are written by appending and read by memory map, so neither side's memory grows
with the clip. (Not written through a memory map: a disk that fills up would kill the process instead of raising.)
``cameras.json`` is written last: a folder without it is unfinished. Conventions are those of ``cameras.py``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inspatio.cameras.poses import check_rigid, relative_to_first
from inspatio.errors import ClipError
from inspatio.media.fit import Fit
from inspatio.types import DepthMaps, Intrinsics, ScaleKind, WorldToCamera

FORMAT = "inspatio-geometry"
VERSION = 1
CONVENTION = "opencv, world_to_camera"
CAMERAS_FILE = "cameras.json"
DEPTH_FILE = "depth.npy"
CONFIDENCE_FILE = "confidence.npy"
SKY_FILE = "sky.npy"


@dataclass(frozen=True)
class CameraRecord:
    """The content of ``cameras.json``.

    ``intrinsics`` is ``n 3 3`` for an image of ``image_size`` (height, width); ``world_to_camera`` is ``n 4 4`` with
    the first camera at the origin. ``depth_scale`` is set where depth is shipped as a video (``depth_video.py``).
    """

    image_size: tuple[int, int]
    intrinsics: Intrinsics
    world_to_camera: WorldToCamera
    scale: ScaleKind
    backend: str
    settings: dict[str, Any]
    depth_scale: float | None = None

    @property
    def frame_count(self) -> int:
        return len(self.world_to_camera)


@dataclass(frozen=True, kw_only=True)
class Geometry(CameraRecord):
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

        Depths that are negative, infinite or not numbers become 0, "not known".
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
        record = CameraRecord(
            self._image_size, intrinsics, relative_to_first(world_to_camera), scale, backend, settings
        )
        write_cameras(self._folder, record)


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
        """``t h w`` float32 depth by nearest neighbour, 0 where not known or outside the source frame."""
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
    fields = {name: getattr(cameras, name) for name in CameraRecord.__dataclass_fields__}
    return Geometry(**fields, depth=depth, confidence=extras.get(CONFIDENCE_FILE), sky=extras.get(SKY_FILE))


def write_cameras(folder: Path, cameras: CameraRecord) -> None:
    """Write ``cameras.json``, one matrix to a line."""
    n = cameras.frame_count
    assert cameras.intrinsics.shape == (n, 3, 3), f"intrinsics {cameras.intrinsics.shape}, expected ({n}, 3, 3)"
    check_rigid(cameras.world_to_camera, "world_to_camera")
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "convention": CONVENTION,
        "image_size": list(cameras.image_size),
        "frame_count": n,
        "scale": cameras.scale,
        "backend": cameras.backend,
        "settings": cameras.settings,
    }
    if cameras.depth_scale is not None:
        header["depth_coding"] = {"quantity": "inverse_depth", "scale": cameras.depth_scale}
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()]
    for name in ("intrinsics", "world_to_camera"):
        matrices = [json.dumps(matrix.reshape(-1).tolist()) for matrix in getattr(cameras, name)]
        lines.append(f"{json.dumps(name)}: [\n  " + ",\n  ".join(matrices) + "\n ]")
    (folder / CAMERAS_FILE).write_text("{\n " + ",\n ".join(lines) + "\n}\n", encoding="utf-8")


def read_cameras(folder: Path) -> CameraRecord:
    """Read and check ``cameras.json``.

    Raises:
        ClipError: it is missing, not JSON, from a newer version, or a field is missing or wrong (named).
    """
    path = folder / CAMERAS_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ClipError(f"{path}: no such file; expected a finished geometry folder. Make the geometry anew.") from None
    except (OSError, ValueError) as error:
        raise ClipError(f"{path}: cannot be read as JSON ({error}); make the geometry anew") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ClipError(f'{path}: not a geometry record, expected "format": "{FORMAT}"')
    if record.get("version") != VERSION:
        raise ClipError(f"{path}: version {record.get('version')!r}, this program reads version {VERSION}")
    try:
        return _parse_record(record)
    except KeyError as error:
        raise ClipError(f"{path}: field {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise ClipError(f"{path}: {error}") from None


def _parse_record(record: dict[str, Any]) -> CameraRecord:
    if record["convention"] != CONVENTION:
        raise ValueError(f"convention {record['convention']!r}, expected {CONVENTION!r}")
    if record["scale"] not in get_args(ScaleKind):
        raise ValueError(f"scale {record['scale']!r}, expected one of {', '.join(get_args(ScaleKind))}")
    height, width = record["image_size"]
    count = record["frame_count"]
    if not all(isinstance(number, int) and number > 0 for number in (height, width, count)):
        raise ValueError(f"image_size and frame_count must be positive integers, got {height, width} and {count!r}")
    intrinsics = _matrices(record, "intrinsics", count, 3)
    focal = intrinsics[:, [0, 1], [0, 1]]
    if not (np.isfinite(intrinsics).all() and (focal > 0).all()):
        raise ValueError("intrinsics must be finite with positive focal lengths")
    world_to_camera = _matrices(record, "world_to_camera", count, 4)
    check_rigid(world_to_camera, "world_to_camera")
    coding = record.get("depth_coding")
    if coding is not None and not (coding.get("quantity") == "inverse_depth" and coding.get("scale", 0) > 0):
        raise ValueError(f"depth_coding {coding}, expected quantity inverse_depth and a positive scale")
    return CameraRecord(
        (height, width),
        intrinsics,
        world_to_camera,
        record["scale"],
        str(record["backend"]),
        dict(record["settings"]),
        None if coding is None else float(coding["scale"]),
    )


def _matrices(record: dict[str, Any], name: str, count: int, side: int) -> NDArray[np.float64]:
    matrices = np.array(record[name], dtype=np.float64)
    if matrices.shape != (count, side * side):
        raise ValueError(f"{name} has shape {matrices.shape}, expected {count} rows of {side * side} numbers")
    return matrices.reshape(count, side, side)


def _open_map(path: Path) -> NDArray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise ClipError(f"{path}: no such file; make the geometry anew") from None
    except (OSError, ValueError, EOFError) as error:
        raise ClipError(f"{path}: not a whole array file ({error}); make the geometry anew") from None


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
