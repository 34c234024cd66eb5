"""The causal Wan 2.1 diffusion transformer of InSpatio-World, split into its three passes.

    text = dit.project_text(embeddings)                          once per prompt
    dit.fill_context(latents, modulation_at_0, text, cache)      once per block: rotary frame positions from 0
    flow = dit.denoise(noisy, condition, modulation, text, cache)  per step: rotary frame positions 6, 7, 8

Tokens are patches of 1x2x2 latents (1560 to a latent frame at 832x480), with 36 channels: 16 noisy or clean latent, 4
mask, 16 render latent; a context token's last 20 are zero. A block is self-attention, text cross-attention and a GELU
feed-forward; shift, scale and gate of the first and the last come from the time embedding (adaLN), the cross-attention
has none. The context pass attends within the context; a denoising pass to the context's keys and values and to itself.
Of the last layer the context pass needs keys and values only, and it computes nothing more.

Numerics: weights and tokens in the model's dtype; norms, softmax and rotary turns accumulate in float32; the time
embedding (cos | sin of 256 features in float64), its projection and the sums with every layer's modulation are float32,
done once for each of the schedule's five times (:class:`Modulation`), then rounded. As the whole pass has one time, its
shift and scale enter the LayerNorm kernel as bias and gain.

The module knows one device. Attention is a callable given to it, and an :class:`Exchange` spreads tokens over
processes. Parameter names are the published checkpoints'. Sources: Wan 2.1 (arXiv 2503.20314), DiT (arXiv
2212.09748), InSpatio-World (arXiv 2604.07209).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from inspatio.errors import UsageError
from inspatio.models.attention import Attend, attention
from inspatio.models.wan.autoencoder import LATENT_CHANNELS
from inspatio.models.wan.cache import ContextCache, TextCache
from inspatio.models.wan.exchange import Alone, Exchange
from inspatio.models.wan.rotary import Rotary, make_rotary
from inspatio.types import LatentTensor

CONDITION_CHANNELS = 4 + LATENT_CHANNELS
"""Mask and render latent."""
BLOCK_LATENTS = 3
"""Latent frames that are denoised together."""
CONTEXT_LATENTS = 2 * BLOCK_LATENTS
"""Latent frames of context at most, and the rotary position of the block's first frame (on the first block as well)."""
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
                f"width {self.dim}, {self.num_heads} heads, {self.freq_dim} time features: the width must "
                "be a multiple of the heads, and a head's width and the time features even"
            )

    @classmethod
    def from_wan(cls, config: Mapping[str, Any]) -> DiTConfig:
        """From a Wan folder's ``config.json``, whose base model lacks the condition channels.

        Raises:
            UsageError: a size is missing, or it describes another kind of network.
        """
        known = {field.name for field in fields(cls)} - {"in_dim"}
        given = {key: value for key, value in config.items() if key in known}
        if missing := sorted({"dim", "ffn_dim", "num_heads", "num_layers"} - given.keys()):
            raise UsageError(f"the DiT's config.json lacks {', '.join(missing)}; expected a Wan 2.1 model's config")
        for key, expected in (("patch_size", [1, PATCH, PATCH]), ("qk_norm", True), ("cross_attn_norm", True)):
            got = config.get(key, expected)
            if (list(got) if isinstance(got, tuple) else got) != expected:
                raise UsageError(f"the DiT's config.json has {key} {got}, expected {expected}: not a Wan 2.1 model")
        return cls(**given)

    @property
    def head_size(self) -> int:
        return self.dim // self.num_heads


PUBLISHED = {
    1536: DiTConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30),
    5120: DiTConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40),
}
"""The published networks, 1.3B and 14B, by their width."""


