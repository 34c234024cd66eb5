"""COLMAP text models with images: every frame is an image with a camera of its own.

Source: https://colmap.github.io/format.html (text format).
"""

from __future__ import annotations

from pathlib import Path

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.colmap_model import write_model
from inspatio.export.images import image_names, write_images
from inspatio.export.points import PointCloud
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource


def write_colmap(geometry: Geometry, frames: FrameSource, cloud: PointCloud, folder: Path) -> None:
    """Write a COLMAP text model and its images into an empty folder.

    ``frames`` are the source frames at the geometry's ``image_size``; ``cloud`` becomes ``points3D.txt``, no tracks.

    Raises:
        OSError: an image could not be written.
    """
    names = image_names(geometry.frame_count)
    write_model(folder, Cameras(geometry.intrinsics, geometry.world_to_camera), geometry.image_size, names)
    with (folder / "points3D.txt").open("w") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR TRACK[]\n")
        for number, (point, colour) in enumerate(zip(cloud.points.tolist(), cloud.colours.tolist(), strict=True), 1):
            x, y, z = point
            file.write(f"{number} {x:.7g} {y:.7g} {z:.7g} {colour[0]} {colour[1]} {colour[2]} 0\n")
    write_images(frames, geometry.frame_count, folder / "images")
