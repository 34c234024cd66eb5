"""Stage 1, the motion teacher: a whole clip denoised at once with render, mask and reference, at all noise levels."""

from __future__ import annotations

from itertools import pairwise

import torch

from inspatio.generation.sampler import add_noise
from inspatio.training.draws import Draws
from inspatio.training.losses import bell_weight, flow_loss, shifted_level
from inspatio.training.shards import StoredSample
from inspatio.training.stages.base import ClipStage
from inspatio.training.video import Clip, predict_clip

HELD_OUT_LEVELS = (0.95, 0.8, 0.5, 0.2)
PICTURE_STEPS = 10


class TeacherStage(ClipStage):
    """Flow matching on data."""

    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        clip, loss_config = self.clip(sample, draws), self.config.loss
        level = shifted_level(draws.uniform("level"), loss_config.shift)
        weight = bell_weight(level, loss_config.shift) if loss_config.weighting == "bell" else 1.0
        loss = self._loss(clip, level, draws)
        self.backward(weight * loss)
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def held_out(self, sample: StoredSample, draws: Draws) -> float:
        clip = self.clip(sample, draws, spoil=False)
        return sum(float(self._loss(clip, level, draws)) for level in HELD_OUT_LEVELS) / len(HELD_OUT_LEVELS)

    @torch.no_grad()
    def generate(self, sample: StoredSample, draws: Draws) -> torch.Tensor:
        clip = self.clip(sample, draws, spoil=False)
        noisy = draws.noise(clip.target.shape, "noise").to(clip.target.device)
        levels = [shifted_level(1 - step / PICTURE_STEPS, self.config.loss.shift) for step in range(PICTURE_STEPS + 1)]
        for level, after in pairwise(levels):
            flow = self.student.run(lambda dit, noisy=noisy, level=level: predict_clip(dit, noisy, level, clip))
            noisy = noisy + (after - level) * flow
        return noisy

    def _loss(self, clip: Clip, level: float, draws: Draws) -> torch.Tensor:
        noise = draws.noise(clip.target.shape, "noise").to(clip.target.device)
        noisy = add_noise(clip.target, noise, level)
        return self.student.run(lambda dit: flow_loss(predict_clip(dit, noisy, level, clip), clip.target, noise))
