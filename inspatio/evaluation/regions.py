"""Where a frame's pixels come from: what the render covers, holes that other frames show, holes nobody saw, borders.

The regions of a target view, which measures are taken over:

    covered   the render shows the surface
    seen      a hole whose surface another source frame shows: a memory could know it
    unseen    a hole whose surface no source frame shows: it must be invented
    border    within BORDER pixels of the edge of a hole, on both sides
    whole     all of it
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert

Region = Literal["covered", "seen", "unseen", "border", "whole"]
REGIONS: tuple[Region, ...] = get_args(Region)
BORDER = 3
SAME_DEPTH = 0.02
"""Relative difference of depth up to which two frames show the same surface."""

Mask = NDArray[np.bool_]


def regions_of(covered: Mask, seen: Mask | None) -> dict[Region, Mask]:
    """The regions of a view (``h w`` each); without ``seen``, holes are ``unseen`` as far as anyone knows: left out."""
    found: dict[Region, Mask] = {"covered": covered}
    if seen is not None:
        found["seen"], found["unseen"] = ~covered & seen, ~covered & ~seen
    found["border"], found["whole"] = near_border(covered, BORDER), np.ones_like(covered)
    return found


def near_border(mask: Mask, distance: int) -> Mask:
    """The pixels of ``h w`` within ``distance`` pixels (in rows and columns) of the mask's border, on both sides."""
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    holes = (~mask).astype(np.uint8)
    return cv2.dilate(holes, kernel) != cv2.erode(holes, kernel, borderValue=1)


def project(depth: NDArray[np.floating], camera: Cameras, other: Cameras) -> NDArray[np.float32]:
    """Where another camera sees the surface of each pixel: ``3 h w``, column, row and z-depth there.

    ``depth`` is ``h w`` z-depth as ``camera`` sees it; both cameras are single ones.
    """
    height, width = depth.shape
    between = other.world_to_camera[0] @ invert(camera.world_to_camera[0])
    matrix = other.intrinsics[0] @ between[:3, :3] @ np.linalg.inv(camera.intrinsics[0])
    vector = other.intrinsics[0] @ between[:3, 3]
    columns, rows = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (matrix[2, 0] * columns + matrix[2, 1] * rows + matrix[2, 2]) * depth + vector[2]
        x = ((matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2]) * depth + vector[0]) / z
        y = ((matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2]) * depth + vector[1]) / z
    return np.stack([x, y, z]).astype(np.float32)


def visible_at(
    depth: NDArray[np.floating], camera: Cameras, other_depth: NDArray[np.floating], other: Cameras
) -> tuple[NDArray[np.float32], NDArray[np.float32], Mask]:
    """Where another view shows the surface of each pixel, and whether it does.

    Returns columns and rows (``h w`` each, as ``cv2.remap`` takes them), and ``h w``: the surface lies inside the other
    view, nothing is before it there, and it has not moved by itself. Depth 0 is unknown and visible nowhere.
    """
    x, y, z = project(depth, camera, other)
    there = cv2.remap(np.asarray(other_depth, np.float32), x, y, cv2.INTER_NEAREST, borderValue=0)
    return x, y, (np.asarray(depth) > 0) & (there > 0) & (np.abs(there - z) < SAME_DEPTH * z)


def seen_before(
    depth: NDArray[np.floating],
    camera: Cameras,
    source_depth: NDArray[np.floating],
    source_cameras: Cameras,
    place: int,
) -> Mask:
    """``h w``: whether some source frame shows the surface that a target view has at each pixel.

    ``depth`` is the target view's at the time of source frame ``place``; ``source_depth`` (``n h w``) are all frames'.
    """
    seen = np.zeros(depth.shape, bool)
    for frame in sorted(range(len(source_depth)), key=lambda frame: abs(frame - place)):
        unknown = np.where(seen, np.float32(0), np.asarray(depth, np.float32))
        seen |= visible_at(unknown, camera, source_depth[frame], source_cameras[[frame]])[2]
    return seen
