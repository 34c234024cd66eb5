"""The forward splat on whole chunks of frames with torch: the GPU's renderer, and the readable statement of it.

``splat.py`` gives the formula. On a GPU the order of additions is not fixed, so that results may differ in the last
bit of the sums from run to run.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray

from inspatio.models.memory import upload
from inspatio.render.renderer import DeviceRender
from inspatio.render.splat_loops import FAR, SHARPNESS, SNAP

CHUNK = 8
"""Frames at a time: at 832x480 some 400 MB on the device."""


def draw_in_chunks(
    frames: torch.Tensor, depth: torch.Tensor, rotation: NDArray[np.float32], translation: NDArray[np.float32]
) -> DeviceRender:
    """Frames ``t h w 3`` with depth ``t h w``, drawn on their device."""
    maps = [upload(torch.from_numpy(each), frames.device) for each in (rotation, translation)]
    chunks = zip(*(each.split(CHUNK) for each in (frames, depth, *maps)), strict=True)
    drawn = [draw(*chunk) for chunk in chunks]
    return DeviceRender(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))


def draw(
    frames: torch.Tensor, depth: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """uint8 frames ``t h w 3``, uint8 masks ``t h w`` (255 or 0) and target depth ``t h w`` float32."""
    sums = splat(frames, depth, rotation, translation)
    colour, target_depth, weight = sums[..., :3], sums[..., 3], sums[..., 4]
    seen = weight > 0
    scale = torch.where(seen, 1 / weight, 0)
    rendered = (colour * scale[..., None] + 0.5).to(torch.uint8)
    return rendered, seen.to(torch.uint8) * 255, target_depth * scale


def splat(frames: torch.Tensor, depth: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """Sums of weighted red, green, blue, target depth, and the weight itself: ``t h w 5`` float32.

    ``frames`` is ``t h w 3`` of any number type, ``depth`` ``t h w``; ``rotation`` (``t 3 3``) and ``translation``
    (``t 3``) take pixels to the target's pixels.
    """
    t, h, w = depth.shape
    known = (depth > 0) & torch.isfinite(depth)
    depth = torch.where(known, depth.float(), 1.0)
    x = torch.arange(w, dtype=torch.float32, device=depth.device)
    y = torch.arange(h, dtype=torch.float32, device=depth.device)[:, None]

    def mapped(row: int) -> torch.Tensor:
        r, s = rotation[:, row, :, None, None], translation[:, row, None, None]
        return r[:, 0] * x + (r[:, 1] * y + r[:, 2]) + s / depth

    depth_ratio = mapped(2)
    known &= depth_ratio > 0
    u, v = mapped(0) / depth_ratio, mapped(1) / depth_ratio
    z = torch.where(known, depth_ratio * depth, 0)

    log_depth = torch.log(1 + z.clamp(max=float(FAR)))
    most = log_depth.amax(dim=(1, 2), keepdim=True)
    weight = torch.where(known, torch.exp(-SHARPNESS * log_depth / most), 0)

    left, top = torch.floor(u + float(SNAP)), torch.floor(v + float(SNAP))
    inside = known & (left >= -1) & (left < w) & (top >= -1) & (top < h)
    u, v, left, top = (torch.where(inside, each, 0) for each in (u, v, left, top))
    right_share = torch.where(u - left < float(SNAP), 0, u - left)
    lower_share = torch.where(v - top < float(SNAP), 0, v - top)

    values = torch.cat([frames.float(), z[..., None], torch.ones_like(z)[..., None]], dim=-1)
    values = rearrange(values * torch.where(inside, weight, 0)[..., None], "t h w c -> (t h w) c")
    # A border of one pixel takes what falls off the edges.
    sums = torch.zeros(t * (h + 2) * (w + 2), 5, device=depth.device)
    frame = repeat(torch.arange(t, device=depth.device), "t -> t h w", h=h, w=w)
    pixel = (frame * (h + 2) + top.long() + 1) * (w + 2) + left.long() + 1
    for down, share_y in ((0, 1 - lower_share), (1, lower_share)):
        for right, share_x in ((0, 1 - right_share), (1, right_share)):
            share = rearrange(share_y * share_x, "t h w -> (t h w) 1")
            sums.index_add_(0, rearrange(pixel + down * (w + 2) + right, "t h w -> (t h w)"), values * share)
    return rearrange(sums, "(t h w) c -> t h w c", t=t, h=h + 2)[:, 1:-1, 1:-1]
