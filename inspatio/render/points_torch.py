"""The ``ply`` renderer on whole chunks of frames with torch: the GPU's, and the readable statement of it.

``points.py`` says what is drawn. Of the points that a canvas pixel might show the greatest index is taken, so that the
result does not depend on the order in which a device works.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from numpy.typing import NDArray

from inspatio.models.memory import upload
from inspatio.render.point_loops import DEPTH_TOLERANCE, HALF_SIDE, NEAR_PLANE
from inspatio.render.renderer import DeviceRender

CHUNK = 8
"""Frames at a time: at 832x480 some 400 MB on the device."""


def draw_in_chunks(
    frames: torch.Tensor,
    depth: torch.Tensor,
    source: NDArray[np.float32],
    rotation: NDArray[np.float32],
    translation: NDArray[np.float32],
    canvas: NDArray[np.float32],
) -> DeviceRender:
    """Frames ``t h w 3`` with depth ``t h w``, drawn on their device."""
    maps = [upload(torch.from_numpy(each), frames.device) for each in (source, rotation, translation, canvas)]
    chunks = zip(*(each.split(CHUNK) for each in (frames, depth, *maps)), strict=True)
    drawn = [draw(*chunk) for chunk in chunks]
    return DeviceRender(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))


def draw(
    frames: torch.Tensor,
    depth: torch.Tensor,
    source: torch.Tensor,
    rotation: torch.Tensor,
    translation: torch.Tensor,
    canvas: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """uint8 frames ``t h w 3``, uint8 masks ``t h w`` (255 or 0) and target depth ``t h w`` float32.

    ``source`` and ``canvas`` are intrinsics (``t 3 3``, the latter for twice the frames' size); ``rotation``
    (``t 3 3``) and ``translation`` (``t 3``) take the source camera's coordinates to the target's.
    """
    t, h, w = depth.shape
    u, v, z = project(depth, source, rotation, translation, canvas)
    height, width = 2 * h, 2 * w
    first = repeat(torch.arange(t, device=depth.device) * (height * width), "t -> t h w", h=h, w=w)
    places = [(dy, dx) for dy in range(-HALF_SIDE, HALF_SIDE + 1) for dx in range(-HALF_SIDE, HALF_SIDE + 1)]
    # What falls beside the canvas goes to one pixel more. Leaving it out would make the host wait for its number.
    beside = t * height * width

    def pixels(dy: int, dx: int) -> torch.Tensor:
        """The canvas pixel of every point at one place of its square, ``t h w``."""
        row, column = torch.round(v + dy), torch.round(u + dx)
        on_canvas = (z > 0) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return torch.where(on_canvas, first + row.long() * width + column.long(), beside)

    nearest = torch.full((beside + 1,), torch.inf, device=depth.device)
    for place in places:
        nearest.scatter_reduce_(0, pixels(*place).flatten(), z.flatten(), "amin")
    point = torch.arange(t * h * w, device=depth.device)
    shown = torch.full_like(nearest, -1, dtype=torch.int64)
    for place in places:
        pixel = pixels(*place).flatten()
        in_front = z.flatten() <= nearest[pixel] + float(DEPTH_TOLERANCE)
        shown.scatter_reduce_(0, torch.where(in_front, pixel, beside), point, "amax")
    nearest, shown = nearest[:beside], shown[:beside]

    colours = rearrange(frames, "t h w c -> (t h w) c")[shown.clamp(min=0)] * (shown >= 0)[:, None]
    colours = rearrange(colours, "(t h w) c -> t h w c", t=t, h=height)
    rendered = (reduce(colours.int(), "t (h i) (w j) c -> t h w c", "sum", i=2, j=2) + 2) // 4
    target_depth = rearrange(nearest, "(t h w) -> t h w", t=t, h=height)[:, ::2, ::2]
    seen = torch.isfinite(target_depth)
    return rendered.to(torch.uint8), seen.to(torch.uint8) * 255, torch.where(seen, target_depth, 0)


def project(
    depth: torch.Tensor, source: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor, canvas: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Column and row on the canvas and z of every pixel's point, each ``t h w``; z 0 where it is not drawn."""
    h, w = depth.shape[1:]
    known = (depth > 0) & torch.isfinite(depth)
    x = torch.arange(w, dtype=torch.float32, device=depth.device)
    y = torch.arange(h, dtype=torch.float32, device=depth.device)[:, None]

    def entry(matrices: torch.Tensor, i: int, j: int) -> torch.Tensor:
        return matrices[:, i, j, None, None]

    ray_y = (y - entry(source, 1, 2)) / entry(source, 1, 1)
    px = (x - entry(source, 0, 2) - entry(source, 0, 1) * ray_y) / entry(source, 0, 0) * depth
    py = ray_y * depth
    qx, qy, z = (
        entry(rotation, i, 0) * px
        + entry(rotation, i, 1) * py
        + entry(rotation, i, 2) * depth
        + translation[:, i, None, None]
        for i in range(3)
    )
    known &= z > float(NEAR_PLANE)
    z = torch.where(known, z, 1)
    u = (entry(canvas, 0, 0) * qx + entry(canvas, 0, 1) * qy) / z + entry(canvas, 0, 2)
    v = entry(canvas, 1, 1) * qy / z + entry(canvas, 1, 2)
    return torch.where(known, u, 0), torch.where(known, v, 0), torch.where(known, z, 0)
