"""Errors of estimated geometry against true geometry: depth after the one best scale, the source's camera path."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.evaluation.cameras import pose_errors
from inspatio.evaluation.metrics import depth_errors
from inspatio.geometry.store import Geometry

GEOMETRY_STRIDE = 4
"""Depth is compared in every so many frames."""


def geometry_figures(geometry: Geometry, true: Geometry) -> dict[str, float]:
    """The errors of geometry of a clip against the true one, by name.

    Raises:
        ValueError: it is of another number of frames.
    """
    if geometry.frame_count != true.frame_count:
        raise ValueError(f"geometry of {geometry.frame_count} frames, expected {true.frame_count} as the truth has")

    def pairs() -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        height, width = true.depth.shape[1:]
        for frame in range(0, true.frame_count, GEOMETRY_STRIDE):
            own = np.asarray(geometry.depth[frame if len(geometry.depth) > 1 else 0], np.float32)
            fitted = cv2.resize(own, (width, height), interpolation=cv2.INTER_NEAREST)
            yield np.asarray(fitted, np.float32), np.asarray(true.depth[frame], np.float32)

    depth, path = depth_errors(pairs), pose_errors(geometry.world_to_camera, true.world_to_camera)
    return {
        "geometry_abs_rel": depth.abs_rel,
        "geometry_delta": depth.delta,
        "geometry_rotation_deg": path.rotation_degrees,
        "geometry_path_share": path.translation,
    }
