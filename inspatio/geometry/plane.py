"""Geometry backend ``plane``: a tilted plane seen by a static camera, an assumption that needs no weights.

Inverse depth grows linearly from the top row to the bottom row, 1 : 1.5 over the full height (the bottom is near). That
is exactly how a pinhole camera sees a plane, so straight lines stay straight in every new view, and the ground in front
of the camera, the most common content of the lower half of a picture, recedes correctly. The ratio was chosen by eye:
under a 10-degree orbit 1 : 2 is still acceptable, 1 : 3 or a true horizon bends upright objects.

The map is the same for all frames, so it is stored once. Depth has no unit: 1 is the bottom edge of the picture.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inspatio.errors import ClipError
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.small_depth import small_depth_offer
from inspatio.geometry.store import GeometryWriter
from inspatio.media import SourceInfo, is_still
from inspatio.types import DepthMaps, Intrinsics, Progress

VERSION = 1

PRIOR_NOTE = (
    "Depth is a prior, not an estimate: a tilted plane, near at the bottom, and a static camera; objects that stand "
    "out from the plane lean in new views."
)


def remedy_note() -> str:
    """What gives such a clip real depth."""
    return (
        f"For real depth of such clips get Depth Anything 3: {small_depth_offer()}; --geometry auto then takes it; "
        "or put geometry beside the clip (--geometry files)."
    )


@dataclass(frozen=True)
class PlaneGeometry:
    """Backend ``plane``. ``field_of_view_deg`` is along the frame's longer side, ``far_to_near`` a ratio of depths."""

    field_of_view_deg: float = 60.0
    far_to_near: float = 1.5

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        return {"backend": "plane", "version": VERSION, **asdict(self)}

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the plane at the video's size into the empty ``folder``.

        Raises:
            ClipError: several views of one place, whose positions a prior cannot know.
        """
        if is_still(video) and video.frame_count > 1:
            raise ClipError(
                f"{video.path}: no geometry for {video.frame_count} views of one place: a prior does not know where "
                f"they were taken. {remedy_note()}"
            )
        writer = GeometryWriter(folder, video.size, video.size, video.frame_count, same_depth=True)
        writer.write(plane_depth(video.size, self.far_to_near))
        still = np.tile(np.eye(4), (video.frame_count, 1, 1))
        writer.finish(plane_intrinsics(video.size, self.field_of_view_deg), still, "prior", "plane", asdict(self))
        progress(video.frame_count, video.frame_count)
        return GeometrySummary("plane", "prior", video.frame_count, (PRIOR_NOTE, remedy_note()))


def plane_depth(size: tuple[int, int], far_to_near: float) -> DepthMaps:
    """Depth ``1 h w``: 1 at the lower edge, ``far_to_near`` at the upper edge, inverse depth linear in between."""
    height, width = size
    from_top = (np.arange(height) + 0.5) / height
    inverse = 1 / far_to_near + (1 - 1 / far_to_near) * from_top
    return np.broadcast_to((1 / inverse)[None, :, None], (1, height, width)).astype(np.float32)


def plane_intrinsics(size: tuple[int, int], field_of_view_deg: float) -> Intrinsics:
    """Intrinsics ``3 3`` for frames of ``size`` (height, width) with this field of view along the longer side."""
    height, width = size
    focal = max(size) / 2 / math.tan(math.radians(field_of_view_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
