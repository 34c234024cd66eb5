"""COLMAP text models with images: every frame is an image with a camera of its own.

Source: https://colmap.github.io/format.html (text format).
"""

from __future__ import annotations

from pathlib import Path

import cv2

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.colmap_model import write_model
from inspatio.export.points import PointCloud
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource

_IMAGE_NAME = "{:06d}.jpg"
_JPEG_QUALITY = 95


def write_colmap(geometry: Geometry, frames: FrameSource, cloud: PointCloud, folder: Path) -> None:
    """Write a COLMAP text model and its images into an empty folder.

    ``frames`` are the source frames at the geometry's ``image_size``; ``cloud`` becomes ``points3D.txt``, no tracks.

    Raises:
        OSError: an image could not be written.
    """
    names = [_IMAGE_NAME.format(index) for index in range(geometry.frame_count)]
    write_model(folder, Cameras(geometry.intrinsics, geometry.world_to_camera), geometry.image_size, names)
    with (folder / "points3D.txt").open("w") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR TRACK[]\n")
        for number, (point, colour) in enumerate(zip(cloud.points.tolist(), cloud.colours.tolist(), strict=True), 1):
            x, y, z = point
            file.write(f"{number} {x:.7g} {y:.7g} {z:.7g} {colour[0]} {colour[1]} {colour[2]} 0\n")
    (folder / "images").mkdir()
    for index in range(geometry.frame_count):
        image = cv2.cvtColor(frames.read([index])[0], cv2.COLOR_RGB2BGR)
        done = cv2.imwrite(str(folder / "images" / names[index]), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not done:
            raise OSError(f"{folder / 'images'}: frame {index} could not be written")
