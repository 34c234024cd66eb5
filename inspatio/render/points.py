"""Points with a z-buffer: the ``ply`` renderer, and the splat of loose coloured points.

The ``ply`` renderer draws every source pixel as a square of side 5 on a canvas of twice the size (point size 2 at twofold
 supersampling, made odd), nearest surface first; then colour shrinks by area, the mask by nearest neighbour.
Points within 1e-4 of the nearest count as one surface, of which the last in reading order shows. The near plane is
at 0.1 of the scene's unit. Rendered squares are larger than the pixels they come from: zero motion blurs by about a pixel.

:func:`splat_points` has no canvas and no tolerance: one pass, nearest point wins, the first of equals.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.render import point_loops
from inspatio.render.jit import on_threads
from inspatio.types import DepthMaps, Frames, Image, Intrinsics, Masks, WorldToCamera

SUPERSAMPLING = 2


class PointRenderer:
    """Renders frames with depth from other cameras as square points with a z-buffer."""

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
        (255 where a point is seen, 0 elsewhere), both uint8.
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
        """As :meth:`render`, with the target's z-depth (``t h w`` float32, 0 where nothing is)."""
        t, h, w, _ = frames.shape
        assert depth.shape == (t, h, w), f"depth {depth.shape}, expected {(t, h, w)} as the frames are"
        depth = np.ascontiguousarray(depth, np.float32)
        source = _each(np.asarray(source_intrinsics), t)
        canvas_intrinsics = _each(np.asarray(target_intrinsics) * [[SUPERSAMPLING], [SUPERSAMPLING], [1]], t)
        to_target = _each(target_world_to_camera @ np.linalg.inv(source_world_to_camera), t)
        rendered = np.empty((t, h, w, 3), np.uint8)
        masks = np.empty((t, h, w), np.uint8)
        target_depth = np.empty((t, h, w), np.float32)
        workers = min(self.threads, t)

        def work(worker: int) -> None:
            projected = np.empty((h, w, 3), np.float32)
            canvas = np.empty((SUPERSAMPLING * h, SUPERSAMPLING * w, 3), np.uint8)
            nearest = np.empty((SUPERSAMPLING * h, SUPERSAMPLING * w), np.float32)
            for i in range(worker, t, workers):
                rotation, translation = to_target[i, :3, :3], to_target[i, :3, 3]
                point_loops.project_pixels(depth[i], source[i], rotation, translation, canvas_intrinsics[i], projected)
                point_loops.draw_squares(frames[i], projected, nearest, canvas)
                point_loops.shrink(canvas, nearest, rendered[i], masks[i], target_depth[i])

        on_threads(work, range(workers))
        return rendered, masks, target_depth


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
        threads: on how many threads the points are shared out (None: as many as torch uses).

    Returns:
        Image ``h w 3`` uint8 and z-depth ``h w`` float32 (0 where nothing landed), coverage ``h w`` uint8 (255 or 0).
    """
    assert points.shape == colours.shape, f"points {points.shape} and colours {colours.shape} must both be v 3"
    points = np.ascontiguousarray(points, np.float32)
    to_pixels = (np.asarray(intrinsics) @ world_to_camera[:3]).astype(np.float32)
    parts = max(1, min(threads or torch.get_num_threads(), len(points) // MIN_POINTS_PER_THREAD))
    starts = np.linspace(0, len(points), parts + 1).astype(np.int64)
    nearest = np.empty((parts, *size), np.float32)
    winner = np.empty((parts, *size), np.int32)

    def work(part: int) -> None:
        start, end = int(starts[part]), int(starts[part + 1])
        point_loops.nearest_points(
            points[start:end],
            start,
            to_pixels[:, :3],
            to_pixels[:, 3],
            np.float32(point_size),
            np.float32(near),
            nearest[part],
            winner[part],
        )

    on_threads(work, range(parts))
    image = np.empty((*size, 3), np.uint8)
    depth = np.empty(size, np.float32)
    coverage = np.empty(size, np.uint8)
    point_loops.show_winners(nearest, winner, colours, image, depth, coverage)
    return image, depth, coverage


MIN_POINTS_PER_THREAD = 50_000
"""Below this a further thread costs more than it saves."""


def _each(matrices: NDArray[np.float64], t: int) -> NDArray[np.float32]:
    """One float32 matrix to a frame, whether one is given for all or ``t``."""
    return np.ascontiguousarray(np.broadcast_to(matrices, (t, *matrices.shape[-2:])), np.float32)
