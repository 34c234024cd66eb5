"""InSpatio-World's two kinds of pass in training, both of the inference network with the cache that keeps gradients.

    predict_clip(dit, noisy, level, clip)        a whole clip at once: teachers and fake scores
    predict_block(dit, noisy, level, block)      one block behind its context: the student

A teacher is the same network with other positions: the reference, all of the source's latents, is its context, and the
whole clip its block, so that every latent frame attends to every other. Tokens of the reference have time 0, those of
the clip the noise level's. Its reference does not attend to the clip, as in the student; ReCamMaster (arXiv
2503.11647), which has no cache, concatenates the two in one sequence. Positions are relative, so that without a
reference and with condition columns of zero it is the Wan base model to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from inspatio.generation.inspatio_world.block_loop import block_context
from inspatio.generation.inspatio_world.condition import condition_channels
from inspatio.generation.sampler import NUM_TRAIN_TIMESTEPS, x0_from_flow
from inspatio.models.wan.cache import BLOCK_LATENTS, TextCache
from inspatio.models.wan.dit import CausalDiT
from inspatio.training.shards import StoredSample
from inspatio.types import LatentTensor


@dataclass(frozen=True)
class Clip:
    """A training clip: latents ``1 f c h w`` float32.

    ``source`` is None where the task has no reference (text to video, or dropped out). ``condition`` is mask and render
    of the target view, ``1 f 20 h w``; ``text`` and ``no_text`` are embeddings ``1 m c``.
    """

    name: str
    source: LatentTensor | None
    target: LatentTensor
    condition: LatentTensor
    text: torch.Tensor
    no_text: torch.Tensor

    @property
    def blocks(self) -> int:
        return self.target.shape[1] // BLOCK_LATENTS

    def without_text(self) -> Clip:
        """The same task without its prompt: what guidance goes away from keeps render and reference, since otherwise
        guidance would push away from the geometry."""
        return replace(self, text=self.no_text)

    def as_text_to_video(self) -> Clip:
        """The task of the prompt alone: no reference, no render, all of the mask a hole."""
        return replace(self, source=None, condition=nothing_seen(self.condition))

    def to(self, device: torch.device) -> Clip:
        source = None if self.source is None else self.source.to(device)
        moved = {name: getattr(self, name).to(device) for name in ("target", "condition", "text", "no_text")}
        return replace(self, source=source, **moved)


def nothing_seen(condition: LatentTensor) -> LatentTensor:
    """The condition of a target view of which the source shows nothing: mask -1, render 0."""
    mask, render = condition.split((4, condition.shape[2] - 4), dim=2)
    return condition_channels(torch.full_like(mask, -1.0), torch.zeros_like(render))


def read_clip(sample: StoredSample, text_length: int) -> Clip:
    """A stored sample as a clip, cut to whole blocks."""
    whole = sample.tensors["target"].shape[0] // BLOCK_LATENTS * BLOCK_LATENTS
    target, render, mask = (sample.tensors[key][None, :whole] for key in ("target", "render", "mask"))
    source = sample.tensors["source"][None, :whole] if "source" in sample.tensors else None
    text, no_text = (
        functional.pad(each.float(), (0, 0, 0, text_length - len(each)))[None] for each in (sample.text, sample.no_text)
    )
    return Clip(sample.name, source, target, condition_channels(mask, render), text, no_text)


@dataclass(frozen=True)
class BlockInputs:
    """What the student is told of one block: its context, with the position it begins at, and its condition."""

    context: LatentTensor
    first: int
    condition: LatentTensor

    @classmethod
    def of(cls, clip: Clip, index: int, previous: LatentTensor | None) -> BlockInputs:
        """The inputs of a clip's block: the source's latents of its time and the block before, as inference has
        them."""
        part = slice(index * BLOCK_LATENTS, (index + 1) * BLOCK_LATENTS)
        condition = clip.condition[:, part]
        if clip.source is not None:
            return cls(block_context(clip.source[:, part], previous), 0, condition)
        nothing = clip.target[:, :0]
        return cls(nothing if previous is None else previous, BLOCK_LATENTS, condition)


def predict_clip(dit: CausalDiT, noisy: LatentTensor, level: float, clip: Clip) -> LatentTensor:
    """The flow ``1 f 16 h w`` float32 of a whole noisy clip at a level of 0..1."""
    frames, rows, columns = noisy.shape[1], *noisy.shape[3:]
    text = dit.encode_text(clip.text)
    cache = dit.make_functional_cache(rows, columns, context_latents=frames, block_latents=frames)
    reference = noisy[:, :0] if clip.source is None else clip.source
    dit.prefill(reference, dit.time_modulation(0.0), text, cache)
    return dit.denoise(noisy, clip.condition, dit.time_modulation(level * NUM_TRAIN_TIMESTEPS), text, cache)


def denoise_clip(dit: CausalDiT, noisy: LatentTensor, level: float, clip: Clip) -> LatentTensor:
    """The clean clip that a noisy one points to."""
    return x0_from_flow(noisy, predict_clip(dit, noisy, level, clip), level)


class BlockPass:
    """A block's prefill, done once, and its denoising passes at any levels."""

    def __init__(self, dit: CausalDiT, block: BlockInputs, text: TextCache, *, through_context: bool = True) -> None:
        """Without ``through_context`` no gradient reaches the context's keys and values, as in Self-Forcing."""
        self._dit, self._block, self._text = dit, block, text
        rows, columns = block.condition.shape[3:]
        self._cache = dit.make_functional_cache(rows, columns)
        with torch.set_grad_enabled(torch.is_grad_enabled() and through_context):
            dit.prefill(block.context, dit.time_modulation(0.0), text, self._cache, block.first)

    def flow(self, noisy: LatentTensor, level: float) -> LatentTensor:
        """The flow ``1 3 16 h w`` float32 of the noisy block at a level of 0..1."""
        modulation = self._dit.time_modulation(level * NUM_TRAIN_TIMESTEPS)
        return self._dit.denoise(noisy, self._block.condition, modulation, self._text, self._cache)

    def clean(self, noisy: LatentTensor, level: float) -> LatentTensor:
        """The clean block that the noisy one points to."""
        return x0_from_flow(noisy, self.flow(noisy, level), level)
