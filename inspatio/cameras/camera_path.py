"""A camera path as a file of another program gives it: one camera a frame, in that program's world and unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.types import WorldToCamera


@dataclass(frozen=True, eq=False)
class CameraPath:
    """The cameras of ``n`` frames, and what else the file says.

    Poses stay in the file's world and unit, but have this package's axes (OpenCV's, see ``poses.py``).
    """

    cameras: Cameras
    has_intrinsics: bool = False
    """Whether the intrinsics are the file's; otherwise they stand in for those that the file does not have."""
    times: NDArray[np.float64] | None = None
    """``n`` seconds, rising, where the file has times."""
    source_times: NDArray[np.float64] | None = None
    """``n`` moments of the source clip, from 0 (its first frame) to 1 (its last)."""
    source_frames: tuple[int, ...] | None = None
    """``n`` source frames, where the file numbers them."""
    source: WorldToCamera | None = None
    """``m 4 4`` cameras of the source clip's frames in the same world, where the file has them."""
    in_scene: bool = False
    """Whether the world is already the first source camera's, as in this project's own files."""
    in_foreground_units: bool = False
    """Whether translations are in foreground depths."""
    notes: tuple[str, ...] = ()
    """What had to be decided to read the file, one sentence each."""

    def __len__(self) -> int:
        return len(self.cameras)
