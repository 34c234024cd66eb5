"""Causal Wan 2.1 diffusion transformer of InSpatio-World: prefill of the context, denoising of a block.

    text = dit.encode_text(embeddings)                              once per prompt
    cache = dit.make_cache(rows, columns)                           once per clip
    dit.prefill(latents, modulation_at_0, text, cache)              once per block
    flow = dit.denoise(noisy, condition, modulation, text, cache)   once per sampling step

Shapes of the 1.3B network at 832x480 (14B: width 5120, feed-forward 13824, 40 heads, 40 layers):

    latents              b f 16 h w        1 3 16 60 104   (context: 1 3 or 1 6)
    condition            b f 20 h w        1 3 20 60 104   4 mask channels, 16 of the render; zero for the context
    tokens of a frame    (h/2) (w/2)       30 * 52 = 1560  a patch is 1x2x2 latents of 36 channels
    tokens x             b n c             1 4680 1536     a block (3 latent frames); context: 4680 or 9360
    q, k, v              b n heads d       1 4680 12 128
    keys attended to     b m heads d       1 9360 or 14040 context and block
    prompt               b 512 4096        1 512 12 128 keys and values in each of 30 layers
    modulation           6 c               shift, 1 + scale, gate of the self-attention, then of the feed-forward
    flow                 b f 16 h w        1 3 16 60 104   float32

The context attends to itself; the block attends to the context and to itself. ``cache.py`` knows where tokens stand.
Numerics: weights and tokens in the model's dtype; norms, softmax and rotary accumulate in float32; the time embedding
(cos | sin of 256 features in float64), its projection and the sums with every layer's modulation are float32, computed
once per time (:class:`Modulation`), then rounded.

The module knows neither other processes nor other devices: ``parallel.py``, ``offload.py`` and ``optimize.py`` are
applied to a finished model. Parameter names are the published checkpoints'. Sources: Wan 2.1 (arXiv 2503.20314), DiT
(arXiv 2212.09748), InSpatio-World (arXiv 2604.07209).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from inspatio.errors import UsageError
from inspatio.models.attention import Attend, attention
from inspatio.models.wan.autoencoder import LATENT_CHANNELS
from inspatio.models.wan.cache import (
    BLOCK_LATENTS,
    CONTEXT_LATENTS,
    FunctionalKVCache,
    KVCache,
    LayerCache,
    Rotary,
    StaticKVCache,
    TextCache,
    apply_rotary,
)
from inspatio.types import LatentTensor

CONDITION_CHANNELS = 4 + LATENT_CHANNELS
"""Mask and render latent."""
PATCH = 2
"""Latent rows and columns to a token."""


@dataclass(frozen=True)
class DiTConfig:
    """The network's size, under the names of the published ``config.json``."""

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512
    in_dim: int = LATENT_CHANNELS + CONDITION_CHANNELS
    out_dim: int = LATENT_CHANNELS
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.head_size % 2 or self.freq_dim % 2:
            raise UsageError(
                f"transformer sizes do not fit: got width {self.dim}, {self.num_heads} heads and {self.freq_dim} time "
                "features, expected a width that is a multiple of the heads, and an even head size and number of time "
                "features. Check the config.json"
            )

    @property
    def head_size(self) -> int:
        return self.dim // self.num_heads


@dataclass(frozen=True)
class Modulation:
    """Shifts, gains (1 + scale) and gates of every layer at one time of the schedule, in the model's dtype.

    ``layers`` is ``l 6 c`` and ``head`` ``2 c`` for one time that the whole batch shares; for a batch of times
    ``l 6 b 1 c`` and ``2 b 1 c``, which broadcast over tokens ``b n c``.
    """

    layers: torch.Tensor
    head: torch.Tensor


class Attention(nn.Module):
    """Projections of an attention layer; queries and keys are RMS-normalised over the full width, not per head."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.norm_q = nn.RMSNorm(config.dim, eps=config.eps)
        self.norm_k = nn.RMSNorm(config.dim, eps=config.eps)
        # Set by optimize.join_projections: q, k and v one below the other, of which their own weights are then views.
        self.joined_weight: torch.Tensor | None
        self.joined_bias: torch.Tensor | None
        self.register_buffer("joined_weight", None, persistent=False)
        self.register_buffer("joined_bias", None, persistent=False)

    def query(self, x: torch.Tensor) -> torch.Tensor:
        return self._normed(self.norm_q, self.q(x))

    def key_value(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._normed(self.norm_k, self.k(x)), self.v(x).unflatten(-1, (self.heads, -1))

    def query_key_value(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All three of the same tokens ``b n c``, each ``b n h d``."""
        if self.joined_weight is None:
            return self.query(x), *self.key_value(x)
        q, k, v = F.linear(x, self.joined_weight, self.joined_bias).chunk(3, dim=-1)
        return self._normed(self.norm_q, q), self._normed(self.norm_k, k), v.unflatten(-1, (self.heads, -1))

    def _normed(self, norm: nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
        return norm(x).unflatten(-1, (self.heads, -1))


class CachedAttention(nn.Module):
    """Self-attention of a pass to everything in its cache, itself included; has no parameters.

    A module, so that sequence parallelism can put its own around it. ``heads`` is how many it attends with, and so how
    many a cache has to hold.
    """

    def __init__(self, heads: int, attend: Attend) -> None:
        super().__init__()
        self.heads = heads
        self.attend = attend

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: LayerCache) -> torch.Tensor:
        keys, values = cache.append(k, v)
        return self.attend(q, keys, values)


