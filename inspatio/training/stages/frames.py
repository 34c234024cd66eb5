"""WorldFM's stages: middle training on (reference, render, target), and its distillation to two steps.

Middle training begins with the reference alone and brings the render in (progressive injection, arXiv 2603.11911): a
render is the stronger signal, and a network that has it from the start does not learn to look at the reference.
Rectangles cut out of the render keep it looking. The paper predicts eps with a learned variance; the published weights
answer with a velocity (``generation/worldfm/sampler.py``), and so does what is trained here, with no variance.

Distillation is distribution matching as for clips, on frames: two steps, 999 and 200 as published, one of which is left
with a gradient. Batch sizes, rates and steps of neither are published.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from inspatio.generation.worldfm.sampler import NUM_TRAIN_STEPS, add_noise, sample_frames
from inspatio.models.worldfm.dit import WorldFM
from inspatio.training.augment import cut_rectangles, without_render
from inspatio.training.config import TrainConfig
from inspatio.training.draws import Draws
from inspatio.training.frames import Frame, clean_frame, predict_v, read_frame, velocity
from inspatio.training.losses import matching_gradient
from inspatio.training.parallel import Processes
from inspatio.training.roles import Role
from inspatio.training.shards import StoredSample
from inspatio.training.stages.base import Stage

HELD_OUT_TIMES = (900, 600, 300, 100)


class FrameStage(Stage):
    """What both stages share."""

    kind = "frames"

    def frame(self, sample: StoredSample, draws: Draws) -> Frame:
        with_cameras = self.student.network.config.camera_encoding != "none"
        return read_frame(sample, draws, with_cameras=with_cameras).to(self.processes.device)

    def spoil(self, frame: Frame, draws: Draws) -> Frame:
        """The frame as the step's progress and the sample's draws leave it."""
        config = self.config.loss
        brought_in = (draws.step + 1 - config.render_from) / max(config.render_ramp, 1)
        if draws.uniform("render") >= brought_in or draws.uniform("drop render") < self.config.data.render_drop:
            return replace(frame, render=without_render(frame.render))
        if draws.uniform("cut holes") < self.config.data.hole_share:
            return replace(frame, render=cut_rectangles(frame.render, draws.numpy("holes"), without_render))
        return frame

    def noise(self, frame: Frame, draws: Draws, what: str) -> torch.Tensor:
        return draws.noise(frame.target.shape, what).to(frame.target.device)

    def velocity_loss(self, role: Role[WorldFM], clean: torch.Tensor, frame: Frame, time: int, draws: Draws):
        """Mean squared error of the velocity of a clean latent brought to a time."""
        noise = self.noise(frame, draws, f"velocity {time}")
        noisy, wanted = add_noise(clean, noise, time), velocity(clean, noise, time)
        return role.run(lambda network: (predict_v(network, noisy, time, frame) - wanted).square().mean())

    def few_steps(self, network: WorldFM, frame: Frame, times: tuple[int, ...], draws: Draws) -> torch.Tensor:
        """The student's frame by the published sampler, left after the last of ``times``, which alone has a
        gradient."""
        keeps_graph = torch.is_grad_enabled()

        def v(noisy: torch.Tensor, number: int) -> torch.Tensor:
            with torch.set_grad_enabled(keeps_graph and number == len(times) - 1):
                return predict_v(network, noisy, times[number], frame)

        return sample_frames(v, lambda number: self.noise(frame, draws, f"step {number}"), times)

    @torch.no_grad()
    def generate(self, sample: StoredSample, draws: Draws) -> torch.Tensor:
        frame = self.frame(sample, draws)
        return self.student.run(lambda network: self.few_steps(network, frame, self.config.loss.steps, draws))


class FrameMiddleStage(FrameStage):
    """Middle training: velocity matching at all times."""

    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        frame = self.spoil(self.frame(sample, draws), draws)
        time = draws.integer(NUM_TRAIN_STEPS, "time")
        loss = self.velocity_loss(self.student, frame.target, frame, time, draws)
        (loss / self.config.batch_size).backward()
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def held_out(self, sample: StoredSample, draws: Draws) -> float:
        frame = self.frame(sample, draws)
        losses = [self.velocity_loss(self.student, frame.target, frame, time, draws) for time in HELD_OUT_TIMES]
        return float(sum(losses)) / len(losses)


class FrameMatchingStage(FrameStage):
    """Distribution matching of a few-step student."""

    def __init__(
        self,
        config: TrainConfig,
        processes: Processes,
        student: Role[WorldFM],
        teacher: Role[WorldFM],
        fake: Role[WorldFM],
    ) -> None:
        super().__init__(config, processes, [student, fake])
        self.teacher, self.fake = teacher, fake

    def trains_student(self, step: int) -> bool:
        return step % self.config.loss.fake_updates == 0

    def trained(self, step: int) -> list[Role[Any]]:
        return [self.student, self.fake] if self.trains_student(step) else [self.fake]

    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        frame = self.spoil(self.frame(sample, draws), draws)
        steps = self.config.loss.steps
        times = steps[: draws.shared_integer(len(steps), "exit") + 1]
        losses: dict[str, float] = {}
        with torch.set_grad_enabled(self.trains_student(draws.step)):
            made = self.student.run(lambda network: self.few_steps(network, frame, times, draws))
        if self.trains_student(draws.step):
            gradient = self._gradient(frame, made.detach(), draws)
            losses["gradient"] = float(gradient.abs().mean()) * gradient.numel()
            made.backward(gradient / self.config.batch_size)
        loss = self.velocity_loss(self.fake, made.detach(), frame, self._time(draws, "fake"), draws)
        (loss / self.config.batch_size).backward()
        return losses | {"fake": float(loss.detach())}

    @torch.no_grad()
    def held_out(self, sample: StoredSample, draws: Draws) -> float:
        """Mean squared error of the student's frame."""
        target = self.frame(sample, draws).target
        return float((self.generate(sample, draws) - target).square().mean())

    def _gradient(self, frame: Frame, made: torch.Tensor, draws: Draws) -> torch.Tensor:
        time = self._time(draws, "match")

        def estimate(role: Role[WorldFM]):
            def run(noisy: torch.Tensor, level: float) -> torch.Tensor:
                return role.run(lambda network: clean_frame(network, noisy, int(level), frame))

            return run

        noisy = add_noise(made, self.noise(frame, draws, "match noise"), time)
        return matching_gradient(made, noisy, time, estimate(self.teacher), estimate(self.fake))

    def _time(self, draws: Draws, what: str) -> int:
        low, high = self.config.loss.time_low, self.config.loss.time_high
        return low + draws.integer(high - low + 1, what)
