"""Lift depth maps to world points, with colours: what exports write and reports draw.

World and camera axes are OpenCV's; the world is the first camera's (``cameras/poses.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import unproject
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource

LOW_CONFIDENCE = 0.25
"""Confidence is low below lowest + this share of (median - lowest)."""


@dataclass(frozen=True)
class PointCloud:
    """World points ``v 3`` float64 in the geometry's unit, and their RGB colours ``v 3`` uint8."""

    points: NDArray[np.float64]
    colours: NDArray[np.uint8]


def frame_maps(
    geometry: Geometry, index: int
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray | None]:
    """Depth, confidence and sky of one frame, ``h w``; the last two are None if the folder has none."""
    at = 0 if len(geometry.depth) == 1 else index
    confidence = None if geometry.confidence is None else geometry.confidence[at].astype(np.float32)
    sky = None if geometry.sky is None else geometry.sky[at] > 0
    return geometry.depth[at].astype(np.float32), confidence, sky


def on_ground(depth: NDArray[np.floating], sky: NDArray | None) -> NDArray[np.bool_]:
    """Mask ``h w`` of the pixels with known depth that are not sky."""
    return depth > 0 if sky is None else (depth > 0) & ~sky


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """Indices of at most ``wanted`` of ``count`` frames, evenly spaced, first and last included."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(wanted, count)).tolist()})


def confidence_floor(geometry: Geometry, indices: Sequence[int]) -> float:
    """The threshold of low confidence, computed from these frames; 0 if the folder has no confidence."""
    if geometry.confidence is None:
        return 0.0
    maps = [frame_maps(geometry, index)[1] for index in indices]
    values = np.concatenate([values[::2, ::2].ravel() for values in maps if values is not None])
    lowest = float(values.min())
    return lowest + LOW_CONFIDENCE * (float(np.median(values)) - lowest)


def lift(geometry: Geometry, index: int) -> NDArray[np.float64]:
    """World points ``h w 3`` of a frame's depth map; where depth is 0, the camera's centre."""
    depth = frame_maps(geometry, index)[0]
    height, width = depth.shape
    # Intrinsics are in pixels of image_size: convert the centres of depth pixels to those.
    columns = (np.arange(width) + 0.5) * geometry.image_size[1] / width - 0.5
    rows = (np.arange(height) + 0.5) * geometry.image_size[0] / height - 0.5
    u, v = (axis.ravel() for axis in np.meshgrid(columns, rows))
    points = unproject(u, v, depth.ravel(), geometry.intrinsics[index], geometry.world_to_camera[index])
    return points.reshape(height, width, 3)


def point_cloud(geometry: Geometry, frames: FrameSource, indices: Sequence[int], most: int) -> PointCloud:
    """Points of some frames on a regular pixel grid, at most ``most``, without sky, unknown depth and low confidence.

    ``frames`` are the source frames at the geometry's ``image_size``.
    """
    floor = confidence_floor(geometry, indices)
    height, width = geometry.depth.shape[1:]
    stride = max(1, int(np.ceil((len(indices) * height * width / most) ** 0.5)))
    points, colours = [], []
    for index in indices:
        depth, confidence, sky = frame_maps(geometry, index)
        wanted = on_ground(depth, sky)
        if confidence is not None:
            wanted &= confidence >= floor
        image = cv2.resize(frames.read([index])[0], (width, height), interpolation=cv2.INTER_AREA)
        thin = (slice(stride // 2, None, stride), slice(stride // 2, None, stride))
        points.append(lift(geometry, index)[thin][wanted[thin]])
        colours.append(image[thin][wanted[thin]])
    return PointCloud(np.concatenate(points), np.concatenate(colours))