class Block(nn.Module):
    """Transformer layer: self-attention, cross-attention to the prompt, feed-forward."""

    def __init__(self, config: DiTConfig, attend: Attend) -> None:
        super().__init__()
        self.eps = config.eps
        self.attend = attend
        self.modulation = nn.Parameter(torch.empty(1, 6, config.dim))
        self.self_attn = Attention(config)
        self.cached_attention = CachedAttention(config.num_heads, attend)
        self.norm3 = nn.LayerNorm(config.dim, eps=config.eps)
        self.cross_attn = Attention(config)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(config.ffn_dim, config.dim)
        )

    def forward(
        self,
        x: torch.Tensor,
        modulation: torch.Tensor,
        rotary: Rotary,
        text: tuple[torch.Tensor, torch.Tensor],
        cache: LayerCache,
    ) -> torch.Tensor:
        """Tokens ``b n c`` after the layer; the cache takes their keys and values.

        Args:
            x: tokens ``b n c``.
            modulation: ``6 c``, or ``6 b 1 c`` where every sample has a time of its own; see :class:`Modulation`.
            rotary: the tokens' positions.
            text: the prompt's keys and values, ``b m heads d`` each.
            cache: this layer's cache.
        """
        attn_shift, attn_gain, attn_gate, ffn_shift, ffn_gain, ffn_gate = modulation

        # 1. self-attention
        y = modulated_norm(x, attn_shift, attn_gain, self.eps)
        q, k, v = self.self_attn.query_key_value(y)
        y = self.cached_attention(apply_rotary(q, rotary), apply_rotary(k, rotary), v, cache)
        x = torch.addcmul(x, self.self_attn.o(y.flatten(-2)), attn_gate)

        # 2. cross-attention
        y = self.attend(self.cross_attn.query(self.norm3(x)), *text)
        x = x + self.cross_attn.o(y.flatten(-2))

        # 3. feed-forward
        y = self.ffn(modulated_norm(x, ffn_shift, ffn_gain, self.eps))
        return torch.addcmul(x, y, ffn_gate)


class Blocks(nn.ModuleList):
    """All layers in order. ``offload.py`` replaces it by one whose layers are on the device only in their turn."""

    def __iter__(self) -> Iterator[Block]:
        return self.children()

    def children(self) -> Iterator[Block]:
        """The layers, wherever they are."""
        return cast("Iterator[Block]", super().children())

    def forward(
        self, x: torch.Tensor, modulation: torch.Tensor, rotary: Rotary, text: TextCache, cache: KVCache
    ) -> torch.Tensor:
        for index, block in enumerate(self):
            x = block(x, modulation[index], rotary, text.layer(index), cache.layer(index))
        return x


