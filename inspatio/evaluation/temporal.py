"""Steadiness of a clip in time: flicker along surfaces, reprojection over 1, 12 and 36 frames, revisits of equal poses.

Depth of the target views and their cameras say where a surface was in an earlier frame; what is compared are the
colours of the same piece of surface at two times, where both frames show it and it did not move by itself. The
synthetic rooms are matt, so the truth's own change is only that of resampling and of light; the truth's figures stand
beside those of results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.metrics import psnr
from inspatio.evaluation.regions import BORDER, Mask, near_border, visible_at
from inspatio.types import Image, WorldToCamera

STEPS = (1, 12, 36)
"""Reprojection compares frames so many frames apart: neighbours, one block, three blocks."""
EQUAL_POSE = 1e-6
"""Poses whose numbers differ by no more are one pose."""
LEAST_REVISIT = 8
"""Equal poses that are nearer in time than so many frames are not a revisit."""


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame of a clip with what is known of it: depth and camera of the target view, and what the render covers."""

    place: int
    image: Image
    depth: NDArray[np.floating]
    """``h w`` z-depth of the target view, 0 unknown."""
    camera: Cameras
    """One camera."""
    covered: Mask
    true: Image | None = None


@dataclass
class _Squares:
    total: float = 0.0
    pixels: int = 0

    def add(self, difference: NDArray[np.floating], where: Mask) -> None:
        self.total += float((difference[where].astype(np.float64) ** 2).sum()) / 3
        self.pixels += int(where.sum())


@dataclass
class Steadiness:
    """Collects pairs of moments of one clip; see the module."""

    _reprojection: dict[str, _Squares] = field(default_factory=dict)
    _flicker: list[float] = field(default_factory=list)

    def add(self, before: Moment, after: Moment) -> None:
        """Count a pair of frames that are one of :data:`STEPS` apart."""
        step = after.place - before.place
        columns, rows, visible = visible_at(after.depth, after.camera, before.depth, before.camera)
        came_from = (columns, rows)
        difference = _change(before.image, after.image, came_from)
        # Warped colours mix with what lies outside the frame or behind an edge: the outermost pixels are left out.
        for name, where in (("whole", visible), ("holes", visible & ~after.covered)):
            if where.any():
                self._reprojection.setdefault(f"reprojection_{step}/{name}", _Squares()).add(difference, where)
        near = near_border(after.covered, BORDER) & visible
        if step == 1 and near.any():
            change = np.abs(difference).mean(axis=-1)[near].mean()
            if before.true is not None and after.true is not None:
                change -= np.abs(_change(before.true, after.true, came_from)).mean(axis=-1)[near].mean()
            self._flicker.append(float(change))

    def figures(self) -> dict[str, float]:
        """Reprojection in dB by number of frames and region, and border flicker in 1/255 (beyond the truth's own)."""
        found = {name: psnr(each.total / each.pixels) for name, each in self._reprojection.items()}
        if self._flicker:
            found["flicker/border"] = float(np.mean(self._flicker))
        return found


def _change(before: Image, after: Image, came_from: tuple[NDArray[np.float32], NDArray[np.float32]]) -> NDArray:
    """``h w 3``: how the colour of each piece of surface changed."""
    return after.astype(np.float32) - cv2.remap(before, *came_from, cv2.INTER_LINEAR)


def revisits(world_to_camera: WorldToCamera) -> list[tuple[int, int]]:
    """Pairs of places (earlier, later) at which the camera has the same pose, at least LEAST_REVISIT frames apart.

    A camera that never moves revisits nothing: each place is paired with its first equal one only, and only where the
    camera was somewhere else in between.
    """
    pairs, count = [], len(world_to_camera)
    for later in range(count):
        earlier = next(
            (
                i
                for i in range(later - LEAST_REVISIT + 1)
                if np.abs(world_to_camera[i] - world_to_camera[later]).max() < EQUAL_POSE
            ),
            None,
        )
        if earlier is not None:
            between = np.abs(world_to_camera[earlier : later + 1] - world_to_camera[later]).max()
            if between >= EQUAL_POSE:
                pairs.append((earlier, later))
    return pairs


def revisit_figures(pairs: Sequence[tuple[Moment, Moment]]) -> dict[str, float]:
    """PSNR between frames of one pose at two times, in all pixels and in holes of both.

    Where the truth is known, pixels count only where it is the same at both times (to 2 of 255): nothing moved there.
    Without it, what moves counts as well.
    """
    sums = {"whole": _Squares(), "holes": _Squares()}
    for earlier, later in pairs:
        same = np.ones(earlier.covered.shape, bool)
        if earlier.true is not None and later.true is not None:
            same = np.abs(earlier.true.astype(np.int16) - later.true).max(axis=-1) <= 2
        difference = later.image.astype(np.float32) - earlier.image
        sums["whole"].add(difference, same)
        sums["holes"].add(difference, same & ~earlier.covered & ~later.covered)
    return {f"revisit/{name}": psnr(each.total / each.pixels) for name, each in sums.items() if each.pixels}
