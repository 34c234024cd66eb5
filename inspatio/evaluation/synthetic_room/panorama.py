"""A panorama of the synthetic room with the exact distance of every pixel, and what cameras elsewhere truly see.

The panorama's world is that of ``geometry/panorama.py``: origin at its centre, +X into the room, y down.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from inspatio.evaluation.synthetic_room import raycast
from inspatio.evaluation.synthetic_room.scene import ROOM, SIDES, WINDOW, furniture
from inspatio.jit import compiled_parallel
from inspatio.types import Image, Intrinsics

CENTRE = (0.0, 0.6, 1.42)
"""Where the panorama is taken, in room coordinates: eye height, a metre and more from everything."""
FRAME = 40
"""The moment: the ball is in the air."""

WORLD_TO_ROOM = np.array(
    [
        [0.0, 0.0, -1.0, CENTRE[0]],
        [1.0, 0.0, 0.0, CENTRE[1]],
        [0.0, -1.0, 0.0, CENTRE[2]],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def true_panorama(height: int) -> tuple[Image, NDArray[np.float32]]:
    """The panorama ``h 2h 3`` uint8, and the distance ``h 2h`` in metres through each pixel's middle."""
    things, groups = furniture(FRAME)
    image, distance = np.empty((height, 2 * height, 3), np.uint8), np.empty((height, 2 * height), np.float32)
    _cast(things, groups, ROOM, WINDOW, SIDES, WORLD_TO_ROOM, image, distance)
    return image, distance


def true_view(world_to_camera: np.ndarray, intrinsics: Intrinsics, size: tuple[int, int]) -> Image:
    """What a camera in the panorama's world (in metres) sees: ``h w 3`` uint8."""
    things, groups = furniture(FRAME)
    pose = WORLD_TO_ROOM @ np.linalg.inv(world_to_camera)
    return raycast.view(things, groups, ROOM, WINDOW, SIDES, pose, intrinsics, size)


def true_depth(world_to_camera: np.ndarray, intrinsics: Intrinsics, size: tuple[int, int]) -> NDArray[np.float32]:
    """The z-depth ``h w`` in metres of the same view."""
    things, groups = furniture(FRAME)
    pose = WORLD_TO_ROOM @ np.linalg.inv(world_to_camera)
    return raycast.view_depth(things, groups, ROOM, pose, intrinsics, size)


@compiled_parallel
def _cast(things, groups, room, window, sides, pose, image, distance):
    height, width = distance.shape
    side = raycast.SIDE
    for row in numba.prange(height):
        for column in range(width):
            total = np.zeros(3)
            for sample in range(-1, side * side):
                # The pixel's middle for its distance, then a grid of samples for its colour.
                across, down = 0.5, 0.5
                if sample >= 0:
                    across, down = (sample % side + 0.5) / side, (sample // side + 0.5) / side
                azimuth = 2 * np.pi * (column + across) / width - np.pi
                polar = np.pi * (row + down) / height
                x, y, z = np.sin(polar) * np.cos(azimuth), -np.cos(polar), -np.sin(polar) * np.sin(azimuth)
                dx = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z
                dy = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z
                dz = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z
                t, red, green, blue = raycast._trace(
                    things, groups, room, window, sides, max(sample, 0), pose[0, 3], pose[1, 3], pose[2, 3], dx, dy, dz
                )
                if sample < 0:
                    distance[row, column] = t
                else:
                    total[0] += min(red, 1.0)
                    total[1] += min(green, 1.0)
                    total[2] += min(blue, 1.0)
            for channel in range(3):
                image[row, column, channel] = np.uint8(total[channel] * 255.0 / (side * side) + 0.5)
