"""Where a source pixel with a depth lands in the target view.

A source pixel ``p = (x, y, 1)`` of z-depth ``d`` is seen by the target camera at ``rotation p + translation / d``, up
to the positive factor ``d``: ``(u z, v z, z) / d``. Dividing by the depth, instead of lifting to space and projecting,
costs less and is exact where nothing moves: then ``rotation`` is the identity, ``translation`` zero, and no rounding of
the depth enters the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.types import Intrinsics, WorldToCamera


@dataclass(frozen=True)
class Reprojection:
    """``t`` pixel maps: ``rotation`` (``t 3 3``, pixels to pixels) and ``translation`` (``t 3``, pixels times depth).

    The last row of both gives the target's z-depth over the source's.
    """

    rotation: NDArray[np.float32]
    translation: NDArray[np.float32]

    @classmethod
    def between(
        cls,
        source_intrinsics: Intrinsics,
        source_world_to_camera: WorldToCamera,
        target_intrinsics: Intrinsics,
        target_world_to_camera: WorldToCamera,
    ) -> Reprojection:
        """From ``t`` source cameras to ``t`` target cameras; intrinsics ``3 3`` or ``t 3 3``, poses ``t 4 4``."""
        source_to_target = np.asarray(target_world_to_camera, np.float64) @ np.linalg.inv(source_world_to_camera)
        target_intrinsics = np.asarray(target_intrinsics, np.float64)
        rotation = target_intrinsics @ source_to_target[..., :3, :3] @ np.linalg.inv(source_intrinsics)
        translation = (target_intrinsics @ source_to_target[..., :3, 3:])[..., 0]
        return cls(rotation.astype(np.float32), translation.astype(np.float32))
