"""The ``warper``: every source pixel moved by its depth and splatted bilinearly into the target view.

A splat shares its colour among its four neighbours; overlapping splats blend with weight
``exp(-50 log(1 + z) / max log(1 + z))`` (z in the target camera, clamped to 1000; the maximum over one frame), so that
the nearest surface wins. Unknown depth (0, negative, NaN, infinite) and points behind the target camera do not count. Where
nothing landed the frame is black and the mask 0. Pixel centres are at integer coordinates.

The CPU runs compiled loops, one frame to a thread; each frame depends on nothing but its own inputs, so results are
the same bit for bit whatever the number of threads and the chunks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.render import splat_loops
from inspatio.render.jit import on_threads
from inspatio.render.reprojection import Reprojection
from inspatio.types import DepthMaps, Frames, Intrinsics, Masks, WorldToCamera


class WarpRenderer:
    """Renders frames with depth from other cameras by a bilinear forward splat."""

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
        """``t`` frames (``t h w 3`` uint8) with depth (``t h w``) as the ``t`` target cameras see them.

        Intrinsics are ``3 3`` or ``t 3 3`` pixels, poses ``t 4 4``. Returns frames ``t h w 3`` and masks ``t h w``
        (255 where a source pixel landed, 0 elsewhere), both uint8.
        """
        rendered, masks, _ = self.render_with_depth(
            frames, depth, source_intrinsics, source_world_to_camera, target_intrinsics, target_world_to_camera
        )
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
        """As :meth:`render`, with the target's z-depth (``t h w`` float32, blended as colours are; 0 where nothing is)."""
        t, h, w, _ = frames.shape
        assert depth.shape == (t, h, w), f"depth {depth.shape}, expected {(t, h, w)} as the frames are"
        maps = Reprojection.between(
            source_intrinsics, source_world_to_camera, target_intrinsics, target_world_to_camera
        )
        return self._on_cpu(frames, np.ascontiguousarray(depth, np.float32), maps)

    def _on_cpu(self, frames: Frames, depth: DepthMaps, maps: Reprojection) -> tuple[Frames, Masks, DepthMaps]:
        t, h, w, _ = frames.shape
        rendered = np.empty((t, h, w, 3), np.uint8)
        masks = np.empty((t, h, w), np.uint8)
        target_depth = np.empty((t, h, w), np.float32)
        workers = min(self.threads, t)

        def work(worker: int) -> None:
            sums: NDArray[np.float32] = np.empty((h + 2, w + 2, 5), np.float32)
            for i in range(worker, t, workers):
                splat_loops.accumulate(frames[i], depth[i], maps.rotation[i], maps.translation[i], sums)
                splat_loops.resolve(sums, rendered[i], masks[i], target_depth[i])

        on_threads(work, range(workers))
        return rendered, masks, target_depth
