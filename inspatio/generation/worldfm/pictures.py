"""8-bit pictures to what WorldFM's autoencoder sees, and back."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch.nn import functional as F

from inspatio.types import Frames, Image


def to_images(frames: Frames, device: torch.device) -> torch.Tensor:
    """``b h w 3`` uint8 -> ``b 3 h w`` float32 in -1..1."""
    images = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return rearrange(images, "b h w c -> b c h w").float() / 127.5 - 1.0


def to_frames(images: torch.Tensor) -> torch.Tensor:
    """``b 3 h w`` in -1..1 -> ``b h w 3`` uint8 on the same device, halves rounded up as the published code does."""
    levels = (127.5 * images + 128.0).clamp(0, 255)
    return rearrange(levels.to(torch.uint8), "b c h w -> b h w c").contiguous()


def prepare_reference(image: Image, size: tuple[int, int]) -> torch.Tensor:
    """A picture ``h w 3`` as ``1 3 h w`` in -1..1 of (height, width) ``size``: scaled to cover it, cut at the centre.

    By an antialiased cubic filter, and rounded to 8 bits between scaling and cutting, as published.
    """
    images = to_images(image[None], torch.device("cpu"))
    ratio = max(size[0] / image.shape[0], size[1] / image.shape[1])
    scaled = (round(image.shape[0] * ratio), round(image.shape[1] * ratio))
    if scaled != image.shape[:2]:
        images = F.interpolate(images, scaled, mode="bicubic", align_corners=False, antialias=True)
        images = (127.5 * (images + 1.0)).round().clamp(0, 255) / 127.5 - 1.0
    top, left = (round((got - wanted) / 2) for got, wanted in zip(scaled, size, strict=True))
    return images[:, :, top : top + size[0], left : left + size[1]].contiguous()
