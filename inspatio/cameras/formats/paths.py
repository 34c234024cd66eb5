"""Camera paths of other programs, one camera a frame: recognise, read and write every format.

    path = read_path(Path("poses.txt"), size)            recognised by content
    write_path(Path("poses.txt"), cameras, size, "tum")

``conventions.py`` has the table of what each format means. Where a format has no intrinsics, those given stand for all
frames. Poses stay in the file's world and unit; ``cameras/imported.py`` ties them to a scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.camera_path import CameraPath
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats import array_paths, json_paths, matrices, text_paths
from inspatio.cameras.formats.checks import not_too_many
from inspatio.cameras.formats.colmap_model import pinhole, poses_of, read_model, write_model
from inspatio.cameras.formats.conventions import from_camera_to_world, to_camera_to_world
from inspatio.cameras.formats.gltf import write_gltf_camera
from inspatio.cameras.formats.gltf_reader import read_gltf
from inspatio.cameras.formats.lenses import default_intrinsics, from_corner_origin, resized
from inspatio.cameras.formats.tables import read_lines
from inspatio.cameras.formats.text import read_number_file
from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import FlightTrajectory
from inspatio.errors import ClipError
from inspatio.settings import parse_number
from inspatio.storage import atomic_file, atomic_folder, write_text
from inspatio.types import Direction, Intrinsics, PathFormat

FRAME_RATE = Fraction(25)
"""For formats with times, where nobody says another."""
_COLUMNS: dict[int, PathFormat] = {19: "re10k", 12: "kitti", 16: "tcw", 7: "chan"}
_READERS: dict[PathFormat, Callable[[Path, tuple[int, int]], CameraPath]] = {
    "tcw": text_paths.read_tcw,
    "re10k": text_paths.read_re10k,
    "tum": text_paths.read_tum,
    "kitti": text_paths.read_kitti,
    "chan": text_paths.read_chan,
    "nerfstudio": json_paths.read_nerfstudio,
    "transforms": json_paths.read_transforms,
    "recammaster": json_paths.read_recammaster,
    "lingbot": array_paths.read_lingbot,
    "lyra": array_paths.read_lyra,
    "gltf": read_gltf,
}
_TEXTS: dict[PathFormat, Callable[[Cameras, tuple[int, int], NDArray[np.float64]], str]] = {
    "tcw": text_paths.write_tcw,
    "re10k": text_paths.write_re10k,
    "tum": text_paths.write_tum,
    "kitti": text_paths.write_kitti,
    "chan": text_paths.write_chan,
}
DIRECTIONLESS: tuple[PathFormat, ...] = ("tcw", "kitti")
"""Formats whose files do not say which way their matrices point, so that one may be taken for the other."""


def read_path(
    path: Path,
    size: tuple[int, int],
    intrinsics: Intrinsics | None = None,
    *,
    kind: PathFormat | None = None,
    direction: Direction | None = None,
) -> CameraPath:
    """Read a camera path for frames of (height, width) ``size``.

    Args:
        path: a file, or a folder with a COLMAP model or LingBot-World's arrays.
        size: the frames that the intrinsics shall be for; those of a file are scaled to it.
        intrinsics: ``3 3``, for formats that have none; None: half the width as focal length and a central axis.
        kind: the format; None: recognised by content.
        direction: which way matrices point whose format does not say it (``DIRECTIONLESS``).

    Raises:
        ClipError: the file cannot be read, is of no known format, or holds what no camera path can mean.
    """
    kind = kind or recognise(path)
    found = _read(path, size, kind)
    not_too_many(path, len(found))
    if direction is not None and kind in DIRECTIONLESS and (kind == "tcw") != (direction == "world_to_camera"):
        found = replace(found, cameras=Cameras(found.cameras.intrinsics, invert(found.cameras.world_to_camera)))
    if intrinsics is not None and not found.has_intrinsics:
        found = replace(found, cameras=Cameras.from_poses(found.cameras.world_to_camera, intrinsics))
    return found


def write_path(
    path: Path,
    cameras: Cameras,
    size: tuple[int, int],
    kind: PathFormat,
    frame_rate: Fraction = FRAME_RATE,
    source_frames: Sequence[int] | None = None,
    clip_frames: int | None = None,
) -> None:
    """Write a camera path of frames of (height, width) ``size``, whole or not at all.

    ``path`` becomes a folder for ``colmap`` and ``lingbot``. ``source_frames``, one for each camera, are kept by the
    formats that know source times; nerfstudio's is a share of the clip, and needs its length ``clip_frames``.
    """
    names = [f"{index:06d}.png" for index in range(len(cameras))]
    times = np.array([float(index / frame_rate) for index in range(len(cameras))])
    camera_to_world = invert(cameras.world_to_camera)
    match kind:
        case "inspatio":
            timeline = None if source_frames is None else tuple(source_frames)
            CameraFile(
                size,
                cameras.intrinsics,
                cameras.world_to_camera,
                "relative",
                frame_rate=frame_rate,
                timeline=timeline,
            ).save(path)
        case "matrices":
            write_text(path, matrices.write_matrices(camera_to_world, source_frames))
        case "colmap":
            with atomic_folder(path) as folder:
                write_model(folder, cameras, size, names)
        case "lingbot":
            with atomic_folder(path) as folder:
                array_paths.write_lingbot(folder, cameras, size)
        case "lyra":
            with atomic_file(path) as file:
                array_paths.write_lyra(file, cameras, size)
        case "nerfstudio":
            shares = None
            if source_frames is not None and clip_frames is not None:
                shares = (np.array(source_frames) / max(clip_frames - 1, 1)).tolist()
            write_text(path, json_paths.write_nerfstudio(cameras, size, frame_rate, shares))
        case "transforms":
            write_text(path, json_paths.write_transforms(cameras, size, names))
        case "recammaster":
            write_text(path, json_paths.write_recammaster(cameras))
        case "gltf":
            write_text(path, write_gltf_camera(cameras, float(frame_rate), size))
        case _:
            write_text(path, _TEXTS[kind](cameras, size, times))


def recognise(path: Path) -> PathFormat:
    """The format of a file or folder, by its content.

    Raises:
        ClipError: it is of none of them.
    """
    if path.is_dir():
        return "lingbot" if (path / array_paths.POSES).is_file() else "colmap"
    name = str(path).partition("#")[0]
    if name.endswith(".npz"):
        return "lyra"
    if name.endswith((".gltf", ".glb")):
        return "gltf"
    if name.endswith(".json"):
        return _recognise_json(Path(name))
    lines = read_lines(path)
    if any(text.split() and text.split()[0] in get_args(Direction) for text in _comments(lines)):
        return "matrices"
    rows = [words for line in lines if (words := line.partition("#")[0].split())]
    if len(rows) > 1 and len(rows[0]) == 1 and len(rows[1]) == 19:
        return "re10k"
    if rows and len(rows[0]) == 8:
        return "chan" if path.suffix == ".chan" or _numbers_frames(rows) else "tum"
    found = _COLUMNS.get(len(rows[0])) if rows else None
    if found is None:
        raise ClipError(
            f"{path}: not a camera path: got {len(rows[0]) if rows else 0} numbers in its first line, expected one of "
            f"{', '.join(get_args(PathFormat))}. See docs/formats.md"
        )
    return found


def path_files(path: Path, kind: PathFormat) -> tuple[Path, ...]:
    """The files that reading a path reads, also those beside it."""
    match kind:
        case "colmap":
            model = _model(path)
            names = [f"{name}{end}" for name in ("cameras", "images") for end in (".bin", ".txt")]
            return tuple(model / name for name in names if (model / name).is_file())
        case "lingbot":
            names = (array_paths.POSES, array_paths.INTRINSICS)
            return tuple(path / name for name in names if (path / name).is_file())
        case "nerfstudio":
            beside = path.with_name(json_paths.TRANSFORMS)
        case "tcw":
            return (path, *text_paths.files_beside(path))
        case "recammaster":
            path, beside = Path(str(path).partition("#")[0]), None
        case "gltf":
            beside = path.with_suffix(".bin")
        case _:
            beside = None
    return (path, beside) if beside is not None and beside.is_file() else (path,)


def _read(path: Path, size: tuple[int, int], kind: PathFormat) -> CameraPath:
    if kind == "inspatio":
        file = CameraFile.load(path, "Give a cameras.json of this project.")
        cameras = Cameras(resized(file.intrinsics, file.image_size, size), file.world_to_camera)
        return CameraPath(cameras, has_intrinsics=True, source_frames=file.timeline, in_scene=True)
    if kind == "colmap":
        return _read_colmap(path, size)
    if kind != "matrices":
        return _READERS[kind](path, size)
    trajectory = matrices.parse(read_number_file(path), None)
    return CameraPath(
        Cameras.from_poses(invert(trajectory.key_poses), default_intrinsics(size)),
        source_frames=trajectory.source_frames if isinstance(trajectory, FlightTrajectory) else None,
        in_scene=True,
        in_foreground_units=trajectory.unit == "foreground",
    )


def _recognise_json(path: Path) -> PathFormat:
    record = json_paths.read_json(path)
    if "camera_path" in record:
        return "nerfstudio"
    if "frames" in record:
        return "transforms"
    if "frame0" in record:
        return "recammaster"
    return "inspatio"


def _comments(lines: Sequence[str]) -> list[str]:
    return [line.partition("#")[2] for line in lines if line.lstrip().startswith("#")]


def _numbers_frames(rows: Sequence[Sequence[str]]) -> bool:
    """Whether 8 columns are those of a .chan file: frame numbers, and no unit quaternions at the end."""
    try:
        values = np.array([[parse_number(word) for word in row] for row in rows if len(row) == 8])
    except ValueError:
        return False
    numbered = bool((values[:, 0] == np.round(values[:, 0])).all() and (np.diff(values[:, 0]) == 1).all())
    return len(values) > 1 and numbered and not (np.abs(np.linalg.norm(values[:, 4:], axis=1) - 1) < 1e-2).all()


def _read_colmap(folder: Path, size: tuple[int, int]) -> CameraPath:
    model = _model(folder)
    cameras, images = read_model(model)
    images = sorted(images, key=lambda image: image.name)
    used = [cameras[image.camera] for image in images]
    lenses = [resized(from_corner_origin(pinhole(model, camera)), camera.size, size) for camera in used]
    if not images:
        raise ClipError(f"{model}: got a model without images, expected at least one")
    poses = from_camera_to_world("inspatio", to_camera_to_world("colmap", poses_of(images)))
    return CameraPath(Cameras(np.array(lenses).reshape(-1, 3, 3), poses), has_intrinsics=True)


def _model(folder: Path) -> Path:
    for each in (folder, folder / "sparse", folder / "sparse/0"):
        if _is_model(each):
            return each
    raise ClipError(f"{folder}: got no COLMAP model, expected cameras and images (.bin or .txt)")


def _is_model(folder: Path) -> bool:
    return any(all((folder / f"{name}{end}").is_file() for name in ("cameras", "images")) for end in (".bin", ".txt"))
