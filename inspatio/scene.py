"""A clip as a thing in space: frames, depth, cameras and a prompt, streamed.

Everything that follows geometry works on a :class:`Scene`: the render stage, the generators, the viewer, the
evaluation. A scene holds no pixels; frames and depth are read when asked for, so its memory does not grow
with the clip. World coordinates are the first camera's (OpenCV axes); poses say their direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol

import numpy as np

from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import Trajectory
from inspatio.config import Controls
from inspatio.errors import ClipError
from inspatio.types import DepthMaps, Frames, Intrinsics, ScaleKind, WorldToCamera

FOREGROUND_PERCENTILE = 5.0
"""The foreground depth, which scales every displacement, is this percentile of the first frame's valid depths."""


class FrameSource(Protocol):
    """Frames by index. Ascending reads are cheap; others cost a seek."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Frames:
        """``t h w c`` uint8 RGB, fitted to the scene's size."""
        ...


class DepthSource(Protocol):
    """Depth maps by index."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> DepthMaps:
        """``t h w`` float32 at the scene's size, 0 where depth is not known."""
        ...


@dataclass(frozen=True)
class Scene:
    """One clip, ready to be seen from elsewhere.

    ``intrinsics`` (``n 3 3``, pixels) are for frames of ``size`` (height, width); ``world_to_camera`` is
    ``n 4 4`` with the first camera at the origin. ``scale`` says what a depth of 1 means.
    """

    clip_id: str
    frames: FrameSource
    depth: DepthSource
    intrinsics: Intrinsics
    world_to_camera: WorldToCamera
    size: tuple[int, int]
    frame_rate: Fraction
    scale: ScaleKind
    prompt: str = ""
    foreground_ratio: float = 1.0
    """Multiplies the foreground depth (the public clip list's ``radius_ratio``)."""
    order: tuple[int, ...] | None = field(default=None)
    """Which frame of the sources stands at each place of this scene's clip; None: as they come."""

    def __post_init__(self) -> None:
        n = len(self)
        assert self.intrinsics.shape == (n, 3, 3), f"intrinsics {self.intrinsics.shape}, expected ({n}, 3, 3)"
        assert self.world_to_camera.shape == (n, 4, 4), f"poses {self.world_to_camera.shape}, expected ({n}, 4, 4)"

    def __len__(self) -> int:
        return len(self.frames) if self.order is None else len(self.order)

    def select(self, order: Sequence[int]) -> Scene:
        """The same scene with its clip played in another order: frames, depth and cameras alike."""
        index = np.asarray(order, dtype=np.int64)
        return replace(
            self,
            intrinsics=self.intrinsics[index],
            world_to_camera=self.world_to_camera[index],
            order=tuple(self._sources(index.tolist())),
        )

    def read_frames(self, indices: Sequence[int]) -> Frames:
        """``t h w c`` uint8 RGB frames at these places of the clip."""
        return self.frames.read(self._sources(indices))

    def read_depth(self, indices: Sequence[int]) -> DepthMaps:
        """``t h w`` float32 depth at these places of the clip, 0 where not known."""
        return self.depth.read(self._sources(indices))

    def foreground_depth(self) -> float:
        """The depth that scales displacements, in the scene's unit.

        Raises:
            ClipError: the first frame has no valid depth at all.
        """
        depth = self.read_depth([0])[0]
        valid = depth[np.isfinite(depth) & (depth > 0)]
        if valid.size == 0:
            raise ClipError(
                f"{self.clip_id}: the first frame has no valid depth, so displacements have no scale; "
                "expected positive depths. Check the geometry folder or choose another --geometry backend."
            )
        return float(np.percentile(valid, FOREGROUND_PERCENTILE)) * self.foreground_ratio

    def _sources(self, indices: Sequence[int]) -> list[int]:
        return list(indices) if self.order is None else [self.order[i] for i in indices]


def target_cameras(scene: Scene, trajectory: Trajectory, controls: Controls) -> WorldToCamera:
    """The new cameras, ``n 4 4``, for a scene that has been through ``scene.select(clip_order(...))``.

    Raises:
        ClipError: the scene has no depth to scale displacements by.
    """
    poses = trajectory.camera_to_world(len(scene), scene.foreground_depth(), rotation_only=controls.rotation_only)
    if controls.relative_to_source:
        poses = invert(scene.world_to_camera) @ poses
    return invert(poses)
