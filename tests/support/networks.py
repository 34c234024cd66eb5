"""Networks small enough for a CPU, with seeded weights."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from support.scenes import NOISE_SIZE
from tiny.weights import random_state
from torch import nn
from torch.distributed import ProcessGroup

from inspatio.generation.inspatio_world.session import CausalGenerator, CausalOptions
from inspatio.generation.worldfm.session import WorldFMGenerator, WorldFMOptions
from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.wan.taehv import TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.models.worldfm.autoencoder import AutoencoderConfig, ImageDecoder, ImageEncoder
from inspatio.models.worldfm.dit import CameraEncoding, WorldFM, WorldFMConfig
from inspatio.render import Renderer, WarpRenderer

Network = TypeVar("Network", bound=nn.Module)

TINY = DiTConfig(dim=48, ffn_dim=80, num_heads=4, num_layers=2, freq_dim=32, text_dim=24, text_len=8)


def seeded(network: Network, seed: int = 0) -> Network:
    """The network, in place, with weights that carry a signal through all its layers, ready for inference."""
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    state = random_state(shapes, torch.Generator().manual_seed(seed))
    for name, parameter in network.named_parameters():
        parameter.data = state[name]
    return network.requires_grad_(False).eval()


def make_dit(config: DiTConfig = TINY) -> CausalDiT:
    return seeded(CausalDiT(config))


def embed(prompt: str) -> torch.Tensor:
    """``1 m c`` embeddings that depend on the prompt's length."""
    return torch.randn(1, TINY.text_len, TINY.text_dim, generator=torch.Generator().manual_seed(len(prompt)))


def make_generator(
    size: tuple[int, int] = NOISE_SIZE,
    dit: CausalDiT | None = None,
    encoder: WanEncoder | TaeEncoder | None = None,
    renderer: Renderer | None = None,
) -> CausalGenerator:
    """The neural generator with tiny networks for frames of ``size``."""
    encoder, decoder = seeded(encoder or WanEncoder(8)), seeded(WanDecoder(8))
    options = CausalOptions(size=size)
    return CausalGenerator(dit or make_dit(), encoder, decoder, embed, renderer or WarpRenderer(), options)


def make_worldfm(
    size: tuple[int, int] = NOISE_SIZE,
    renderer: Renderer | None = None,
    *,
    encoding: CameraEncoding = "none",
    group: ProcessGroup | None = None,
    **options: Any,
) -> WorldFMGenerator:
    """The frame model with tiny networks; ``options`` are those of ``WorldFMOptions`` besides the size."""
    network = seeded(WorldFM(WorldFMConfig(hidden_size=32, depth=2, num_heads=2, camera_encoding=encoding)))
    layout = AutoencoderConfig((8, 8, 16, 16), layers_per_block=1, norm_num_groups=4)
    encoder, decoder = seeded(ImageEncoder(layout)), seeded(ImageDecoder(layout))
    settings = WorldFMOptions(size=size, **options)
    return WorldFMGenerator(network, encoder, decoder, renderer or WarpRenderer(), settings, group=group)
