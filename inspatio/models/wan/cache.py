"""Key-value caches of the causal DiT, and the one place that knows where a token stands.

    rotary = cache.begin_prefill(latent_frames)          positions of the context, frames 0 .. 5
    ... every layer: keys, values = cache.layer(i).append(keys, values)
    cache.end_prefill()
    rotary = cache.begin_denoise(latent_frames)          positions of the block, always frames 6, 7, 8
    ... every layer, once per sampling step: the block's keys and values stand behind the context's

A block of three latent frames is denoised against a context of three (the first block) or six. Its rotary positions are
the same in both cases, so on the first block the positions 3 to 5 stay empty. Every denoising step overwrites the keys
and values of the step before; the context's are written by a prefill and only read after it.

:class:`StaticKVCache` writes into buffers that are allocated once per clip, so memory does not grow with the clip and
attending to "context and block" is a view. :class:`FunctionalKVCache` keeps the tensors themselves and concatenates, so
gradients reach both passes. The results are equal.

Rotary positions have three axes: a head of ``d`` channels is ``d/2`` adjacent (even, odd) pairs, of which the first
``d/2 - 2 * (d // 6)`` rotate with the frame, then ``d // 6`` with the row and ``d // 6`` with the column (128 channels:
22, 21, 21), each axis from fast to slow with theta 10000. Sources: RoFormer (arXiv 2104.09864), Wan 2.1 (arXiv
2503.20314).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import repeat

BLOCK_LATENTS = 3
"""Latent frames that are denoised together."""
CONTEXT_LATENTS = 2 * BLOCK_LATENTS
"""Latent frames of context at most: the source's of the same time and the previous block. The block comes after them,
also on the first block, which has the source's alone."""
ROTARY_THETA = 10000.0


@dataclass(frozen=True)
class Rotary:
    """Cosine and signed sine of every token's angles, ``n 1 d`` float32 each (the axis of 1 broadcasts over the heads).

    An adjacent pair has one angle: its cosine stands twice, its sine as (-sin, sin), so that a rotation is two products
    and a sum of whole tensors.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    @classmethod
    def grid(cls, frames: int, rows: int, columns: int, head_size: int, device: torch.device) -> Rotary:
        """Positions of a grid of tokens, frame by frame and row by row, counted from 0; angles in float64."""
        assert head_size % 2 == 0, f"head size {head_size}, expected an even number"
        space = head_size // 6
        time = head_size // 2 - 2 * space
        angles = torch.cat(
            [
                repeat(_angles(frames, time), "f d -> (f h w) 1 d", h=rows, w=columns),
                repeat(_angles(rows, space), "h d -> (f h w) 1 d", f=frames, w=columns),
                repeat(_angles(columns, space), "w d -> (f h w) 1 d", f=frames, h=rows),
            ],
            dim=-1,
        )
        cos, sin = angles.cos().float(), angles.sin().float()
        signed = torch.stack((-sin, sin), dim=-1).flatten(-2)
        return cls(cos.repeat_interleave(2, dim=-1).to(device), signed.to(device))

    def __getitem__(self, tokens: slice) -> Rotary:
        return Rotary(self.cos[tokens], self.sin[tokens])


def apply_rotary(x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Rotate queries or keys ``b n h d`` to their positions: in float32, returned in their own dtype."""
    exact = x.float()
    swapped = exact.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # (even, odd) -> (odd, even)
    return (exact * rotary.cos + swapped * rotary.sin).to(x.dtype)


@dataclass(frozen=True)
class TextCache:
    """Every layer's cross-attention keys and values of a prompt, ``b m h d`` each; computed once per prompt."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.keys[index], self.values[index]


class LayerCache(Protocol):
    """One layer's part of a cache during one pass: what self-attention sees of it."""

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the pass's rotated keys and values ``b n h d``; return all that its queries attend to."""
        ...


