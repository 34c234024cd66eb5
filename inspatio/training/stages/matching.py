"""Stage 3: the student's own clips, measured against data (self_forcing), or against one teacher (dmd) or two (jdmd).

Distribution matching in InSpatio-World's joint form alternates between two tasks of one student: the novel view of a
source, with the motion teacher, and a clip of the prompt alone, with the perceptual teacher (the Wan base model). Each
has a fake score of its own, since what the two tasks see differs. The loss of the first is weighted by
``control_weight``, which is not published.

Every step trains the task's fake score on the student's clips; one in ``fake_updates`` steps trains the student too,
and as the tasks take turns, so do these. Self-Forcing rolls out anew for the fake score; here one roll-out serves both,
since the student is the same for the whole step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from inspatio.generation.sampler import add_noise, warp_steps
from inspatio.models.wan.dit import CausalDiT
from inspatio.training.config import TrainConfig
from inspatio.training.draws import Draws
from inspatio.training.losses import flow_loss, guided, matching_gradient, shifted_level
from inspatio.training.parallel import Processes
from inspatio.training.roles import Role
from inspatio.training.rollout import RollOut, backpropagate, roll_out
from inspatio.training.shards import StoredSample
from inspatio.training.stages.base import ClipStage
from inspatio.training.video import Clip, denoise_clip, predict_clip
from inspatio.types import LatentTensor


class RollOutStage(ClipStage):
    """What the stages with roll-outs share."""

    def __init__(self, config: TrainConfig, processes: Processes, roles: list[Role[Any]]) -> None:
        super().__init__(config, processes, roles)
        self.sigmas = tuple(warp_steps(config.loss.steps, config.loss.shift).tolist())

    def roll_out(self, clip: Clip, draws: Draws) -> RollOut:
        """The student's clip, left at the step that all samples of this optimiser step share."""
        return roll_out(self.student, clip, self.sigmas, draws.shared_integer(len(self.sigmas), "exit"), draws)

    @torch.no_grad()
    def generate(self, sample: StoredSample, draws: Draws) -> torch.Tensor:
        clip = self.clip(sample, draws, spoil=False)
        return roll_out(self.student, clip, self.sigmas, len(self.sigmas) - 1, draws).clip

    @torch.no_grad()
    def held_out(self, sample: StoredSample, draws: Draws) -> float:
        """Mean squared error of the student's clip."""
        target = sample.tensors["target"].to(self.processes.device)
        clip = self.generate(sample, draws)[0]
        return float((clip - target[: len(clip)]).square().mean())


class SelfForcingStage(RollOutStage):
    """Regression of the student's own clip onto the data: its errors are those it will make."""

    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        clip = self.clip(sample, draws)
        path = self.roll_out(clip, draws)
        difference = path.clip - clip.target
        gradient = 2 * difference / (difference.numel() * self.config.batch_size)
        backpropagate(self.student, clip, path, gradient, through_context=self.config.loss.through_context)
        return {"loss": float(difference.square().mean())}


@dataclass(frozen=True)
class Task:
    """A task of the student with its frozen teacher and its fake score."""

    name: str
    teacher: Role[CausalDiT]
    fake: Role[CausalDiT]
    weight: float
    clip: Callable[[Clip], Clip]
    """Makes the task's clip of a sample's."""


class MatchingStage(RollOutStage):
    """Distribution matching on roll-outs, for one task or several in turn."""

    def __init__(self, config: TrainConfig, processes: Processes, student: Role[CausalDiT], tasks: list[Task]) -> None:
        super().__init__(config, processes, [student, *(task.fake for task in tasks)])
        self.tasks = tasks

    def task(self, step: int) -> Task:
        """The task of a step; the tasks take turns."""
        return self.tasks[step % len(self.tasks)]

    def trains_student(self, step: int) -> bool:
        """Whether a step trains the student: one round of all tasks in ``fake_updates`` rounds."""
        return step // len(self.tasks) % self.config.loss.fake_updates == 0

    def trained(self, step: int) -> list[Role[Any]]:
        fake: Role[Any] = self.task(step).fake
        return [self.student, fake] if self.trains_student(step) else [fake]

    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        task = self.task(draws.step)
        clip = task.clip(self.clip(sample, draws))
        path = self.roll_out(clip, draws)
        losses: dict[str, float] = {}
        if self.trains_student(draws.step):
            gradient = self._gradient(task, clip, path.clip, draws)
            losses[f"{task.name}_gradient"] = float(gradient.abs().mean()) * gradient.numel()
            gradient = task.weight * gradient / self.config.batch_size
            backpropagate(self.student, clip, path, gradient, through_context=self.config.loss.through_context)
        level = self._level(draws, "fake")
        noise = draws.noise(path.clip.shape, "fake noise").to(path.clip.device)
        noisy = add_noise(path.clip, noise, level)
        loss = task.fake.run(lambda dit: flow_loss(predict_clip(dit, noisy, level, clip), path.clip, noise))
        losses[f"{task.name}_fake"] = self.backward(loss)
        return losses

    def _gradient(self, task: Task, clip: Clip, made: LatentTensor, draws: Draws) -> LatentTensor:
        level = self._level(draws, "match")
        noisy = add_noise(made, draws.noise(made.shape, "match noise").to(made.device), level)
        scale = self.config.loss.guidance

        def real(x: LatentTensor, level: float) -> LatentTensor:
            def both(dit: CausalDiT) -> LatentTensor:
                without = denoise_clip(dit, x, level, clip.without_text())
                return guided(denoise_clip(dit, x, level, clip), without, scale)

            return task.teacher.run(both)

        def fake(x: LatentTensor, level: float) -> LatentTensor:
            return task.fake.run(lambda dit: denoise_clip(dit, x, level, clip))

        return matching_gradient(made, noisy, level, real, fake)

    def _level(self, draws: Draws, what: str) -> float:
        loss = self.config.loss
        return shifted_level(draws.uniform(what), loss.shift, loss.time_low, loss.time_high)
