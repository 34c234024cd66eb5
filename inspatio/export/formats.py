"""Export a clip's geometry for other programs: a point cloud (PLY, glTF) or a COLMAP text model.

ply      binary points with colours                         MeshLab, CloudCompare, Blender, Open3D
glb      the same points and the camera path, y up          viewers in the browser, Blender
colmap   cameras.txt, images.txt, points3D.txt, images/     COLMAP and everything that trains on its models
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from inspatio.cameras.cameras import Cameras
from inspatio.errors import UsageError
from inspatio.export.colmap import write_colmap
from inspatio.export.glb import gltf_document
from inspatio.export.ply import ply_bytes
from inspatio.export.points import evenly_spaced, point_cloud
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource
from inspatio.storage import atomic_file, atomic_folder

ExportFormat: TypeAlias = Literal["ply", "glb", "colmap"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

POINT_FRAMES = 8
"""Number of evenly spaced frames that points are taken from, unless frames are named."""
MOST_POINTS = 1_000_000
FRAME_RATE = 25.0
"""Of animated cameras, where nobody says another."""


def export(
    geometry: Geometry,
    frames: FrameSource,
    target: Path,
    form: ExportFormat,
    *,
    indices: Sequence[int] | None = None,
    most_points: int = MOST_POINTS,
) -> None:
    """Write a file (ply, glb) or a folder (colmap) at ``target``, whole or not at all.

    Args:
        geometry: of the clip.
        frames: its source frames at the geometry's ``image_size``.
        target: path of the result.
        form: the format.
        indices: frames to take points from; None: ``POINT_FRAMES`` evenly spaced ones.
        most_points: upper bound of the number of points.

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
    cloud = point_cloud(geometry, frames, indices, most_points)
    if form == "colmap":
        with atomic_folder(target) as folder:
            write_colmap(geometry, frames, cloud, folder)
        return
    with atomic_file(target) as path:
        if form == "ply":
            path.write_bytes(ply_bytes(cloud))
        else:
            cameras = Cameras(geometry.intrinsics, geometry.world_to_camera)
            path.write_bytes(gltf_document(cloud, {"source": cameras}, FRAME_RATE, geometry.image_size).binary())
