"""A linear video autoencoder: principal components of 8x8 patches over one frame or four, for small models.

    fitted = fit(videos)                    state of both halves, in closed form
    encoder, decoder = LinearEncoder(), LinearDecoder()

A latent is the projection of its 8x8 pixels (times three colours, times four frames but for the clip's first) onto the
sixteen directions of largest variance, divided by the standard deviation along them, so that latents are normalised as
the Wan VAE's are. It looks nowhere else, neither sideways nor back: streaming needs no state, and a pass costs two
matrix products. On synthetic rooms it keeps about 28 dB; what it loses is fine texture. It has a latent space of its
own: a transformer trained between the halves of another autoencoder does not fit it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import nn

from inspatio.models.wan.autoencoder import LATENT_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR
from inspatio.types import LatentTensor, VideoTensor

PATCH_VALUES = {"first": 3 * SPATIAL_FACTOR**2, "group": 3 * SPATIAL_FACTOR**2 * TEMPORAL_FACTOR}
"""Numbers that make a latent: of the clip's first frame, and of four frames after it."""


@dataclass
class LinearState:
    """What either half remembers of one clip: whether it has begun."""

    at_start: bool = True

    @property
    def bytes(self) -> int:
        return 0


class LinearEncoder(nn.Module):
    """Video to latents (``VideoEncoder``)."""

    lookahead = 0
    reach = 0

    def __init__(self, channels: int = LATENT_CHANNELS) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({part: nn.Linear(size, channels) for part, size in PATCH_VALUES.items()})

    def start(self) -> LinearState:
        return LinearState()

    def encode(self, video: VideoTensor, state: LinearState, ahead: VideoTensor | None = None) -> LatentTensor:
        """See :meth:`VideoEncoder.encode`."""
        latents = []
        if state.at_start:
            state.at_start = False
            latents.append(self.encoder["first"](patches(video[:, :, :1])))
            video = video[:, :, 1:]
        if video.shape[2]:
            latents.append(self.encoder["group"](patches(video, TEMPORAL_FACTOR)))
        return rearrange(torch.cat(latents, dim=1), "b f h w c -> b f c h w")


class LinearDecoder(nn.Module):
    """Latents to video (``VideoDecoder``)."""

    def __init__(self, channels: int = LATENT_CHANNELS) -> None:
        super().__init__()
        self.decoder = nn.ModuleDict({part: nn.Linear(channels, size) for part, size in PATCH_VALUES.items()})

    def start(self) -> LinearState:
        return LinearState()

    def decode(self, latents: LatentTensor, state: LinearState) -> VideoTensor:
        """See :meth:`VideoDecoder.decode`."""
        tokens = rearrange(latents, "b f c h w -> b f h w c")
        videos = []
        if state.at_start:
            state.at_start = False
            videos.append(_pixels(self.decoder["first"](tokens[:, :1]), 1))
            tokens = tokens[:, 1:]
        if tokens.shape[1]:
            videos.append(_pixels(self.decoder["group"](tokens), TEMPORAL_FACTOR))
        return torch.cat(videos, dim=2).clamp(-1, 1)


def patches(video: VideoTensor, frames: int = 1) -> torch.Tensor:
    """``b c t h w`` -> ``b t/frames h/8 w/8 n``: the numbers that make each latent."""
    side = SPATIAL_FACTOR
    return rearrange(video, "b c (f t) (h p) (w q) -> b f h w (t c p q)", t=frames, p=side, q=side)


def _pixels(values: torch.Tensor, frames: int) -> VideoTensor:
    side = SPATIAL_FACTOR
    return rearrange(values, "b f h w (t c p q) -> b c (f t) (h p) (w q)", t=frames, c=3, p=side, q=side)


def fit(videos: Iterable[VideoTensor]) -> dict[str, torch.Tensor]:
    """Find the principal components of some videos ``1 c t h w``; returns the tensors of both halves by name."""
    sums = {
        part: (0, torch.zeros(size).double(), torch.zeros(size, size).double()) for part, size in PATCH_VALUES.items()
    }
    for video in videos:
        for part, values in (("first", patches(video[:, :, :1])), ("group", patches(video[:, :, 1:], TEMPORAL_FACTOR))):
            flat = values.flatten(0, -2).double().cpu()
            count, total, squares = sums[part]
            sums[part] = count + len(flat), total + flat.sum(0), squares + flat.T @ flat
    state = {}
    for part, (count, total, squares) in sums.items():
        assert count > 1, "videos have more than one frame"
        mean = total / count
        variances, directions = torch.linalg.eigh(squares / count - mean[:, None] * mean)
        # Largest first; their signs are free, so each is turned to have a positive sum and a fit is repeatable.
        basis = directions.flip(-1)[:, :LATENT_CHANNELS].T
        basis = basis * torch.where(basis.sum(1, keepdim=True) < 0, -1.0, 1.0)
        spread = variances.flip(-1)[:LATENT_CHANNELS].clamp(min=1e-8).sqrt()[:, None]
        state[f"encoder.{part}.weight"] = basis / spread
        state[f"encoder.{part}.bias"] = -(basis / spread) @ mean
        state[f"decoder.{part}.weight"] = (basis * spread).T
        state[f"decoder.{part}.bias"] = mean
    return {name: value.float().contiguous() for name, value in state.items()}
