"""Windows of frames, each in a world of its own, become one clip in the first window's world.

Each window is aligned to what stands (``similarity.py``) over the frames that both have seen, brought there, and over
those frames blended: the new window's weight rises evenly from nothing to one, so that nothing jumps. Depth that only
one of the two knows is taken from that one. Depth and confidence wait in files; cameras are small and stay in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import interpolate
from inspatio.geometry.depth_anything3.similarity import Alignment, View, align
from inspatio.geometry.depth_anything3.spool import Spool
from inspatio.types import WorldToCamera


@dataclass(frozen=True)
class Seam:
    """Where a window was joined to the ones before, and how well."""

    start: int
    """First frame that both have seen."""
    frames: int
    alignment: Alignment


class Stitcher:
    """Windows in order, each beginning among the frames that are there already; see the module's docstring.

    ``intrinsics`` (``n 3 3``) and ``world_to_camera`` (``n 4 4``) hold the clip so far, as do the spools.
    """

    def __init__(self, frame_count: int, depth: Spool, confidence: Spool) -> None:
        self._depth = depth
        self._confidence = confidence
        self.done = 0
        self.intrinsics: NDArray[np.float64] = np.zeros((frame_count, 3, 3))
        self.world_to_camera: WorldToCamera = np.zeros((frame_count, 4, 4))
        self.seams: list[Seam] = []

    def add(self, start: int, window: View) -> None:
        """Join the window whose first frame is ``start``."""
        stop = start + len(window.depth)
        assert start <= self.done < stop, (
            f"frames {start} to {stop - 1} do not go on from the {self.done} that are there"
        )
        shared = self.done - start
        if shared:
            standing = self._standing(start, self.done)
            alignment = align(_first(window, shared), standing)
            self.seams.append(Seam(start, shared, alignment))
            window = _moved(window, alignment)
            window = _blended(standing, window)
        else:
            assert start == 0, f"a window from frame {start} on shares nothing with the {self.done} that are there"
        self._depth.write(start, window.depth)
        self._confidence.write(start, window.confidence)
        self.intrinsics[start:stop] = window.intrinsics
        self.world_to_camera[start:stop] = window.world_to_camera
        self.done = stop

    def _standing(self, start: int, stop: int) -> View:
        return View(
            self._depth.read(start, stop),
            self._confidence.read(start, stop),
            self.intrinsics[start:stop].copy(),
            self.world_to_camera[start:stop].copy(),
        )


def _first(view: View, count: int) -> View:
    return View(view.depth[:count], view.confidence[:count], view.intrinsics[:count], view.world_to_camera[:count])


def _moved(view: View, alignment: Alignment) -> View:
    similarity = alignment.similarity
    return View(
        (view.depth * similarity.scale).astype(np.float32),
        view.confidence,
        view.intrinsics,
        similarity.cameras(view.world_to_camera),
    )


def _blended(standing: View, window: View) -> View:
    """The window, its first frames mixed with the same frames of what stands."""
    shared = len(standing.depth)
    rise = np.arange(1, shared + 1) / (shared + 1)
    per_map = rise[:, None, None]
    old, new = standing.depth, window.depth[:shared]
    weight = np.where(_known(old), np.where(_known(new), per_map, 0.0), 1.0)
    depth, confidence = window.depth.copy(), window.confidence.copy()
    intrinsics, poses = window.intrinsics.copy(), window.world_to_camera.copy()
    depth[:shared] = _mix(np.nan_to_num(old), np.nan_to_num(new), weight)
    confidence[:shared] = _mix(standing.confidence, window.confidence[:shared], per_map)
    intrinsics[:shared] = _mix(standing.intrinsics, window.intrinsics[:shared], per_map)
    poses[:shared] = interpolate(standing.world_to_camera, window.world_to_camera[:shared], rise)
    return View(depth, confidence, intrinsics, poses)


def _known(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.isfinite(depth) & (depth > 0)


def _mix(old: NDArray, new: NDArray, weight: NDArray) -> NDArray:
    return old + weight * (new - old)
