"""A near disc before a far wall, with the mixed pixels on its outline that a camera would see."""

from __future__ import annotations

import numpy as np
from support.scenes import Clip, wall

NEAR, FAR = 2.0, 6.0
SIDE = 64
RADIUS = 14.0
RED, BLUE = np.array([220.0, 40, 30]), np.array([30.0, 60, 200])
SHIFT = 0.5
"""How far the target camera stands to the right: 16 pixels for what is near, 5 1/3 for what is far."""


def disc(shift: float = 0.0) -> np.ndarray:
    """``h w``: the share of each pixel that a near disc covers, its centre ``shift`` pixels left of the middle."""
    fine = (np.arange(8 * SIDE) + 0.5) / 8 - 0.5 - (SIDE - 1) / 2
    inside = (fine[:, None] ** 2 + (fine[None] + shift) ** 2 < RADIUS**2).astype(float)
    return inside.reshape(SIDE, 8, SIDE, 8).mean(axis=(1, 3))


def disc_before_wall(grain: float = 0.0) -> Clip:
    """One frame of the disc before a far wall, each pixel the mixture of the two that a camera would see."""
    share = disc()[..., None]
    noise = np.random.default_rng(0).normal(0, grain, (SIDE, SIDE, 1))
    frame = np.clip(share * RED + (1 - share) * BLUE + noise + 0.5, 0, 255).astype(np.uint8)
    target = np.eye(4)
    target[0, 3] = -SHIFT
    plain = wall(SIDE, SIDE, FAR, focal=float(SIDE), target=target)
    depth = np.where(disc() > 0.5, NEAR, FAR).astype(np.float32)
    return Clip(frame[None], depth[None], plain.source_intrinsics, plain.source, plain.target_intrinsics, plain.target)
