"""The image autoencoder of WorldFM: SDXL's (a KL autoencoder, 8x8 pixels to 4 channels), encoder and decoder apart.

    latents = encoder(images)                  b 3 h w in -1..1 -> b 4 h/8 w/8, scaled
    images = decoder(latents)                  back; values may lie slightly beyond -1..1

The encoder gives the mean of its distribution, or a sample where ``noise`` is given: the published code samples, which
adds noise to the conditions and makes one pose give many pictures. Parameter names are those of the published
``diffusion_pytorch_model.safetensors``. GroupNorm computes in float32 whatever the dtype. Sources: latent diffusion
(arXiv 2112.10752), SDXL (arXiv 2307.01952).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

PUBLISHED_SCALING = 0.13025
SHRINK = 8
"""Pixels to a latent, along either axis."""


def working_dtype(network: torch.dtype) -> torch.dtype:
    """The precision of the autoencoder beside a transformer in the precision ``network``: never bfloat16.

    A bfloat16's 8 bits cost this autoencoder 2 to 5 % of the latents' range, in the published class as much as here,
    where a transformer of 28 layers loses less than 1 %. The public code runs it in float16, whose error is a tenth.
    """
    return torch.float16 if network == torch.bfloat16 else network


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes under the names of the published ``config.json``; the defaults are SDXL's."""

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    latent_channels: int = 4
    scaling_factor: float = PUBLISHED_SCALING


class ResnetBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y


class SpatialAttention(nn.Module):
    """Attention of every place of a picture to every other, with one head."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = rearrange(self.group_norm(x), "b c h w -> b 1 (h w) c")
        y = F.scaled_dot_product_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        return x + rearrange(self.to_out[0](y), "b 1 (h w) c -> b c h w", h=x.shape[2])


class MiddleBlock(nn.Module):
    """Convolutions around the one attention layer, at the smallest size."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups) for _ in range(2))
        self.attentions = nn.ModuleList([SpatialAttention(channels, groups)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Resample(nn.Module):
    """Half the size by a strided convolution, or twice the size by repeating pixels before a convolution."""

    def __init__(self, channels: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Half the size: the border is added on the right and below only.
        return self.conv(F.interpolate(x, scale_factor=2.0) if self.up else F.pad(x, (0, 1, 0, 1)))


class Stage(nn.Module):
    """The layers of one size, and the change to the next."""

    def __init__(self, inputs: int, outputs: int, layers: int, groups: int, change: str | None, *, up: bool) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * layers]
        self.resnets = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in pairwise(widths))
        self.change = change
        if change is not None:
            self.add_module(change, nn.ModuleList([Resample(outputs, up=up)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.change is None else self.get_submodule(f"{self.change}.0")(x)


def _stages(widths: Sequence[int], layers: int, groups: int, change: str, *, up: bool) -> nn.ModuleList:
    """Stages whose widths are ``widths``, the first of which also enters; the last one keeps its size."""
    last = len(widths) - 1
    return nn.ModuleList(
        Stage(widths[max(i - 1, 0)], width, layers, groups, change if i < last else None, up=up)
        for i, width in enumerate(widths)
    )


class _EncoderLayers(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down_blocks = _stages(widths, config.layers_per_block, groups, "downsamplers", up=False)
        self.mid_block = MiddleBlock(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        for stage in self.down_blocks:
            x = stage(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class _DecoderLayers(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MiddleBlock(widths[0], groups)
        self.up_blocks = _stages(widths, config.layers_per_block + 1, groups, "upsamplers", up=True)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mid_block(self.conv_in(x))
        for stage in self.up_blocks:
            x = stage(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class ImageEncoder(nn.Module):
    """Images ``b 3 h w`` in -1..1 to scaled latents ``b 4 h/8 w/8``."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _EncoderLayers(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)

    def forward(self, images: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Latents times the scaling factor, float32: the mean, or with unit ``noise`` (``b 4 h/8 w/8``) a sample."""
        mean, log_variance = self.distribution(images)
        latents = mean if noise is None else mean + torch.exp(0.5 * log_variance) * noise
        return latents * self.config.scaling_factor

    def distribution(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance, unscaled, float32."""
        moments = self.quant_conv(self.encoder(images.to(self.quant_conv.weight.dtype))).float()
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)


class ImageDecoder(nn.Module):
    """Scaled latents ``b 4 h/8 w/8`` to images ``b 3 h w``, about -1..1, float32."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.decoder = _DecoderLayers(config)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        unscaled = (latents / self.config.scaling_factor).to(self.post_quant_conv.weight.dtype)
        return self.decoder(self.post_quant_conv(unscaled)).float()
