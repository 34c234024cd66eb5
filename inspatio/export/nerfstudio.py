"""nerfstudio folders: transforms.json, images, and the points that splat trainers start from.

The world is turned so that z points up (``cameras/formats/conventions.py``), cameras and points alike.
"""

from __future__ import annotations

from pathlib import Path

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.json_paths import to_z_up, write_transforms
from inspatio.export.images import image_names, write_images
from inspatio.export.ply import ply_bytes
from inspatio.export.points import PointCloud
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource

_POINTS = "points.ply"


def write_nerfstudio(geometry: Geometry, frames: FrameSource, cloud: PointCloud, folder: Path) -> None:
    """Write a nerfstudio folder into an empty one; ``frames`` are at the geometry's ``image_size``.

    Raises:
        OSError: an image could not be written.
    """
    cameras = Cameras(geometry.intrinsics, geometry.world_to_camera)
    names = [f"images/{name}" for name in image_names(geometry.frame_count)]
    text = write_transforms(cameras, geometry.image_size, names, _POINTS)
    (folder / "transforms.json").write_text(text, encoding="utf-8")
    (folder / _POINTS).write_bytes(ply_bytes(to_z_up(cloud.points), cloud.colours))
    write_images(frames, geometry.frame_count, folder / "images")
