"""The Wan 2.1 video VAE as a streaming encoder and a streaming decoder, each usable without the other.

Place in the flow: source and render videos -> :class:`WanEncoder` -> latents -> generator -> latents ->
:class:`WanDecoder` -> novel view. Both follow ``autoencoder.py``: groups in, groups out, the past in a
:class:`WanState`.

Shapes: video ``b 3 t h w`` in -1..1; latents ``b f 16 h/8 w/8``, each channel with zero mean and unit variance. In
between everything is ``b c t h w`` in channels-last memory, which is what convolutions on GPUs want, and where
the channels of a pixel are neighbours, as the norms want.

Time is causal. A convolution over three frames sees the current frame and the two before it; those two are what
it keeps in the state (zeros before the clip begins). The layers that halve or double the frame rate treat the clip's
first frame on its own: it is neither merged with others nor multiplied, so that ``1 + 4 k`` frames and
``1 + k`` latents stand for each other. Work is done in passes of some latents (the first frame has one to itself), and
in each pass by bands of rows where tensors are large, so memory depends neither on the group nor on the clip.

Numerics: norms accumulate in float32 whatever the weights are in; so do the latents' mean and variance.

Source: Wan 2.1 (arXiv 2503.20314), weights ``Wan2.1_VAE.pth``, whose parameter names are kept. The width of the network
is read off the file: 96 as published, less in test checkpoints. InSpatio-World's published decoder departs from Wan's
in one place, from the fourth latent on: the layer that first doubles the frame rate takes the frame before the current
one for both frames of its past, where Wan's own code keeps the last two frames there as everywhere else. This module
does as InSpatio-World's, and the golden numbers are made so.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from einops import rearrange
from torch import nn

from inspatio.models.wan.autoencoder import LATENT_CHANNELS, TEMPORAL_FACTOR
from inspatio.models.wan.vae_layers import (
    CausalConv,
    Downsample,
    PixelAttention,
    ResidualBlock,
    RmsNorm,
    RowConvolution,
    TwiceTheLastFrame,
    Upsample,
    WanState,
    Working,
    as_conv,
    as_norm,
    bands,
    number_slots,
)
from inspatio.types import LatentTensor, VideoTensor

PUBLISHED_WIDTH = 96
WIDTH_FACTORS = (1, 2, 4, 4)
"""Channels of the four resolutions, full to an eighth, in units of the base width."""

# fmt: off
LATENT_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
               0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
LATENT_STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
              3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)
# fmt: on


class WanEncoder(nn.Module):
    """Video to normalised latents; implements ``autoencoder.VideoEncoder[WanState]``."""

    lookahead = 0
    reach = 128
    """112 frames of the source by the layers that remember some (20 at the full rate, 20 at half of it, 72 at a
    quarter), and the frames of a group."""

    def __init__(self, width: int = PUBLISHED_WIDTH, working: Working | None = None) -> None:
        """``working`` is how much is worked on at once; None: as suits the device."""
        super().__init__()
        self.working = working
        self.encoder = _EncoderNetwork(width)
        self.conv1 = nn.Conv3d(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1)
        number_slots(self)

    def start(self) -> WanState:
        """A fresh state: nothing has been encoded yet."""
        return WanState(self.working or Working.on(self.conv1.weight.device))

    def encode(self, video: VideoTensor, state: WanState, ahead: VideoTensor | None = None) -> LatentTensor:
        """``b 3 t h w`` in -1..1 -> ``b f 16 h/8 w/8`` normalised; see :meth:`autoencoder.VideoEncoder.encode`."""
        _, c, t, h, w = video.shape
        assert c == 3, f"video has {c} channels, expected 3"
        assert h % 8 == 0, f"height {h} is not a multiple of 8"
        assert w % 8 == 0, f"width {w} is not a multiple of 8"
        assert t % TEMPORAL_FACTOR == int(state.at_start), f"{t} frames, expected 4 k, and one more at the start"
        latents = []
        for frames in _passes(video, state, TEMPORAL_FACTOR * state.working.latents):
            features = self.encoder(frames.contiguous(memory_format=torch.channels_last_3d), state)
            mean = self.conv1(features)[:, :LATENT_CHANNELS]  # the other half is the variance, used in training only
            latents.append(_normalise(mean))
            state.at_start = False
        return rearrange(torch.cat(latents, dim=2), "b c f h w -> b f c h w")


class WanDecoder(nn.Module):
    """Normalised latents to video; implements ``autoencoder.VideoDecoder[WanState]``."""

    def __init__(self, width: int = PUBLISHED_WIDTH, working: Working | None = None) -> None:
        """``working`` is how much is worked on at once; None: as suits the device."""
        super().__init__()
        self.working = working
        self.conv2 = nn.Conv3d(LATENT_CHANNELS, LATENT_CHANNELS, 1)
        self.decoder = _DecoderNetwork(width)
        number_slots(self)

    def start(self) -> WanState:
        """A fresh state: nothing has been decoded yet."""
        return WanState(self.working or Working.on(self.conv2.weight.device))

    def decode(self, latents: LatentTensor, state: WanState) -> VideoTensor:
        """``b f 16 h w`` normalised -> ``b 3 t 8h 8w`` in -1..1; see :meth:`autoencoder.VideoDecoder.decode`."""
        assert latents.shape[2] == LATENT_CHANNELS, f"latents have {latents.shape[2]} channels, expected 16"
        video = []
        for part in _passes(rearrange(latents, "b f c h w -> b c f h w"), state, state.working.latents):
            features = self.conv2(_denormalise(part).contiguous(memory_format=torch.channels_last_3d))
            video.append(self.decoder(features, state).clamp_(-1, 1))
            state.at_start = False
        return torch.cat(video, dim=2)


class _EncoderNetwork(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * factor for factor in WIDTH_FACTORS]
        self.conv1 = CausalConv(3, width)
        layers: list[nn.Module] = []
        channels = width
        for level, out in enumerate(widths):
            layers += [ResidualBlock(channels, out), ResidualBlock(out, out)]
            channels = out
            if level < 3:
                layers.append(Downsample(out, in_time=level > 0))
        self.downsamples = nn.ModuleList(layers)
        self.middle = _middle(channels)
        self.head = _head(channels, 2 * LATENT_CHANNELS)

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        x = self.conv1(x, state)
        for layer in (*self.downsamples, *self.middle):
            x = layer(x, state)
        head = RowConvolution(as_conv(self.head["2"]), as_norm(self.head["0"]), x, state)
        return torch.cat([head(rows) for rows in bands(x, state)], dim=3)


class _DecoderNetwork(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * factor for factor in reversed(WIDTH_FACTORS)]
        channels = widths[0]
        self.conv1 = CausalConv(LATENT_CHANNELS, channels)
        self.middle = _middle(channels)
        layers: list[nn.Module] = []
        for level, out in enumerate(widths):
            layers += [ResidualBlock(channels, out), ResidualBlock(out, out), ResidualBlock(out, out)]
            channels = out
            if level < 3:
                # The published decoder's first one; the second never meets single frames, where they would differ.
                time_conv = (TwiceTheLastFrame if level == 0 else CausalConv) if level < 2 else None
                layers.append(Upsample(out, time_conv))
                channels = out // 2
        self.upsamples = nn.ModuleList(layers)
        self.head = _head(channels, 3)

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        x = self.conv1(x, state)
        for layer in (*self.middle, *self.upsamples):
            x = layer(x, state)
        head = RowConvolution(as_conv(self.head["2"]), as_norm(self.head["0"]), x, state)
        return torch.cat([head(rows) for rows in bands(x, state)], dim=3)


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResidualBlock(channels, channels), PixelAttention(channels), ResidualBlock(channels, channels)]
    )


def _head(channels: int, out: int) -> nn.ModuleDict:
    return nn.ModuleDict({"0": RmsNorm(channels), "2": CausalConv(channels, out)})


def _passes(x: torch.Tensor, state: WanState, size: int) -> Iterator[torch.Tensor]:
    """Cut ``b c t h w`` along time into parts of at most ``size``; the clip's very first frame is a part of its own."""
    start = 0
    if state.at_start:
        yield x[:, :, :1]
        start = 1
    yield from x[:, :, start:].split(size, dim=2) if x.shape[2] > start else ()


@cache
def _statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents' channels, made once: a copy from the host's memory is waited for.

    No buffers, which would be rounded with the weights.
    """
    with torch.inference_mode(mode=False):
        mean, deviation = (torch.tensor(values).view(1, -1, 1, 1, 1).to(device) for values in (LATENT_MEAN, LATENT_STD))
    return mean, deviation


def _normalise(latents: torch.Tensor) -> torch.Tensor:
    mean, deviation = _statistics(latents.device)
    return ((latents.float() - mean) / deviation).to(latents.dtype)


def _denormalise(latents: torch.Tensor) -> torch.Tensor:
    mean, deviation = _statistics(latents.device)
    return (latents.float() * deviation + mean).to(latents.dtype)
