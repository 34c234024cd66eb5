"""Export a clip's geometry for other programs: points, cameras, images.

ply          binary points with colours                       MeshLab, CloudCompare, Blender, Open3D
glb          the same points and the animated cameras, y up   viewers in the browser, Blender
gltf         the animated cameras alone                       Blender, Unreal, Unity, three.js
colmap       cameras.txt, images.txt, points3D.txt, images/   COLMAP and everything that trains on its models
nerfstudio   transforms.json, points.ply, images/             nerfstudio, and splat trainers that read its format

A scene folder of InSpatio-World 1.5 (``v15``) is made of a whole scene with its path: ``export/v15.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.gltf_reader import SOURCE
from inspatio.errors import UsageError
from inspatio.export.colmap import write_colmap
from inspatio.export.glb import gltf_document
from inspatio.export.nerfstudio import write_nerfstudio
from inspatio.export.ply import ply_bytes
from inspatio.export.points import PointCloud, evenly_spaced, point_cloud
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource
from inspatio.storage import atomic_file, atomic_folder, file_name
from inspatio.types import ExportFormat

FORMATS: tuple[ExportFormat, ...] = tuple(form for form in get_args(ExportFormat) if form != "v15")

FOLDERS: tuple[ExportFormat, ...] = ("colmap", "nerfstudio", "v15")
"""Formats that are folders."""
POINT_FRAMES = 8
"""Number of evenly spaced frames that points are taken from, unless frames are named."""
MOST_POINTS = 1_000_000


def export(
    geometry: Geometry,
    frames: FrameSource,
    target: Path,
    form: ExportFormat,
    *,
    frame_rate: Fraction,
    indices: Sequence[int] | None = None,
    most_points: int = MOST_POINTS,
    paths: Mapping[str, Cameras] | None = None,
) -> None:
    """Write a file (ply, glb, gltf) or a folder (colmap, nerfstudio) at ``target``, whole or not at all.

    Args:
        geometry: of the clip.
        frames: its source frames at the geometry's ``image_size``.
        target: path of the result.
        form: the format.
        frame_rate: of animated cameras.
        indices: frames to take points from; None: ``POINT_FRAMES`` evenly spaced ones.
        most_points: upper bound of the number of points.
        paths: more camera paths of frames of the geometry's ``image_size``, by name, for glb and gltf.

    Raises:
        UsageError: an unknown format, or a frame that the clip does not have.
    """
    if form not in FORMATS:
        raise UsageError(f"export format {form!r}: expected one of {', '.join(FORMATS)}")
    count = geometry.frame_count
    if indices is None:
        indices = evenly_spaced(count, POINT_FRAMES)
    outside = [index for index in indices if not 0 <= index < count]
    if outside or not indices:
        raise UsageError(f"export of frames {list(indices)}: expected frames of this clip, 0 to {count - 1}")
    cloud = None if form == "gltf" else point_cloud(geometry, frames, indices, most_points)
    if form in FOLDERS and cloud is not None:
        write = write_colmap if form == "colmap" else write_nerfstudio
        with atomic_folder(target) as folder:
            write(geometry, frames, cloud, folder)
        return
    if form == "ply" and cloud is not None:
        write_points(cloud, target, form)
    else:
        with atomic_file(target) as path:
            source = {SOURCE: Cameras(geometry.intrinsics, geometry.world_to_camera)}
            document = gltf_document(cloud, {**source, **(paths or {})}, float(frame_rate), geometry.image_size)
            path.write_bytes(document.binary() if form == "glb" else document.text().encode())


def write_points(cloud: PointCloud, target: Path, form: Literal["ply", "glb"]) -> None:
    """Write points alone, whole or not at all."""
    with atomic_file(target) as path:
        if form == "ply":
            path.write_bytes(ply_bytes(cloud.points, cloud.colours))
        else:
            path.write_bytes(gltf_document(cloud, {}, 1.0, (1, 1)).binary())


def export_name(clip_id: str, form: ExportFormat) -> str:
    """The name of a clip's export."""
    return file_name(clip_id, f"_{form}" if form in FOLDERS else f".{form}")
