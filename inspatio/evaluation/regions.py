"""Regions of a frame: the borders of holes, and the pixels whose surface was seen a frame before."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.types import Image

SAME_DEPTH = 0.02
"""Relative difference of depth up to which two frames show the same surface."""


@dataclass(frozen=True)
class View:
    """One frame of a target view: what was made and what is true, ``h w 3`` uint8."""

    place: int
    """Its place in the clip."""
    render: Image
    mask: NDArray[np.bool_]
    """``h w``: what the render covers; the rest are holes."""
    result: Image
    true: Image
    true_depth: NDArray[np.float32]
    """``h w`` z-depth."""
    world_to_camera: NDArray[np.float64]
    """``4 4``."""


def near_border(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The pixels of ``h w`` within ``distance`` pixels (in rows and columns) of the mask's border, on both sides."""
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    holes = (~mask).astype(np.uint8)
    return cv2.dilate(holes, kernel) != cv2.erode(holes, kernel, borderValue=1)


def follow_surface(
    after: View, before: View, intrinsics: NDArray[np.float64]
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], NDArray[np.bool_]]:
    """Where the surface that each pixel shows was in the frame before, by true depth and ``3 3`` intrinsics.

    Returns columns and rows (``h w`` each, as ``cv2.remap`` takes them), and ``h w``: whether the surface was visible
    there and did not move by itself.
    """
    height, width = after.true_depth.shape
    pixels = np.indices((height, width))[::-1].reshape(2, -1)
    depth = after.true_depth.astype(np.float64).ravel()
    points = np.linalg.inv(intrinsics) @ (np.concatenate([pixels, np.ones((1, pixels.shape[1]))]) * depth)
    between = before.world_to_camera @ invert(after.world_to_camera)
    points = intrinsics @ (between[:3, :3] @ points + between[:3, 3:])
    u, v = (points[:2] / points[2]).astype(np.float32).reshape(2, height, width)
    there = cv2.remap(before.true_depth, u, v, cv2.INTER_NEAREST, borderValue=0)
    visible = np.abs(there.ravel() - points[2]) < SAME_DEPTH * depth
    return (u, v), visible.reshape(height, width)


def border_flicker(before: View, after: View, intrinsics: NDArray[np.float64], distance: int = 3) -> float:
    """How much more the result changes than the truth does at the borders of holes, along the true surfaces.

    Mean absolute change from frame to frame, in 1/255, within ``distance`` pixels of a hole's border; 0 without any.
    """
    came_from, visible = follow_surface(after, before, intrinsics)
    near = near_border(after.mask, distance) & visible
    if not near.any():
        return 0.0
    change, true_change = (
        np.abs(new.astype(np.float32) - cv2.remap(old, *came_from, cv2.INTER_LINEAR)).mean(axis=-1)[near].mean()
        for new, old in ((after.result, before.result), (after.true, before.true))
    )
    return float(change - true_change)