class KVCache(ABC):
    """The position rules that both caches share; subclasses say where a layer's keys and values are stored."""

    def __init__(
        self,
        rows: int,
        columns: int,
        head_size: int,
        device: torch.device,
        *,
        context_latents: int = CONTEXT_LATENTS,
        block_latents: int = BLOCK_LATENTS,
    ) -> None:
        """``rows`` and ``columns`` are the tokens of a latent frame, for instance 30 and 52 at 832x480.

        ``context_latents`` and ``block_latents`` are the latent frames that have positions: a clip's length each where
        a whole clip is denoised at once, as the teachers of training do.
        """
        self.frame_tokens = rows * columns
        self.context_latents, self.block_latents = context_latents, block_latents
        self.rotary = Rotary.grid(context_latents + block_latents, rows, columns, head_size, device)
        self.length = 0
        """Tokens of context that the last prefill left; 0 before the first one and during one."""
        self.is_filled = False
        """Whether a prefill has ended, be it one of no latent frames at all."""
        self._count = 0

    def begin_prefill(self, latent_frames: int, first: int = 0) -> Rotary:
        """Forget the context and start to write a new one; returns its positions, which begin at frame ``first``."""
        end, most = first + latent_frames, self.context_latents
        assert end <= most, f"context up to latent frame {end}, expected at most {most}"
        self.length, self.is_filled = 0, False
        self._count = latent_frames * self.frame_tokens
        return self.rotary[first * self.frame_tokens : end * self.frame_tokens]

    def end_prefill(self) -> None:
        """Every layer has been written: from here on the tokens are context."""
        self.length, self.is_filled = self._count, True

    def begin_denoise(self, latent_frames: int) -> Rotary:
        """Start a pass over a block that attends to the context and to itself; returns the block's positions."""
        assert self.is_filled, "the cache holds no context: call prefill before denoise"
        most = self.block_latents
        assert latent_frames <= most, f"a block of {latent_frames} latent frames, expected at most {most}"
        first = self.context_latents * self.frame_tokens
        return self.rotary[first : first + latent_frames * self.frame_tokens]

    @abstractmethod
    def layer(self, index: int) -> LayerCache:
        """A layer's cache for the pass that has begun."""


class StaticKVCache(KVCache):
    """Buffers of fixed size ``b n h d``, one pair a layer, written in place; for inference."""

    def __init__(
        self,
        rows: int,
        columns: int,
        head_size: int,
        *,
        layers: int,
        heads: int,
        batch: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(rows, columns, head_size, device)
        shape = (batch, len(self.rotary.cos), heads, head_size)
        self.keys = [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)]
        self.values = [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)]

    def layer(self, index: int) -> LayerCache:
        return _StaticLayer(self.keys[index], self.values[index], self.length)


@dataclass(frozen=True)
class _StaticLayer:
    keys: torch.Tensor
    values: torch.Tensor
    start: int

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        end = self.start + keys.shape[1]
        self.keys[:, self.start : end] = keys
        self.values[:, self.start : end] = values
        return self.keys[:, :end], self.values[:, :end]


class FunctionalKVCache(KVCache):
    """The context's own tensors, never written in place; for training."""

    def __init__(
        self, rows: int, columns: int, head_size: int, *, device: torch.device, context_latents: int, block_latents: int
    ) -> None:
        super().__init__(rows, columns, head_size, device, context_latents=context_latents, block_latents=block_latents)
        self._context: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def layer(self, index: int) -> LayerCache:
        return _FunctionalLayer(self._context, index, is_prefill=not self.is_filled)


@dataclass(frozen=True)
class _FunctionalLayer:
    context: dict[int, tuple[torch.Tensor, torch.Tensor]]
    index: int
    is_prefill: bool

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.is_prefill:
            self.context[self.index] = keys, values
            return keys, values
        context_keys, context_values = self.context[self.index]
        return torch.cat((context_keys, keys), dim=1), torch.cat((context_values, values), dim=1)


def _angles(positions: int, pairs: int) -> torch.Tensor:
    """``positions pairs`` float64."""
    frequencies = ROTARY_THETA ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    return torch.arange(positions, dtype=torch.float64)[:, None] * frequencies[None, :]
