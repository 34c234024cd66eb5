"""Stage 2, multi-conditional causal initialisation: the student rehearses block by block before any distribution
matching.

Each block is denoised behind its true context: the source's latents of its time and the true previous block. Contexts
have one size, so blocks are samples of their own and no mask over a whole clip is needed. Three targets:

    data           the clip's own block, from noise at the student's levels (or at all, for a multi-step model)
    trajectories   the end of the path that a block-wise teacher takes from the same noise (Causal Forcing, arXiv
                   2602.02214): one-to-one for a block, as the path of a teacher of whole clips is not
    consistency    the averaged student's answer one step of the teacher later (Causal Forcing++, arXiv 2605.15141)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from inspatio.generation.sampler import add_noise, warp_steps
from inspatio.models.wan.cache import BLOCK_LATENTS
from inspatio.models.wan.dit import CausalDiT
from inspatio.training.config import TrainConfig
from inspatio.training.draws import Draws
from inspatio.training.losses import guided, shifted_level
from inspatio.training.parallel import Processes
from inspatio.training.roles import Role
from inspatio.training.rollout import roll_out
from inspatio.training.shards import StoredSample
from inspatio.training.stages.base import ClipStage
from inspatio.training.video import BlockInputs, BlockPass, Clip
from inspatio.types import LatentTensor

Flow = Callable[[LatentTensor, float], LatentTensor]


class InitialStage(ClipStage):
    """Block-wise rehearsal."""

    def __init__(
        self, config: TrainConfig, processes: Processes, student: Role[CausalDiT], teacher: Role[CausalDiT] | None
    ) -> None:
        """``teacher``: a block-wise multi-step model (this stage's own with ``levels: all``); None for target data."""
        super().__init__(config, processes, [student])
        self.teacher = teacher
        self.sigmas = tuple(warp_steps(config.loss.steps, config.loss.shift).tolist())

    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        clip = self.clip(sample, draws)
        losses = [self.backward(self._loss(clip, index, draws) / clip.blocks) for index in range(clip.blocks)]
        return {"loss": sum(losses)}

    @torch.no_grad()
    def held_out(self, sample: StoredSample, draws: Draws) -> float:
        """Mean squared error of every block at every one of the student's levels, behind its true context."""
        clip = self.clip(sample, draws, spoil=False)
        errors = []
        for index in range(clip.blocks):
            inputs, target, noise = self._block(clip, index, draws)
            for sigma in self.sigmas:
                errors.append(float(self._error(clip, inputs, add_noise(target, noise, sigma), sigma, target)))
        return sum(errors) / len(errors)

    @torch.no_grad()
    def generate(self, sample: StoredSample, draws: Draws) -> torch.Tensor:
        clip = self.clip(sample, draws, spoil=False)
        return roll_out(self.student, clip, self.sigmas, len(self.sigmas) - 1, draws).clip

    def _block(self, clip: Clip, index: int, draws: Draws) -> tuple[BlockInputs, LatentTensor, LatentTensor]:
        """A block's inputs behind its true context, its target, and noise."""
        part = slice(index * BLOCK_LATENTS, (index + 1) * BLOCK_LATENTS)
        before = slice(part.start - BLOCK_LATENTS, part.start)
        target = clip.target[:, part]
        noise = draws.noise(target.shape, f"noise {index}").to(target.device)
        return BlockInputs.of(clip, index, clip.target[:, before] if index else None), target, noise

    def _error(
        self, clip: Clip, inputs: BlockInputs, noisy: LatentTensor, level: float, target: LatentTensor
    ) -> torch.Tensor:
        def error(dit: CausalDiT) -> torch.Tensor:
            text = dit.encode_text(clip.text)
            passes = BlockPass(dit, inputs, text, through_context=self.config.loss.through_context)
            return (passes.clean(noisy, level) - target).square().mean()

        return self.student.run(error)

    def _loss(self, clip: Clip, index: int, draws: Draws) -> torch.Tensor:
        config = self.config.loss
        inputs, target, noise = self._block(clip, index, draws)
        if config.levels == "all":
            level = shifted_level(draws.uniform(f"level {index}"), config.shift, low=1)
        else:
            level = self.sigmas[draws.integer(len(self.sigmas), f"level {index}")]
        match config.target:
            case "data":
                noisy = add_noise(target, noise, level)
            case "trajectories":
                levels = sorted({*self._teacher_levels(), level}, reverse=True)
                path = self._teacher_run(clip, inputs, lambda flow: euler_path(flow, noise, levels))
                noisy, target = path[levels.index(level)], path[-1]
            case "consistency":
                levels = self._teacher_levels()
                place = draws.integer(len(levels) - 1, f"place {index}")
                level, after = levels[place], levels[place + 1]
                noisy = add_noise(target, noise, level)
                step = self._teacher_run(clip, inputs, lambda flow: noisy + (after - level) * flow(noisy, level))
                target = self._averaged_clean(clip, inputs, step, after)
        return self._error(clip, inputs, noisy, level, target)

    def _teacher_levels(self) -> list[float]:
        """The levels of the teacher's path, from 1 to 0."""
        count = self.config.loss.teacher_steps
        return [shifted_level(1 - step / count, self.config.loss.shift) for step in range(count + 1)]

    @torch.no_grad()
    def _teacher_run(self, clip: Clip, inputs: BlockInputs, use: Callable[[Flow], torch.Tensor]) -> torch.Tensor:
        """What ``use`` makes of the teacher's guided flow of a block."""
        assert self.teacher is not None, "the config was checked to name a teacher"
        scale = self.config.loss.guidance

        def run(dit: CausalDiT) -> torch.Tensor:
            with_text, without = (BlockPass(dit, inputs, dit.encode_text(text)) for text in (clip.text, clip.no_text))
            return use(lambda x, level: guided(with_text.flow(x, level), without.flow(x, level), scale))

        return self.teacher.run(run)

    @torch.no_grad()
    def _averaged_clean(self, clip: Clip, inputs: BlockInputs, noisy: LatentTensor, level: float) -> LatentTensor:
        """The averaged student's clean block; the noisy one itself where no noise is left."""
        if level == 0:
            return noisy
        with self.student.averaged():
            return self.student.run(lambda dit: BlockPass(dit, inputs, dit.encode_text(clip.text)).clean(noisy, level))


def euler_path(flow: Flow, noise: LatentTensor, levels: Sequence[float]) -> torch.Tensor:
    """All states ``s 1 f c h w`` of a path along the flow from noise at ``levels[0]`` (1) to ``levels[-1]`` (0)."""
    states = [noise]
    for level, after in pairwise(levels):
        states.append(states[-1] + (after - level) * flow(states[-1], level))
    return torch.stack(states)