@dataclass(frozen=True)
class Modulation:
    """What one time of the schedule does to every layer, in the model's dtype.

    ``layers`` is ``l 6 c``: shift, 1 + scale and gate of the self-attention, then of the feed-forward; ``head`` is
    ``2 c``: shift and 1 + scale.
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

    def query(self, x: torch.Tensor) -> torch.Tensor:
        return self._heads(self.norm_q(self.q(x)))

    def key(self, x: torch.Tensor) -> torch.Tensor:
        return self._heads(self.norm_k(self.k(x)))

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self._heads(self.v(x))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1))


class Block(nn.Module):
    """One layer, in pieces with attention between them: what is between may leave the process.

    Each piece is a pure function of tensors, and their shapes are all that differs from pass to pass, so that a
    compiler can take a piece as it is. ``modulation`` is ``6 c``, tokens are ``b n c``, what attends ``b n h d``.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.width = (config.dim,)
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.empty(1, 6, config.dim))
        self.self_attn = Attention(config)
        self.norm3 = nn.LayerNorm(config.dim, eps=config.eps)
        self.cross_attn = Attention(config)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(config.ffn_dim, config.dim)
        )

    def project(
        self, x: torch.Tensor, modulation: torch.Tensor, rotary: Rotary
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens -> query, key and value of the self-attention, turned to their positions."""
        y = self._modulated(x, modulation[0], modulation[1])
        query = rotary.turn(self.self_attn.query(y))
        return query, rotary.turn(self.self_attn.key(y)), self.self_attn.value(y)

    def project_context(
        self, x: torch.Tensor, modulation: torch.Tensor, rotary: Rotary
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The key and value of ``project`` alone."""
        y = self._modulated(x, modulation[0], modulation[1])
        return rotary.turn(self.self_attn.key(y)), self.self_attn.value(y)

    def ask_text(
        self, x: torch.Tensor, attended: torch.Tensor, modulation: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and what their self-attention gave -> tokens, and the query of their cross-attention."""
        x = torch.addcmul(x, self.self_attn.o(attended.flatten(-2)), modulation[2])
        return x, self.cross_attn.query(self.norm3(x))

    def finish(self, x: torch.Tensor, read: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        """Tokens and what their cross-attention gave -> tokens after the layer."""
        x = x + self.cross_attn.o(read.flatten(-2))
        return torch.addcmul(x, self.ffn(self._modulated(x, modulation[3], modulation[4])), modulation[5])

    def _modulated(self, x: torch.Tensor, shift: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.width, gain, shift, self.eps)


class Head(nn.Module):
    """Tokens to patches of flow."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim))
        self.head = nn.Linear(config.dim, config.out_dim * PATCH * PATCH)

    def forward(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        return self.head(functional.layer_norm(x, x.shape[-1:], modulation[1], modulation[0], self.eps))


class CausalDiT(nn.Module):
    """The network; see the module's docstring. Latents are ``b f c h w``."""

    def __init__(self, config: DiTConfig, attend: Attend = attention, exchange: Exchange | None = None) -> None:
        super().__init__()
        self.config = config
        self.attend = attend
        self.exchange: Exchange = exchange or Alone()
        dim = config.dim
        self.patch_embedding = nn.Conv3d(config.in_dim, dim, (1, PATCH, PATCH), (1, PATCH, PATCH))
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = Head(config)
        self.walk = self._walk
        """Gives the layers in order; replaced where their weights have to be fetched first."""

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

    def make_cache(self, rows: int, columns: int, batch: int = 1) -> ContextCache:
        """A cache for clips whose latents are ``rows x columns``.

        Raises:
            UsageError: the size cannot be cut into patches, or the heads not be shared by the processes.
        """
        if rows % PATCH or columns % PATCH:
            raise UsageError(f"latents of {rows}x{columns} are not a multiple of {PATCH}: use multiples of 16 pixels")
        if self.config.num_heads % self.exchange.size:
            raise UsageError(
                f"{self.exchange.size} processes cannot share {self.config.num_heads} attention heads; "
                "choose a number of processes per clip that divides them"
            )
        frames = CONTEXT_LATENTS + BLOCK_LATENTS
        frame_tokens = (rows // PATCH) * (columns // PATCH)
        rotary = make_rotary(frames, rows // PATCH, columns // PATCH, self.config.head_size, self.device)
        shape = (batch, frames * frame_tokens, self.config.num_heads // self.exchange.size, self.config.head_size)
        return ContextCache.allocate(
            self.config.num_layers, shape, rotary, frame_tokens, device=self.device, dtype=self.dtype
        )

    def modulate(self, time: float) -> Modulation:
        """What a time in 0..1000 does to every layer."""
        half = self.config.freq_dim // 2
        speed = 10000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
        angles = time * speed
        features = torch.cat((angles.cos(), angles.sin())).float().to(self.device)
        embedded = self.time_embedding(features)
        projected = self.time_projection(embedded).unflatten(0, (6, -1))
        layers = torch.cat([block.modulation for block in self._walk()]) + projected
        head = self.head.modulation[0] + embedded
        layers[:, (1, 4)] += 1.0
        head[1] += 1.0
        return Modulation(layers.to(self.dtype), head.to(self.dtype))

    def project_text(self, embeddings: torch.Tensor) -> TextCache:
        """Prompt embeddings ``b m c`` (zero on the padding, which is attended to as well) -> keys and values."""
        expected = (self.config.text_len, self.config.text_dim)
        assert embeddings.shape[1:] == expected, f"prompt embeddings {tuple(embeddings.shape)}, expected b {expected}"
        tokens = self.text_embedding(embeddings.to(self.device, self.dtype))
        pairs = [(block.cross_attn.key(tokens), block.cross_attn.value(tokens)) for block in self.walk()]
        return TextCache(tuple(key for key, _ in pairs), tuple(value for _, value in pairs))

    def fill_context(self, latents: LatentTensor, modulation: Modulation, text: TextCache, cache: ContextCache) -> None:
        """One pass over up to six clean latent frames, which leaves every layer's keys and values in the cache."""
        zeros = latents.new_zeros(*latents.shape[:2], CONDITION_CHANNELS, *latents.shape[3:])
        tokens = self._embed(torch.cat((latents, zeros), dim=2))
        count = tokens.shape[1]
        cache.reset()
        rotary = self._split_rotary(cache.rotary[:count])
        x = self.exchange.split(tokens, dim=1)
        last = self.config.num_layers - 1
        for layer, block in enumerate(self.walk()):
            if layer == last:
                key, value = block.project_context(x, modulation.layers[layer], rotary)
                cache.put(layer, 0, self.exchange.to_heads(key, count), self.exchange.to_heads(value, count))
            else:
                x = self._layer(x, block, layer, 0, count, modulation, rotary, text, cache)
        cache.length = count

    def denoise(
        self, noisy: LatentTensor, condition: LatentTensor, modulation: Modulation, text: TextCache, cache: ContextCache
    ) -> LatentTensor:
        """A noisy block ``b f 16 h w`` and its condition ``b f 20 h w`` -> its flow ``b f 16 h w``, float32."""
        rows, columns = noisy.shape[3:]
        tokens = self._embed(torch.cat((noisy, condition), dim=2))
        count = tokens.shape[1]
        first = CONTEXT_LATENTS * cache.frame_tokens
        rotary = self._split_rotary(cache.rotary[first : first + count])
        x = self.exchange.split(tokens, dim=1)
        for layer, block in enumerate(self.walk()):
            x = self._layer(x, block, layer, cache.length, count, modulation, rotary, text, cache)
        patches = self.exchange.join(self.head(x, modulation.head), count)
        return rearrange(
            patches.float(),
            "b (f h w) (p q c) -> b f c (h p) (w q)",
            h=rows // PATCH,
            w=columns // PATCH,
            p=PATCH,
            q=PATCH,
        )

    def _layer(
        self,
        x: torch.Tensor,
        block: Block,
        layer: int,
        start: int,
        count: int,
        modulation: Modulation,
        rotary: Rotary,
        text: TextCache,
        cache: ContextCache,
    ) -> torch.Tensor:
        """One whole layer over this process's tokens, whose keys and values go into the cache from ``start`` on."""
        shares = (self.exchange.to_heads(part, count) for part in block.project(x, modulation.layers[layer], rotary))
        query, key, value = shares
        attended = self.exchange.to_tokens(self.attend(query, *cache.put(layer, start, key, value)))
        x, query = block.ask_text(x, attended, modulation.layers[layer])
        read = self.attend(query, text.keys[layer], text.values[layer])
        return block.finish(x, read, modulation.layers[layer])

    def _embed(self, latents: torch.Tensor) -> torch.Tensor:
        """``b f c h w`` -> tokens ``b n c``: a convolution whose stride is its kernel is one matrix product."""
        patches = rearrange(latents.to(self.dtype), "b f c (h p) (w q) -> b (f h w) (c p q)", p=PATCH, q=PATCH)
        return functional.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

    def _split_rotary(self, rotary: Rotary) -> Rotary:
        return Rotary(self.exchange.split(rotary.cosine, dim=0), self.exchange.split(rotary.sine, dim=0))

    def _walk(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block


def published_name(key: str) -> str | None:
    """A checkpoint's key -> this module's; None for what the published 14B base has of image conditioning, unused."""
    key = key.removeprefix("model.")
    unused = key.startswith("img_emb.") or any(f".cross_attn.{part}_img." in key for part in ("k", "v", "norm_k"))
    return None if unused else key
