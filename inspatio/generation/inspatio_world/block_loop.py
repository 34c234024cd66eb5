"""Generate one clip's latents block by block: what happens between the video autoencoders.

    loop = BlockLoop(dit, schedule, text)
    while the clip lasts:
        latents = loop.step(source, condition, noise)        three latent frames each

The context of a block is the source's latents of the same time and, from the second block on, the block before as it
was generated. Each block has one prefill, then one denoising pass for every level of the schedule. A loop owns the
caches of one clip; their size depends on the frame's size and not on the clip's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from inspatio.generation.sampler import NUM_TRAIN_TIMESTEPS, sample_block, warp_steps
from inspatio.models.wan.autoencoder import frames_of
from inspatio.models.wan.cache import BLOCK_LATENTS, StaticKVCache, TextCache
from inspatio.models.wan.dit import CausalDiT, Modulation
from inspatio.types import LatentTensor

FIRST_BLOCK_FRAMES = frames_of(BLOCK_LATENTS, first=True)
"""Frames of a clip's first block: 9, since a clip's first latent is one frame alone."""
BLOCK_FRAMES = frames_of(BLOCK_LATENTS, first=False)
"""Frames of every later block: 12."""


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a block's steps, and the network's modulation at their times and at the context's time 0."""

    sigmas: tuple[float, ...]
    steps: tuple[Modulation, ...]
    context: Modulation

    @classmethod
    def make(cls, dit: CausalDiT, steps: Sequence[int], shift: float) -> Schedule:
        """Compute the schedule of a network, once for all clips; without gradients, but usable in autograd."""
        sigmas = tuple(warp_steps(steps, shift).tolist())
        # Also where the caller is in inference mode, whose tensors autograd refuses.
        with torch.inference_mode(mode=False), torch.no_grad():
            times = tuple(dit.time_modulation(sigma * NUM_TRAIN_TIMESTEPS) for sigma in sigmas)
            return cls(sigmas, times, dit.time_modulation(0.0))


def block_context(source: LatentTensor, previous: LatentTensor | None) -> LatentTensor:
    """The context of a block: the source's latents of its time, and the block before as it was generated."""
    return source if previous is None else torch.cat((source, previous.to(source.dtype)), dim=1)


class BlockLoop:
    """The latents of one clip, in order."""

    def __init__(self, dit: CausalDiT, schedule: Schedule, text: TextCache) -> None:
        self.dit = dit
        self.schedule = schedule
        self.text = text
        self.cache: StaticKVCache | None = None
        self.previous: LatentTensor | None = None

    def step(self, source: LatentTensor, condition: LatentTensor, noise: torch.Tensor) -> LatentTensor:
        """Generate the next block.

        Args:
            source: ``b f 16 h w``, the source's latents of this block's time.
            condition: ``b f 20 h w``, mask and render latents of the target view.
            noise: ``s b f 16 h w`` float32 unit noise, fresh for each of the ``s`` steps.

        Returns:
            ``b f 16 h w`` float32 latents of the novel view.
        """
        self.prefill(source)
        return self.denoise(condition, noise)

    def prefill(self, source: LatentTensor) -> None:
        """First half of a step: write the context, source and previous block, to the cache."""
        if self.cache is None:
            self.cache = self.dit.make_cache(source.shape[3], source.shape[4], batch=source.shape[0])
        self._prefill(block_context(source, self.previous))

    def denoise(self, condition: LatentTensor, noise: torch.Tensor) -> LatentTensor:
        """Second half of a step: from noise to latents."""
        self.previous = self._denoise(condition, noise)
        return self.previous

    def set_text(self, text: TextCache) -> None:
        """Use another prompt from the next step on."""
        self.text = text

    def _prefill(self, context: LatentTensor) -> None:
        assert self.cache is not None, "a cache is made before anything is written to it"
        self.dit.prefill(context, self.schedule.context, self.text, self.cache)

    def _denoise(self, condition: LatentTensor, noise: torch.Tensor) -> LatentTensor:
        cache = self.cache
        assert cache is not None, "the cache holds no context: call prefill before denoise"

        def flow(noisy: LatentTensor, step: int) -> LatentTensor:
            return self.dit.denoise(noisy, condition, self.schedule.steps[step], self.text, cache)

        return sample_block(flow, noise, self.schedule.sigmas)

    def free_cache(self) -> None:
        """Give the cache's memory back until the next block, whose prefill writes all of it."""
        self.cache = None
