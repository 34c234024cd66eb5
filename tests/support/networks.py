"""Networks small enough for a CPU, with seeded weights."""

from __future__ import annotations

from typing import TypeVar

import torch
from support.scenes import NOISE_SIZE
from tiny.weights import random_state
from torch import nn

from inspatio.generation.inspatio_world.session import CausalGenerator, CausalOptions
from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.wan.taehv import TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
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
