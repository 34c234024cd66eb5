"""The cameras of several frames: pose and intrinsics together, as renderers and sessions take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inspatio.cameras.poses import centred_intrinsics
from inspatio.types import Intrinsics, WorldToCamera


@dataclass(frozen=True, eq=False)
class Cameras:
    """``t`` pinhole cameras.

    ``intrinsics`` is ``t 3 3`` float64 in pixels of the frame that the camera sees, ``world_to_camera`` is ``t 4 4``
    float64 (OpenCV axes, world = first source camera; see ``poses.py``). Slicing or indexing with a list of places
    gives the cameras at those places.

    Raises:
        ValueError: the arrays have other shapes than these, or values that are not finite.
    """

    intrinsics: Intrinsics
    world_to_camera: WorldToCamera

    def __post_init__(self) -> None:
        shapes, t = (self.intrinsics.shape, self.world_to_camera.shape), len(self.world_to_camera)
        if shapes != ((t, 3, 3), (t, 4, 4)):
            raise ValueError(
                f"cameras: got intrinsics {shapes[0]} and poses {shapes[1]}, expected (t, 3, 3), (t, 4, 4)"
            )
        if not (np.isfinite(self.intrinsics).all() and np.isfinite(self.world_to_camera).all()):
            raise ValueError("cameras: got NaN or infinite values, expected finite intrinsics and poses")

    @classmethod
    def from_poses(cls, world_to_camera: WorldToCamera, intrinsics: Intrinsics) -> Cameras:
        """Cameras at ``t 4 4`` poses with intrinsics of their own (``t 3 3``) or the same for all (``3 3``)."""
        poses = np.asarray(world_to_camera, np.float64)
        return cls(np.broadcast_to(np.asarray(intrinsics, np.float64), (len(poses), 3, 3)), poses)

    def __len__(self) -> int:
        return len(self.world_to_camera)

    def __getitem__(self, places: slice | Sequence[int]) -> Cameras:
        at = places if isinstance(places, slice) else np.asarray(places, np.int64)
        return Cameras(self.intrinsics[at], self.world_to_camera[at])


def target_intrinsics(intrinsics: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """``3 3`` intrinsics with the principal point moved by whole pixels to the centre of ``size`` (height, width).

    It ends up within half a pixel of the centre. Half a pixel of offset is invisible, but a view shifted by a
    fraction of a pixel is blurred everywhere, even where the camera does not move.
    """
    moved = np.array(intrinsics, np.float64)
    moved[:2, 2] += np.rint(centred_intrinsics(moved, size)[:2, 2] - moved[:2, 2])
    return moved
