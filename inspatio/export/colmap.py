"""COLMAP text models with images: every frame is an image with a camera of its own.

COLMAP's axes are OpenCV's as here; its pixel origin is the first pixel's corner, half a pixel from this package's.

Source: https://colmap.github.io/format.html (text format).
"""

from __future__ import annotations

from pathlib import Path

import cv2
from scipy.spatial.transform import Rotation

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
    height, width = geometry.image_size
    rotations = Rotation.from_matrix(geometry.world_to_camera[:, :3, :3]).as_quat(scalar_first=True)
    cameras, images = [], []
    for index, (matrix, pose) in enumerate(zip(geometry.intrinsics, geometry.world_to_camera, strict=True)):
        number = index + 1
        centre = f"{matrix[0, 2] + 0.5:.9g} {matrix[1, 2] + 0.5:.9g}"
        cameras.append(f"{number} PINHOLE {width} {height} {matrix[0, 0]:.9g} {matrix[1, 1]:.9g} {centre}\n")
        rigid = " ".join(f"{value:.12g}" for value in (*rotations[index], *pose[:3, 3]))
        # The second line of an image lists its key points; there are none.
        images.append(f"{number} {rigid} {number} {_IMAGE_NAME.format(index)}\n\n")
    (folder / "cameras.txt").write_text("# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n" + "".join(cameras))
    (folder / "images.txt").write_text(
        "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then key points\n" + "".join(images)
    )
    with (folder / "points3D.txt").open("w") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR TRACK[]\n")
        for number, (point, colour) in enumerate(zip(cloud.points.tolist(), cloud.colours.tolist(), strict=True), 1):
            x, y, z = point
            file.write(f"{number} {x:.7g} {y:.7g} {z:.7g} {colour[0]} {colour[1]} {colour[2]} 0\n")
    (folder / "images").mkdir()
    for index in range(geometry.frame_count):
        image = cv2.cvtColor(frames.read([index])[0], cv2.COLOR_RGB2BGR)
        done = cv2.imwrite(
            str(folder / "images" / _IMAGE_NAME.format(index)), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        if not done:
            raise OSError(f"{folder / 'images'}: frame {index} could not be written")
