"""What the denoised block is told of the target view: coverage mask and render, at latent size.

The mask (+1 seen, -1 hole) is resized to the latent grid, bilinear with half-pixel centres; four frames become the four
channels of one latent frame, and a clip's very first frame counts four times, so that time lines up with the video
autoencoders' (one frame alone, then groups of four). All groups of a clip can be packed one after another.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch.nn import functional

from inspatio.models.wan.autoencoder import SPATIAL_FACTOR, TEMPORAL_FACTOR
from inspatio.types import LatentTensor


def pack_mask(mask: torch.Tensor, *, first: bool) -> LatentTensor:
    """Coverage of a group of frames as latent channels.

    Args:
        mask: ``b 1 t h w`` in -1..1; ``h`` and ``w`` are multiples of 8.
        first: the group begins the clip, so that its first frame fills a latent frame alone.

    Returns:
        ``b f 4 h/8 w/8``; frames that do not fill a latent frame at the end are left out.
    """
    assert mask.shape[1] == 1, f"mask {tuple(mask.shape)}, expected b 1 t h w"
    b, h, w = mask.shape[0], mask.shape[3], mask.shape[4]
    size = (h // SPATIAL_FACTOR, w // SPATIAL_FACTOR)
    small = functional.interpolate(rearrange(mask, "b 1 t h w -> (b t) 1 h w"), size=size, mode="bilinear")
    frames = rearrange(small, "(b t) 1 h w -> b t h w", b=b)
    if first:
        frames = torch.cat((repeat(frames[:, :1], "b 1 h w -> b t h w", t=TEMPORAL_FACTOR - 1), frames), dim=1)
    whole = frames.shape[1] // TEMPORAL_FACTOR * TEMPORAL_FACTOR
    return rearrange(frames[:, :whole], "b (f c) h w -> b f c h w", c=TEMPORAL_FACTOR)


def condition_channels(mask: LatentTensor, render: LatentTensor) -> LatentTensor:
    """Packed mask ``b f 4 h w`` and render latents ``b f 16 h w`` in the network's order, ``b f 20 h w``."""
    return torch.cat((mask.to(render.dtype), render), dim=2)
