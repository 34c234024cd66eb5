"""Points with a z-buffer: the ``ply`` renderer, and the splat of loose coloured points.

The ``ply`` renderer draws every source pixel as a square of side 5 on a canvas of twice the size (point size 2 at
twofold supersampling, made odd), nearest surface first; then colour shrinks by area, the mask by nearest neighbour.
At the edge of a hole a little colour may therefore lie beside the mask, and a little black under it.
Points within 1e-4 of the nearest count as one surface, of which the last in reading order shows. The near plane is
at 0.1 of the scene's unit. Squares are larger than the pixels they stand for: what moves little is blurred by about
a pixel. Published with InSpatio-World (arXiv 2604.07209).

:func:`splat_points` has no canvas and no tolerance: the nearest point of each pixel shows, the first of equals.

The CPU runs compiled loops (``point_loops.py``); any other device runs ``points_torch.py``.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.jit import on_threads
from inspatio.render import point_loops
from inspatio.render.points_torch import draw_in_chunks
from inspatio.render.renderer import DeviceRender, Renderer, source_to_target
from inspatio.scene import Render
from inspatio.types import DepthMaps, Frames, Image, Intrinsics, WorldToCamera

SUPERSAMPLING = 2
MIN_POINTS_PER_THREAD = 50_000
"""Below this a further thread costs more than it saves."""


class PointRenderer(Renderer):
    """Draws frames with depth from other cameras as square points with a z-buffer."""

    def render_on_device(
        self, frames: torch.Tensor, depth: torch.Tensor, source: Cameras, target: Cameras
    ) -> DeviceRender:
        return draw_in_chunks(frames, depth, *canvas_maps(source, target))

    def _draw(self, frames: Frames, depth: DepthMaps, source: Cameras, target: Cameras, *, with_depth: bool) -> Render:
        t, h, w, _ = frames.shape
        frames = np.ascontiguousarray(frames)
        depth = np.ascontiguousarray(depth, np.float32)
        maps = canvas_maps(source, target)
        rendered = np.empty((t, h, w, 3), np.uint8)
        masks = np.empty((t, h, w), np.uint8)
        target_depth = np.empty((t, h, w), np.float32)
        workers = min(self.threads, t)

        def work(worker: int) -> None:
            columns, rows, depths = (np.empty((h, w), np.float32) for _ in range(3))
            canvas = np.empty((SUPERSAMPLING * h, SUPERSAMPLING * w), np.uint32)
            nearest = np.empty(canvas.shape, np.float32)
            for i in range(worker, t, workers):
                point_loops.project_pixels(depth[i], *(each[i] for each in maps), columns, rows, depths)
                point_loops.draw_squares(frames[i], columns, rows, depths, nearest, canvas)
                point_loops.shrink(canvas, nearest, rendered[i], masks[i], target_depth[i])

        on_threads(work, range(workers))
        return Render(rendered, masks, target_depth if with_depth else None)


def canvas_maps(source: Cameras, target: Cameras) -> tuple[NDArray[np.float32], ...]:
    """How pixels get to the canvas: source intrinsics, rotation, translation, and intrinsics of the canvas.

    ``t 3 3`` but for the translation (``t 3``); the canvas is ``SUPERSAMPLING`` times the frame.
    """
    between = source_to_target(source, target)
    maps = (
        source.intrinsics,
        between[:, :3, :3],
        between[:, :3, 3],
        target.intrinsics * [[SUPERSAMPLING], [SUPERSAMPLING], [1]],
    )
    return tuple(np.ascontiguousarray(each, np.float32) for each in maps)


def splat_points(
    points: NDArray[np.float32],
    colours: NDArray[np.uint8],
    world_to_camera: WorldToCamera,
    intrinsics: Intrinsics,
    size: tuple[int, int],
    *,
    point_size: float = 1.0,
    near: float = 0.0,
    threads: int | None = None,
) -> tuple[Image, NDArray[np.float32], NDArray[np.uint8]]:
    """Loose coloured points as one camera sees them: the nearest point of each pixel.

    Args:
        points: ``v 3`` world coordinates; points with a NaN are never drawn.
        colours: ``v 3`` uint8.
        world_to_camera: ``4 4``.
        intrinsics: ``3 3`` in pixels of ``size`` (height, width).
        point_size: side in pixels of the square that a point covers, centred on it; at 1 that is the nearest pixel.
        near: points whose z is not beyond it are not drawn.
        threads: on how many threads the points are shared out (None: as many as torch uses); the result is the same.

    Returns:
        Image ``h w 3`` uint8 and z-depth ``h w`` float32 (0 where nothing landed), coverage ``h w`` uint8 (255 or 0).
    """
    assert points.shape == colours.shape, f"points {points.shape} and colours {colours.shape} must both be v 3"
    points = np.ascontiguousarray(points, np.float32)
    to_pixels = np.asarray(intrinsics, np.float64) @ np.asarray(world_to_camera, np.float64)[:3]
    rotation, translation = to_pixels[:, :3].astype(np.float32), to_pixels[:, 3].astype(np.float32)
    parts = max(1, min(threads or torch.get_num_threads(), len(points) // MIN_POINTS_PER_THREAD))
    starts = np.linspace(0, len(points), parts + 1).astype(np.int64)
    nearest = np.empty((parts, *size), np.float32)
    winner = np.empty((parts, *size), np.int32)

    def work(part: int) -> None:
        first, end = int(starts[part]), int(starts[part + 1])
        point_loops.nearest_points(
            points[first:end],
            first,
            rotation,
            translation,
            np.float32(point_size),
            np.float32(near),
            nearest[part],
            winner[part],
        )

    on_threads(work, range(parts))
    image = np.empty((*size, 3), np.uint8)
    depth = np.empty(size, np.float32)
    coverage = np.empty(size, np.uint8)
    point_loops.show_winners(nearest, winner, np.ascontiguousarray(colours), image, depth, coverage)
    return image, depth, coverage
