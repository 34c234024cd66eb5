"""8-bit frames on the host to what the networks see, and back."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange

from inspatio.types import Frames, Masks, VideoTensor


def to_video(frames: Frames, device: torch.device, dtype: torch.dtype) -> VideoTensor:
    """``t h w 3`` uint8 -> ``1 3 t h w`` in -1..1."""
    video = rearrange(upload(torch.from_numpy(np.ascontiguousarray(frames)), device), "t h w c -> 1 c t h w").float()
    return (video / 127.5 - 1.0).to(dtype)


def to_mask(masks: Masks, device: torch.device) -> torch.Tensor:
    """``t h w`` uint8 coverage -> ``1 1 t h w`` float32: +1 where covered, -1 elsewhere."""
    covered = rearrange(upload(torch.from_numpy(np.ascontiguousarray(masks)), device), "t h w -> 1 1 t h w") > 127
    return covered.float() * 2.0 - 1.0


def to_frames(video: VideoTensor) -> torch.Tensor:
    """``1 3 t h w`` in -1..1 -> ``t h w 3`` uint8 on the same device."""
    levels = (video.float() + 1.0) * 127.5
    return rearrange(levels.round_().clamp_(0, 255).to(torch.uint8), "1 c t h w -> t h w c").contiguous()


def extended(frames: np.ndarray, count: int) -> np.ndarray:
    """``t ...`` frames brought to ``count`` by repeating the last one."""
    missing = count - len(frames)
    return frames if missing == 0 else np.concatenate((frames, np.repeat(frames[-1:], missing, axis=0)))


def upload(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device; for a GPU the host goes on at once, which takes a copy from pinned memory."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)
