"""The ``warper``: every source pixel moved by its depth and splatted bilinearly into the target view.

A splat shares its colour among its four neighbours; overlapping splats blend with weight
``exp(-50 log(1 + z) / max log(1 + z))`` (z in the target camera, clamped to 1000; the maximum over one frame), so that
the nearest surface wins. Unknown depth (0, negative, NaN, infinite) and points behind the target camera do not count.
Where nothing landed the frame is black and the mask 0. Pixel centres are at integer coordinates. Depth of the target
view is blended as colours are. Published with InSpatio-World (arXiv 2604.07209).

What to expect of it: a surface that comes more than twice as near shows gaps between its splats, and a slope that was
seen edge-on opens in thin lines; both are holes in the mask, for the generator to fill. Edges of near things carry the
background that the source had mixed into their last pixel.

A source pixel ``p = (x, y, 1)`` of z-depth ``d`` lands at ``rotation p + translation / d``, up to the positive factor
``d``: ``(u z, v z, z) / d``. Dividing by the depth, instead of lifting to space and projecting, costs less and is exact
where nothing moves: then ``rotation`` is the identity, ``translation`` zero, and no rounding of the depth enters the
pixel.

The CPU runs compiled loops, one frame to a thread (``splat_loops.py``); any other device runs ``splat_torch.py``.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.jit import on_threads
from inspatio.render import splat_loops
from inspatio.render.renderer import DeviceRender, Renderer, source_to_target
from inspatio.render.splat_torch import draw_in_chunks
from inspatio.scene import Render
from inspatio.types import DepthMaps, Frames


class WarpRenderer(Renderer):
    """Draws frames with depth from other cameras by a bilinear forward splat."""

    def render_on_device(
        self, frames: torch.Tensor, depth: torch.Tensor, source: Cameras, target: Cameras
    ) -> DeviceRender:
        return draw_in_chunks(frames, depth, *pixel_maps(source, target))

    def _draw(self, frames: Frames, depth: DepthMaps, source: Cameras, target: Cameras, *, with_depth: bool) -> Render:
        rotation, translation = pixel_maps(source, target)
        t, h, w, _ = frames.shape
        frames = np.ascontiguousarray(frames)
        depth = np.ascontiguousarray(depth, np.float32)
        rendered = np.empty((t, h, w, 3), np.uint8)
        masks = np.empty((t, h, w), np.uint8)
        target_depth = np.empty((t, h, w), np.float32) if with_depth else None
        workers = min(self.threads, t)

        def work(worker: int) -> None:
            bordered = (h + 2) * (w + 2)
            sums = np.empty(bordered * splat_loops.CHANNELS, np.float32)
            depth_sums = np.empty(bordered if with_depth else 0, np.float32)
            for i in range(worker, t, workers):
                splat_loops.splat(frames[i], depth[i], rotation[i], translation[i], sums, depth_sums)
                splat_loops.resolve(sums, rendered[i], masks[i])
                if target_depth is not None:
                    splat_loops.resolve_depth(sums, depth_sums, target_depth[i])

        on_threads(work, range(workers))
        return Render(rendered, masks, target_depth)


def pixel_maps(source: Cameras, target: Cameras) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``rotation`` (``t 3 3``) and ``translation`` (``t 3``) of the module's formula, worked out in float64."""
    between = source_to_target(source, target)
    rotation = target.intrinsics @ between[:, :3, :3] @ np.linalg.inv(source.intrinsics)
    translation = (target.intrinsics @ between[:, :3, 3:])[..., 0]
    return rotation.astype(np.float32), translation.astype(np.float32)