class Head(nn.Module):
    """Tokens ``b n c`` to patches of flow ``b n (2 2 16)``."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim))
        self.head = nn.Linear(config.dim, config.out_dim * PATCH * PATCH)

    def forward(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        shift, gain = modulation
        return self.head(modulated_norm(x, shift, gain, self.eps))


class CausalDiT(nn.Module):
    """The network; see the module's docstring. ``attend`` is the attention function of every layer."""

    def __init__(self, config: DiTConfig, attend: Attend = attention) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch_embedding = nn.Conv3d(config.in_dim, dim, (1, PATCH, PATCH), (1, PATCH, PATCH))
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = Blocks(Block(config, attend) for _ in range(config.num_layers))
        self.head = Head(config)

    @property
    def device(self) -> torch.device:
        return self.patch_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.patch_embedding.weight.dtype

    def place(self, device: torch.device, dtype: torch.dtype) -> CausalDiT:
        """Move to a device in a precision, parameter by parameter; what belongs to the time stays in float32."""
        for name, parameter in self.named_parameters():
            in_float32 = name.startswith("time_") or name.endswith("modulation")
            parameter.data = parameter.data.to(device, torch.float32 if in_float32 else dtype)
        return self

    def make_cache(self, rows: int, columns: int, batch: int = 1) -> StaticKVCache:
        """Make an inference cache for clips whose latents are ``rows x columns`` (60x104 at 832x480).

        Raises:
            UsageError: the size cannot be cut into patches.
        """
        heads = next(self.blocks.children()).cached_attention.heads
        size = _token_grid(rows, columns)
        return StaticKVCache(
            *size,
            self.config.head_size,
            layers=self.config.num_layers,
            heads=heads,
            batch=batch,
            device=self.device,
            dtype=self.dtype,
        )

    def make_functional_cache(
        self, rows: int, columns: int, *, context_latents: int = CONTEXT_LATENTS, block_latents: int = BLOCK_LATENTS
    ) -> FunctionalKVCache:
        """Make a cache through which gradients flow, for one block; arguments and errors as of :meth:`make_cache`.

        ``context_latents`` and ``block_latents`` are as of :class:`KVCache`: the clip's length for a teacher.
        """
        return FunctionalKVCache(
            *_token_grid(rows, columns),
            self.config.head_size,
            device=self.device,
            context_latents=context_latents,
            block_latents=block_latents,
        )

    def time_modulation(self, time: float | torch.Tensor) -> Modulation:
        """Compute every layer's modulation at a time in 0..1000, or at ``b`` times, one for each sample."""
        half = self.config.freq_dim // 2
        frequencies = 10000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
        angles = torch.as_tensor(time, dtype=torch.float64, device="cpu")[..., None] * frequencies
        features = torch.cat((angles.cos(), angles.sin()), dim=-1).float().to(self.device)
        embedded = self.time_embedding(features)
        projected = self.time_projection(embedded).unflatten(-1, (6, -1))
        # children(), not iteration: where layers are offloaded, their modulation alone is on the device all the time.
        layers = torch.cat([block.modulation for block in self.blocks.children()])
        head = self.head.modulation[0]
        if projected.ndim == 3:
            projected = rearrange(projected, "b six c -> six b 1 c")
            layers, head = layers[:, :, None, None], head[:, None, None]
            embedded = embedded[:, None]
        layers, head = layers + projected, head + embedded
        layers[:, (1, 4)] += 1.0
        head[1] += 1.0
        return Modulation(layers.to(self.dtype), head.to(self.dtype))

    def encode_text(self, embeddings: torch.Tensor) -> TextCache:
        """Compute the prompt's keys and values from embeddings ``b m c``, zero on the padding (attended to as well)."""
        expected = (self.config.text_len, self.config.text_dim)
        assert embeddings.shape[1:] == expected, f"prompt embeddings {tuple(embeddings.shape)}, expected b {expected}"
        tokens = self.text_embedding(embeddings.to(self.device, self.dtype))
        pairs = [block.cross_attn.key_value(tokens) for block in self.blocks]
        return TextCache(tuple(key for key, _ in pairs), tuple(value for _, value in pairs))

    def prefill(
        self, latents: LatentTensor, modulation: Modulation, text: TextCache, cache: KVCache, first: int = 0
    ) -> None:
        """Write the context's keys and values: one pass over clean latents ``b f 16 h w`` at time 0, ``f`` 3 or 6.

        Their positions begin at latent frame ``first`` of the context. No frames at all (``f`` 0) leave a block that
        sees nothing but itself, as training's text-to-video task has it.
        """
        zeros = latents.new_zeros(*latents.shape[:2], CONDITION_CHANNELS, *latents.shape[3:])
        x = self._patchify(torch.cat((latents, zeros), dim=2))
        rotary = cache.begin_prefill(latents.shape[1], first)
        self.blocks(x, modulation.layers, rotary, text, cache)
        cache.end_prefill()

    def denoise(
        self, noisy: LatentTensor, condition: LatentTensor, modulation: Modulation, text: TextCache, cache: KVCache
    ) -> LatentTensor:
        """Predict the flow ``b f 16 h w`` float32 of a noisy block ``b f 16 h w`` with its condition ``b f 20 h w``."""
        x = self._patchify(torch.cat((noisy, condition), dim=2))
        rotary = cache.begin_denoise(noisy.shape[1])
        x = self.blocks(x, modulation.layers, rotary, text, cache)
        patches = self.head(x, modulation.head)
        rows, columns = _token_grid(*noisy.shape[3:])
        return rearrange(patches.float(), "b (f h w) (p q c) -> b f c (h p) (w q)", h=rows, w=columns, p=PATCH, q=PATCH)

    def _patchify(self, latents: torch.Tensor) -> torch.Tensor:
        """``b f c h w`` -> tokens ``b n c``: a convolution whose stride is its kernel is one matrix product."""
        patches = rearrange(latents.to(self.dtype), "b f c (h p) (w q) -> b (f h w) (c p q)", p=PATCH, q=PATCH)
        return F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)


def modulated_norm(x: torch.Tensor, shift: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    """``layer_norm(x) * gain + shift`` for tokens ``b n c``."""
    if shift.ndim == 1:  # one time for the whole batch: gain and shift enter the norm's kernel
        return F.layer_norm(x, x.shape[-1:], gain, shift, eps)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), gain)


def _token_grid(rows: int, columns: int) -> tuple[int, int]:
    if rows % PATCH or columns % PATCH:
        raise UsageError(
            f"latents of {rows}x{columns} cannot be cut into patches: expected multiples of {PATCH}. Use a height and "
            f"width that are multiples of 16 pixels"
        )
    return rows // PATCH, columns // PATCH
