"""8-bit frames on the host to what the networks see, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange

from inspatio.models.memory import upload
from inspatio.types import Frames, Masks, VideoTensor


@dataclass(frozen=True, eq=False)
class UploadedFrames:
    """8-bit frames ``t h w 3`` on a device, and on the host where they come from there."""

    on_device: torch.Tensor
    on_host: Frames | None

    @classmethod
    def of(cls, frames: Frames, device: torch.device) -> UploadedFrames:
        """Upload frames of the host."""
        return cls(_on_device(frames, device), frames)

    def __len__(self) -> int:
        return len(self.on_device)

    def __getitem__(self, part: slice) -> UploadedFrames:
        return UploadedFrames(self.on_device[part], None if self.on_host is None else self.on_host[part])

    def followed_by(self, other: UploadedFrames) -> UploadedFrames:
        """These frames and then others; on the host if both are."""
        if not len(self) or not len(other):
            return self if len(self) else other
        on_host = None
        if self.on_host is not None and other.on_host is not None:
            on_host = np.concatenate((self.on_host, other.on_host))
        return UploadedFrames(torch.cat((self.on_device, other.on_device)), on_host)

    def extended(self, count: int) -> UploadedFrames:
        """Brought to ``count`` by repeating the last frame."""
        on_host = self.on_host
        if on_host is not None:
            on_host = np.concatenate((on_host, np.repeat(on_host[-1:], count - len(self), axis=0)))
        return UploadedFrames(extended(self.on_device, count), on_host)


def to_video(frames: Frames | torch.Tensor, device: torch.device, dtype: torch.dtype) -> VideoTensor:
    """``t h w 3`` uint8 on the host or on the device -> ``1 3 t h w`` in -1..1."""
    video = rearrange(_on_device(frames, device), "t h w c -> 1 c t h w").float()
    return (video / 127.5 - 1.0).to(dtype)


def to_mask(masks: Masks | torch.Tensor, device: torch.device) -> torch.Tensor:
    """``t h w`` uint8 coverage on the host or on the device -> ``1 1 t h w`` float32: +1 where covered, else -1."""
    covered = rearrange(_on_device(masks, device), "t h w -> 1 1 t h w") > 127
    return covered.float() * 2.0 - 1.0


def to_frames(video: VideoTensor) -> torch.Tensor:
    """``1 3 t h w`` in -1..1 -> ``t h w 3`` uint8 on the same device."""
    levels = (video.float() + 1.0) * 127.5
    return rearrange(levels.round_().clamp_(0, 255).to(torch.uint8), "1 c t h w -> t h w c").contiguous()


def extended(frames: torch.Tensor, count: int) -> torch.Tensor:
    """``t ...`` frames brought to ``count`` by repeating the last one."""
    missing = count - len(frames)
    return torch.cat((frames, frames[-1:].expand(missing, *frames.shape[1:]))) if missing else frames


def _on_device(values: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values
    return upload(torch.from_numpy(np.ascontiguousarray(values)), device)
