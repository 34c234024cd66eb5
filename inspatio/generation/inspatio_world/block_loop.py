"""One clip at latent size, block by block: what is between the video autoencoders.

    loop = BlockLoop(dit, schedule, text, noise)
    while the clip lasts:
        latents = loop.step(source, condition)        three latent frames each

The context of a block is the source's latents of the same time and, from the second block on, the block before as it
was generated. One context pass fills the cache, one denoising pass follows for every level of the schedule. A loop owns
the caches of one clip; their size depends on the frame's size and not on the clip's length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from inspatio.generation.sampler import TRAINING_STEPS, sample_block, warp_steps
from inspatio.models.wan.cache import ContextCache, TextCache
from inspatio.models.wan.dit import CausalDiT, Modulation
from inspatio.types import LatentTensor


@dataclass(frozen=True)
class Schedule:
    """The levels of a block's steps, and what their times and the context's time 0 do to the network."""

    sigmas: tuple[float, ...]
    steps: tuple[Modulation, ...]
    context: Modulation

    @classmethod
    def make(cls, dit: CausalDiT, steps: Sequence[int], shift: float) -> Schedule:
        """The schedule of a network: computed once for all clips."""
        sigmas = tuple(warp_steps(steps, shift).tolist())
        return cls(sigmas, tuple(dit.modulate(sigma * TRAINING_STEPS) for sigma in sigmas), dit.modulate(0.0))


class BlockLoop:
    """The latents of one clip, in order."""

    def __init__(
        self, dit: CausalDiT, schedule: Schedule, text: TextCache, noise: Callable[[Sequence[int]], torch.Tensor]
    ) -> None:
        """``noise`` draws unit noise of a shape, on the network's device in float32."""
        self.dit = dit
        self.schedule = schedule
        self.text = text
        self.noise = noise
        self.cache: ContextCache | None = None
        self.previous: LatentTensor | None = None

    def step(self, source: LatentTensor, condition: LatentTensor) -> LatentTensor:
        """The next block.

        Args:
            source: ``b f 16 h w``, the source's latents of this block's time.
            condition: ``b f 20 h w``, mask and render latents of the target view.

        Returns:
            ``b f 16 h w`` float32 latents of the novel view.
        """
        self.fill_context(source)
        return self.denoise(condition, source.shape)

    def fill_context(self, source: LatentTensor) -> None:
        """The first half of a step: the context pass."""
        if self.cache is None:
            self.cache = self.dit.make_cache(source.shape[3], source.shape[4], batch=source.shape[0])
        context = source if self.previous is None else torch.cat((source, self.previous.to(source.dtype)), dim=1)
        self.dit.fill_context(context, self.schedule.context, self.text, self.cache)

    def denoise(self, condition: LatentTensor, shape: Sequence[int]) -> LatentTensor:
        """The second half: from noise of ``shape`` to latents."""
        cache = self.cache
        assert cache is not None, "the context pass comes first"

        def flow(noisy: LatentTensor, step: int) -> LatentTensor:
            return self.dit.denoise(noisy, condition, self.schedule.steps[step], self.text, cache)

        self.previous = sample_block(flow, lambda: self.noise(shape), self.schedule.sigmas)
        return self.previous

    def release(self) -> None:
        """Give the cache's memory back until the next block, whose context pass fills it anew anyway."""
        self.cache = None
