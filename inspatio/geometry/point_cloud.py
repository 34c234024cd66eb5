"""Scanned places: a point cloud with reference pictures and their cameras, as public WorldFM writes them.

    geometry folder    cameras.json: the reference pictures' cameras, the first at the origin, and what a length of 1 is

The points stay in the source's folder, because they are read as fast from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert, relative_to_first
from inspatio.errors import ClipError
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.formats.ply import read_ply
from inspatio.geometry.formats.worldfm import ReferencePicture, read_conditions
from inspatio.media.fit import Fit
from inspatio.media.listing import CLOUD_FILE, CONDITIONS_FILE
from inspatio.types import Image, Progress

if TYPE_CHECKING:
    from inspatio.media import SourceInfo

BACKEND = "point cloud"
UNIT = "the point cloud"
"""What a length of 1 is."""
VERSION = 1
"""Raised when the same files would give other cameras."""


class PointCloudGeometry:
    """A :class:`inspatio.geometry.backend.GeometryBackend` of point clouds with reference pictures."""

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        """Version; points, cameras and pictures are the source."""
        return {"backend": BACKEND, "version": VERSION}

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Read all files once, and write the cameras, for pictures of the first one's size, into the empty ``folder``.

        Raises:
            ClipError: a file is missing or damaged, or a camera is not one.
        """
        points, _ = read_ply(video.path / CLOUD_FILE)
        _, cameras = fitted_cameras(read_conditions(video.path / CONDITIONS_FILE), video.size)
        CameraFile(
            image_size=video.size,
            intrinsics=np.array(cameras.intrinsics),
            world_to_camera=relative_to_first(cameras.world_to_camera),
            scale="relative",
            backend=BACKEND,
            settings={"unit": UNIT, "world": "the first reference picture's camera"},
            frame_rate=video.frame_rate,
        ).save(folder / "cameras.json")
        notes = (f"{len(points)} points", f"lengths are in units of {UNIT}")
        return GeometrySummary(BACKEND, "relative", frame_count=len(cameras), notes=notes)


def fitted_cameras(pictures: Sequence[ReferencePicture], size: tuple[int, int]) -> tuple[list[Fit], Cameras]:
    """How reference pictures are brought to ``size`` (height, width), and their cameras in the points' world.

    Raises:
        ClipError: a picture cannot be read.
    """
    shapes = [read_photo(picture.path).shape for picture in pictures]
    fits = [Fit.make((shape[0], shape[1]), size) for shape in shapes]
    lenses = [fit.intrinsics(picture.lens) for fit, picture in zip(fits, pictures, strict=True)]
    return fits, Cameras(np.stack(lenses), invert(np.stack([picture.camera_to_world for picture in pictures])))


def read_photo(path: Path) -> Image:
    """Read a reference picture at its full size, which its intrinsics are for: ``h w 3`` uint8.

    Raises:
        ClipError: it cannot be read.
    """
    encoded = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if encoded is None:
        raise ClipError(f"{path}: no readable picture, expected the PNG or JPEG of a reference view")
    return np.ascontiguousarray(encoded[..., ::-1], np.uint8)
