"""What the causal DiT remembers between its passes: keys and values, of the prompt and of the context.

Both are plain storage of fixed size, allocated once per clip: a block overwrites what the block before it left, so
memory does not grow with the clip. The context's buffers have room behind the context for the denoised block's own
keys and values, so that attending to "the context and itself" is one view and copies nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inspatio.models.wan.rotary import Rotary


@dataclass(frozen=True)
class TextCache:
    """Every layer's cross-attention keys and values of one prompt, ``b m h d`` each; made once per prompt."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]


@dataclass
class ContextCache:
    """Every layer's rotated keys and values, ``b n h d`` each, of which the first ``length`` are the context's.

    ``rotary`` holds the positions of all the tokens a session ever uses, and ``frame_tokens`` how many make one latent
    frame. ``generation`` of a block: the context pass sets ``length``; each denoising pass writes behind it.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    rotary: Rotary
    frame_tokens: int
    length: int = 0

    @classmethod
    def allocate(
        cls,
        layers: int,
        shape: tuple[int, int, int, int],
        rotary: Rotary,
        frame_tokens: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> ContextCache:
        """Buffers of ``shape`` ``b n h d`` for every layer."""
        keys = [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)]
        values = [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)]
        return cls(keys, values, rotary, frame_tokens)

    def put(
        self, layer: int, start: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a layer's new keys and values from token ``start`` on; all up to their end are returned (views)."""
        end = start + keys.shape[1]
        capacity = self.keys[layer].shape[1]
        assert end <= capacity, f"tokens {start}..{end} do not fit a cache of {capacity}"
        self.keys[layer][:, start:end] = keys
        self.values[layer][:, start:end] = values
        return self.keys[layer][:, :end], self.values[layer][:, :end]

    def context(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The context's keys and values of a layer (views)."""
        return self.keys[layer][:, : self.length], self.values[layer][:, : self.length]

    def reset(self) -> None:
        """Forget the context; the buffers stay."""
        self.length = 0
