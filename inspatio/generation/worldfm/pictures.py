"""8-bit pictures to what WorldFM's autoencoder sees, and back."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange

from inspatio.models.memory import upload
from inspatio.types import Frames


def to_images(frames: Frames, device: torch.device) -> torch.Tensor:
    """``b h w 3`` uint8 -> ``b 3 h w`` float32 in -1..1."""
    images = upload(torch.from_numpy(np.ascontiguousarray(frames)), device)
    return rearrange(images, "b h w c -> b c h w").float() / 127.5 - 1.0


def to_frames(images: torch.Tensor) -> torch.Tensor:
    """``b 3 h w`` in -1..1 -> ``b h w 3`` uint8 on the same device, halves rounded up as the published code does."""
    levels = (127.5 * images + 128.0).clamp(0, 255)
    return rearrange(levels.to(torch.uint8), "b c h w -> b h w c").contiguous()
