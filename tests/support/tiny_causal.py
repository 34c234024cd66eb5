"""A causal generator small enough for a CPU, with seeded weights, and a scene for it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from inspatio.generation.inspatio_world.session import CausalGenerator, CausalOptions
from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.wan.exchange import Exchange
from inspatio.models.wan.taehv import TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.render.splat import WarpRenderer
from inspatio.scene import Scene

TINY = DiTConfig(dim=48, ffn_dim=80, num_heads=4, num_layers=2, freq_dim=32, text_dim=24, text_len=8)
SIZE = (32, 48)


def seeded(module: nn.Module, seed: int = 0) -> None:
    """Weights of a healthy spread: gains near 1, matrices that keep the variance."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if name.endswith("modulation"):
            parameter.data = 0.5 * values
        elif name.endswith("gamma") or (name.endswith("weight") and parameter.ndim == 1):
            parameter.data = 1.0 + 0.1 * values
        elif parameter.ndim == 1:
            parameter.data = 0.1 * values
        else:
            parameter.data = values * parameter[0].numel() ** -0.5
    module.requires_grad_(False)


def make_dit(exchange: Exchange | None = None, config: DiTConfig = TINY) -> CausalDiT:
    dit = CausalDiT(config, exchange=exchange)
    seeded(dit)
    return dit


def embed(prompt: str) -> torch.Tensor:
    return torch.randn(1, TINY.text_len, TINY.text_dim, generator=torch.Generator().manual_seed(len(prompt)))


def make_generator(
    size: tuple[int, int] = SIZE, exchange: Exchange | None = None, encoder: WanEncoder | TaeEncoder | None = None
) -> CausalGenerator:
    encoder, decoder = encoder or WanEncoder(8), WanDecoder(8)
    seeded(encoder)
    seeded(decoder)
    return CausalGenerator(make_dit(exchange), encoder, decoder, embed, WarpRenderer(), CausalOptions(size=size))


class ArrayFrames:
    """Frames or depth maps that lie in memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self.array[np.asarray(indices)]


def make_scene(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Scene:
    height, width = size
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    depth = random.uniform(1.0, 3.0, (count, height, width)).astype(np.float32)
    intrinsics = np.tile(np.array([[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1.0]]), (count, 1, 1))
    return Scene(
        clip_id="clip",
        frames=ArrayFrames(frames),
        depth=ArrayFrames(depth),
        intrinsics=intrinsics,
        world_to_camera=np.tile(np.eye(4), (count, 1, 1)),
        size=size,
        frame_rate=Fraction(24),
        scale="prior",
        prompt="a room",
    )


def cameras(count: int) -> np.ndarray:
    """``n 4 4`` world-to-camera: a slow sideways move."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = -0.02 * np.arange(count)
    return poses
