"""What every renderer looks like to the rest, and what they share: checking what they are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from inspatio.types import DepthMaps, Frames, Intrinsics, Masks, WorldToCamera


@dataclass(frozen=True)
class CameraPairs:
    """``t`` source cameras and the ``t`` target cameras that see their frames: float64, ``t 3 3`` and ``t 4 4``."""

    source_intrinsics: Intrinsics
    source_world_to_camera: WorldToCamera
    target_intrinsics: Intrinsics
    target_world_to_camera: WorldToCamera

    @property
    def source_to_target(self) -> np.ndarray:
        """``t 4 4``: the source camera's coordinates to the target camera's."""
        return self.target_world_to_camera @ np.linalg.inv(self.source_world_to_camera)


class Renderer(ABC):
    """Draws source frames with depth as other cameras see them.

    Each frame depends on nothing but its own inputs. On the CPU the result is the same bit for bit, whatever the number
    of threads and however a clip is cut into chunks.
    """

    def __init__(self, device: str | torch.device = "cpu", threads: int | None = None) -> None:
        """``threads``: how many frames at once on the CPU (None: as many as torch uses)."""
        self.device = torch.device(device)
        self.threads = threads or torch.get_num_threads()

    def render(
        self,
        frames: Frames,
        depth: DepthMaps,
        source_intrinsics: Intrinsics,
        source_world_to_camera: WorldToCamera,
        target_intrinsics: Intrinsics,
        target_world_to_camera: WorldToCamera,
    ) -> tuple[Frames, Masks]:
        """``t`` frames (``t h w 3`` uint8) with depth (``t h w``, 0 unknown) as ``t`` target cameras see them.

        Intrinsics are ``3 3`` or ``t 3 3`` pixels, poses ``t 4 4``. Returns frames ``t h w 3``, black where nothing
        landed, and masks ``t h w`` (255 where a source pixel landed, 0 elsewhere), both uint8.
        """
        cameras = _pairs(
            frames, depth, source_intrinsics, source_world_to_camera, target_intrinsics, target_world_to_camera
        )
        rendered, masks, _ = self._draw(frames, depth, cameras, keep_depth=False)
        return rendered, masks

    def render_with_depth(
        self,
        frames: Frames,
        depth: DepthMaps,
        source_intrinsics: Intrinsics,
        source_world_to_camera: WorldToCamera,
        target_intrinsics: Intrinsics,
        target_world_to_camera: WorldToCamera,
    ) -> tuple[Frames, Masks, DepthMaps]:
        """As :meth:`render`, with the z-depth that the target camera sees (``t h w`` float32, 0 where nothing is)."""
        cameras = _pairs(
            frames, depth, source_intrinsics, source_world_to_camera, target_intrinsics, target_world_to_camera
        )
        rendered, masks, target_depth = self._draw(frames, depth, cameras, keep_depth=True)
        assert target_depth is not None, "depth was asked for"
        return rendered, masks, target_depth

    @abstractmethod
    def _draw(
        self, frames: Frames, depth: DepthMaps, cameras: CameraPairs, *, keep_depth: bool
    ) -> tuple[Frames, Masks, DepthMaps | None]:
        """Frames, masks and, where it is asked for, target depth."""


def _pairs(
    frames: Frames,
    depth: DepthMaps,
    source_intrinsics: Intrinsics,
    source_world_to_camera: WorldToCamera,
    target_intrinsics: Intrinsics,
    target_world_to_camera: WorldToCamera,
) -> CameraPairs:
    t, h, w, channels = frames.shape
    assert channels == 3, f"frames {frames.shape}, expected t h w 3"
    assert frames.dtype == np.uint8, f"frames are {frames.dtype}, expected uint8"
    assert depth.shape == (t, h, w), f"depth {depth.shape}, expected {(t, h, w)} as the frames are"
    poses = (np.asarray(source_world_to_camera, np.float64), np.asarray(target_world_to_camera, np.float64))
    for pose in poses:
        assert pose.shape == (t, 4, 4), f"poses {pose.shape}, expected {(t, 4, 4)} for {t} frames"
    return CameraPairs(
        source_intrinsics=np.broadcast_to(np.asarray(source_intrinsics, np.float64), (t, 3, 3)),
        source_world_to_camera=poses[0],
        target_intrinsics=np.broadcast_to(np.asarray(target_intrinsics, np.float64), (t, 3, 3)),
        target_world_to_camera=poses[1],
    )
