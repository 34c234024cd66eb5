"""PixArt-Sigma transformer of InSpatio-WorldFM: one frame from a point render and a reference picture.

    modulation = dit.time_modulation(torch.tensor([999]))                  once per sampling step
    v = dit(noisy, render, reference, modulation)                          once per sampling step of a batch of frames

Shapes of the published network at 512x512:

    noisy, render, reference   b 4 h w        b 4 64 64       latents; render and reference are clean
    joint latent               b 4 h (3 w)    b 4 64 192      noisy | render | reference, side by side
    tokens x                   b n c          b 3072 1152     row by row over the joint width, 32 x 96; a patch is 2x2
    q, k, v                    b n heads d    b 3072 16 72
    modulation                 6 b 1 c        in each of 28 layers
    prediction                 b 8 h w        the first 4 channels are v, the others a variance that nobody reads

Every token attends to every other: there is no cache and no past, so frames are independent of each other. The three
pictures are told apart by nothing but their positions along the joint width. Nothing leaves the last layer but the
target's tokens, so there only these ask (queries, feed-forward); the result is the same.

Two kinds of camera encoding are part of the class; the published weights were released without either. PRoPE (relative
poses inside every attention, no parameters) is used when ``cameras`` are given and the config asks for it, Plücker rays
(added to the tokens) likewise.

Text: PixArt's cross-attention is not executed by this model, so its layers are not part of this network. Numerics:
weights and tokens in the model's dtype; time embedding, modulation and positions in float32 or better, then rounded
(999 would become 1000 in bfloat16). Parameter names are the published checkpoints'. Sources: PixArt-Sigma (arXiv
2403.04692), InSpatio-WorldFM (arXiv 2603.11911), PRoPE (arXiv 2507.10496).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, cast

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from inspatio.errors import UsageError
from inspatio.models.attention import Attend, attention
from inspatio.models.wan.dit import Modulation, modulated_norm
from inspatio.models.worldfm.camera_encoding import PRoPE, ViewCameras, plucker_rays

LATENT_CHANNELS = 4
PATCH = 2
"""Latent rows and columns to a token."""
VIEWS = 3
"""Target, render and reference."""
TIME_FEATURES = 256
EPS = 1e-6

CameraEncoding: TypeAlias = Literal["none", "prope", "plucker"]


@dataclass(frozen=True)
class WorldFMConfig:
    """The network's size, under the names of the published class.

    ``position_range`` is how far positions reach along either axis, whatever the picture's size: 32 for the published
    weights (their 512x512 picture has 32x32 tokens).
    """

    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    position_range: float = 32.0
    camera_encoding: CameraEncoding = "none"

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads or self.hidden_size % 4:
            raise UsageError(
                f"transformer sizes do not fit: got width {self.hidden_size} and {self.num_heads} heads, expected a "
                "width that is a multiple of the heads and of 4. Check the config.json"
            )
        if self.camera_encoding == "prope" and (self.hidden_size // self.num_heads) % 8:
            raise UsageError(
                f"PRoPE does not fit: got a head size of {self.hidden_size // self.num_heads}, expected a multiple of "
                "8. Check the config.json"
            )


class Attention(nn.Module):
    """Projections of the self-attention."""

    def __init__(self, config: WorldFMConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)


class FeedForward(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, config: WorldFMConfig) -> None:
        super().__init__()
        hidden = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(config.hidden_size, hidden)
        self.fc2 = nn.Linear(hidden, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Transformer layer: self-attention and feed-forward, shifted, scaled and gated by the time."""

    def __init__(self, config: WorldFMConfig, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.scale_shift_table = nn.Parameter(torch.empty(6, config.hidden_size))
        self.attn = Attention(config)
        self.mlp = FeedForward(config)

    def forward(
        self, x: torch.Tensor, modulation: torch.Tensor, prope: PRoPE | None = None, target: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Tokens ``b n c`` after the layer.

        Args:
            x: tokens ``b n c``.
            modulation: ``6 b 1 c``: shift, 1 + scale, gate of the attention, then of the feed-forward.
            prope: turns queries, keys, values and the result by the views' cameras; None: no camera encoding.
            target: indices of the tokens that are wanted; None: all.
        """
        attn_shift, attn_gain, attn_gate, mlp_shift, mlp_gain, mlp_gate = modulation

        # 1. self-attention
        qkv = self.attn.qkv(modulated_norm(x, attn_shift, attn_gain, EPS))
        q, k, v = qkv.unflatten(-1, (3, self.attn.heads, -1)).unbind(2)
        if prope is not None:
            q, k, v = prope.queries(q), prope.keys(k), prope.keys(v)
        if target is not None:
            x, q = x[:, target], q[:, target]
        y = self.attend(q, k, v)
        if prope is not None:
            y = prope.results(y, target)
        x = torch.addcmul(x, self.attn.proj(y.flatten(-2)), attn_gate)

        # 2. feed-forward
        return torch.addcmul(x, self.mlp(modulated_norm(x, mlp_shift, mlp_gain, EPS)), mlp_gate)


class FinalLayer(nn.Module):
    """Tokens ``b n c`` to patches ``b n (2 2 8)``."""

    def __init__(self, config: WorldFMConfig) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(2, config.hidden_size))
        self.linear = nn.Linear(config.hidden_size, PATCH * PATCH * 2 * LATENT_CHANNELS)

    def forward(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        shift, gain = modulation
        return self.linear(modulated_norm(x, shift, gain, EPS))


class TimeEmbedding(nn.Module):
    """Sinusoids of the time step through two layers."""

    def __init__(self, config: WorldFMConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.mlp = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        # In float32, as the weights were trained: at step 999 its rounding shows in the sixth digit.
        half = TIME_FEATURES // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        angles = times.cpu().float()[:, None] * frequencies
        features = torch.cat((angles.cos(), angles.sin()), dim=-1)
        return self.mlp(features.to(next(self.mlp.parameters()).device))


class PatchEmbedding(nn.Module):
    """Latents ``b 4 h w`` to tokens ``b n c``: a convolution whose stride is its kernel is one matrix product."""

    def __init__(self, config: WorldFMConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(LATENT_CHANNELS, config.hidden_size, PATCH, PATCH)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        patches = rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=PATCH, q=PATCH)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Blocks(nn.ModuleList):
    """All layers in order."""

    def __iter__(self) -> Iterator[Block]:
        return self.children()

    def children(self) -> Iterator[Block]:
        return cast("Iterator[Block]", super().children())


class WorldFM(nn.Module):
    """The network; see the module's docstring. ``attend`` is the attention function of every layer."""

    def __init__(self, config: WorldFMConfig, attend: Attend = attention) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_size
        self.x_embedder = PatchEmbedding(config)
        self.t_embedder = TimeEmbedding(config)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = Blocks(Block(config, attend) for _ in range(config.depth))
        self.final_layer = FinalLayer(config)
        if config.camera_encoding == "plucker":
            self.plucker_proj = nn.Sequential(nn.Linear(6, dim), nn.SiLU(), nn.Linear(dim, dim))

    @property
    def device(self) -> torch.device:
        return self.x_embedder.proj.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.x_embedder.proj.weight.dtype

    def place(self, device: torch.device, dtype: torch.dtype) -> WorldFM:
        """Move to a device in a precision, parameter by parameter; what belongs to the time stays in float32."""
        for name, parameter in self.named_parameters():
            in_float32 = name.startswith("t_") or name.endswith("scale_shift_table")
            parameter.data = parameter.data.to(device, torch.float32 if in_float32 else dtype)
        return self

    def time_modulation(self, times: torch.Tensor) -> Modulation:
        """Compute every layer's modulation at the integer steps ``b`` of a batch (or ``1``, shared by all of it)."""
        embedded = self.t_embedder(times)
        projected = rearrange(self.t_block(embedded), "b (six c) -> six b 1 c", six=6)
        tables = torch.stack([block.scale_shift_table for block in self.blocks.children()])
        layers = tables[:, :, None, None] + projected
        head = self.final_layer.scale_shift_table[:, None, None] + embedded[:, None]
        layers[:, (1, 4)] += 1.0
        head[1] += 1.0
        return Modulation(layers.to(self.dtype), head.to(self.dtype))

    def forward(
        self,
        noisy: torch.Tensor,
        render: torch.Tensor,
        reference: torch.Tensor,
        modulation: Modulation,
        cameras: ViewCameras | None = None,
    ) -> torch.Tensor:
        """Predict ``b 8 h w`` float32 for noisy latents ``b 4 h w`` and the clean ones of render and reference.

        Raises:
            UsageError: the latents cannot be cut into patches, or the config's camera encoding lacks its cameras.
        """
        *_, height, width = noisy.shape
        if height % PATCH or width % PATCH:
            raise UsageError(
                f"latents of {height}x{width} cannot be cut into patches: expected multiples of {PATCH}. Use a height "
                "and width that are multiples of 16 pixels"
            )
        if (self.config.camera_encoding == "none") != (cameras is None):
            raise UsageError(
                f"camera encoding {self.config.camera_encoding}: got {'no' if cameras is None else 'some'} cameras, "
                "expected them with prope and plucker only. Check the config.json"
            )
        rows, columns = height // PATCH, width // PATCH

        # 1. tokens of the three pictures side by side
        joint = torch.cat((noisy, render, reference), dim=3).to(self.dtype)
        x = self.x_embedder(joint)
        x = x + _positions(self.config, rows, VIEWS * columns, x.device, x.dtype)
        prope = None
        if cameras is not None and self.config.camera_encoding == "prope":
            prope = PRoPE.make(cameras, rows, columns, x.shape[-1] // self.config.num_heads, x)
        elif cameras is not None:
            x = x + self.plucker_proj(plucker_rays(cameras, rows, columns).to(x))

        # 2. layers; of the last one only the target's tokens are wanted
        row_starts = torch.arange(rows, device=x.device) * (VIEWS * columns)
        target = (row_starts[:, None] + torch.arange(columns, device=x.device)).flatten()
        for index, block in enumerate(self.blocks):
            x = block(x, modulation.layers[index], prope, target if index == self.config.depth - 1 else None)

        # 3. patches of the target
        patches = self.final_layer(x, modulation.head).float()
        return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=rows, w=columns, p=PATCH, q=PATCH)


def positions(config: WorldFMConfig, rows: int, columns: int) -> torch.Tensor:
    """Sin-cos positions ``1 n c`` float32 of a token grid, worked out in float64 on the CPU.

    Both axes are squeezed into 0 .. ``position_range``: three pictures' width no less than one's height.
    """
    quarter = config.hidden_size // 4
    frequencies = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)

    def encode(count: int) -> torch.Tensor:
        places = (torch.arange(count, dtype=torch.float32) / (count / config.position_range)).double()
        angles = places[:, None] * frequencies
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    x = encode(columns)[None].expand(rows, -1, -1)
    y = encode(rows)[:, None].expand(-1, columns, -1)
    return torch.cat((x, y), dim=-1).flatten(0, 1)[None].float()


@lru_cache(maxsize=4)
def _positions(
    config: WorldFMConfig, rows: int, columns: int, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """:func:`positions` on a device, made once for a size: a pass would wait for 14 MB from the host's memory."""
    with torch.inference_mode(mode=False), torch.no_grad():
        return positions(config, rows, columns).to(device, dtype)
