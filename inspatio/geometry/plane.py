"""Geometry without any weights: a tilted plane seen by a camera that stands still. A prior, and it says so.

Inverse depth grows linearly from the top row to the bottom row, 1 : 1.5 over the full height (the bottom is near). That
is exactly what a pinhole camera sees of a plane, so straight lines stay straight in every new view, and the ground
in front of the camera, the commonest thing in the lower half of a picture, recedes as it should. The ratio was
chosen by looking: under a 10-degree orbit 1 : 2 still passes, 1 : 3 or a true horizon bends whatever stands upright.

The map is the same for all frames, so it is stored once. A depth of 1 is the bottom of the picture and no more.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.store import GeometryWriter
from inspatio.media import VideoInfo
from inspatio.types import DepthMaps, Intrinsics, Progress

VERSION = 1

NOTES = (
    "Depth is a prior, not an estimate: a tilted plane, near at the bottom, under a camera that stands still; "
    "things that stand out from it lean a little in new views.",
    "For real geometry, put the Depth Anything 3 weights in place (--geometry da3), or a geometry folder, a dense "
    "COLMAP workspace or a TUM RGB-D sequence beside the clip (--geometry files).",
)


@dataclass(frozen=True)
class PlaneGeometry:
    """The backend ``plane``. ``field_of_view_deg`` is of the picture's longer side."""

    field_of_view_deg: float = 60.0
    far_to_near: float = 1.5

    def fingerprint(self, video: VideoInfo) -> dict[str, Any]:
        return {"backend": "plane", "version": VERSION, **asdict(self)}

    def estimate(self, video: VideoInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the plane at the video's own size."""
        writer = GeometryWriter(folder, video.size, video.size, video.frame_count, same_depth=True)
        writer.write(plane_depth(video.size, self.far_to_near))
        still = np.tile(np.eye(4), (video.frame_count, 1, 1))
        writer.finish(plane_intrinsics(video.size, self.field_of_view_deg), still, "prior", "plane", asdict(self))
        progress(video.frame_count, video.frame_count)
        return GeometrySummary("plane", "prior", video.frame_count, NOTES)


def plane_depth(size: tuple[int, int], far_to_near: float) -> DepthMaps:
    """``1 h w``: depth 1 at the picture's lower edge, ``far_to_near`` at its upper edge, 1/depth linear between."""
    height, width = size
    from_top = (np.arange(height) + 0.5) / height
    inverse = 1 / far_to_near + (1 - 1 / far_to_near) * from_top
    return np.broadcast_to((1 / inverse)[None, :, None], (1, height, width)).astype(np.float32)


def plane_intrinsics(size: tuple[int, int], field_of_view_deg: float) -> Intrinsics:
    """``3 3`` for a picture of ``size`` (height, width) with this field of view along its longer side."""
    height, width = size
    focal = max(size) / 2 / math.tan(math.radians(field_of_view_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
