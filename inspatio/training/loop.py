"""The training loop: steps, accumulation, clipping, averages, held-out error, checkpoints. It knows no stage.

    train(stage, shards, run_folder, show=decode)

A step takes ``batch_size`` samples one by one, each with a gradient of its own divided by the batch's size, spread over
the processes. What a step computes depends on its number, the config and the weights alone: a run that is stopped and
gone on with, or spread over other processes, gives the same weights (bit for bit in one process on a CPU; spread over
several, up to the order of sums).
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from inspatio.errors import UsageError, UserError
from inspatio.training import checkpoint
from inspatio.training.draws import HELD_OUT, Draws, order
from inspatio.training.log import RunLog, sheet
from inspatio.training.roles import Role
from inspatio.training.shards import Shards
from inspatio.training.stages.base import Stage
from inspatio.types import Frames, Progress

Show = Callable[[torch.Tensor], Frames]
"""Latents ``1 f c h w`` of a clip to its frames ``t h w 3``."""

_log = logging.getLogger(__name__)


class Trainer:
    """A run in progress: the stage, its data and how far it is."""

    def __init__(self, stage: Stage, shards: Shards, run: Path, show: Show | None = None) -> None:
        """``show`` decodes latents for pictures; None: no pictures.

        Raises:
            UsageError: there are too few samples, or the batch cannot be shared out equally.
        """
        self.stage, self.shards, self.run, self.show = stage, shards, run, show
        self.config = stage.config
        held_out, processes = self.config.data.held_out, stage.processes
        if len(shards) <= held_out:
            raise UsageError(
                f"{shards.folder}: got {len(shards)} samples, expected more than the {held_out} held out. Prepare more "
                "clips, or lower data.held_out"
            )
        if self.config.batch_size % processes.size:
            raise UsageError(
                f"batch_size: got {self.config.batch_size} for {processes.size} processes, expected a multiple"
            )
        self.count = len(shards) - held_out
        self.step = 0
        self._log = RunLog(run) if processes.is_main else None

    def resume(self) -> None:
        """Go on from the run's latest checkpoint, if it has one."""
        path = checkpoint.latest(self.run)
        if path is None:
            return
        self.step = checkpoint.restore(path, self.stage)
        if self._log is not None:
            _log.info("going on from %s", path)

    def train(self, progress: Progress = lambda done, total: None) -> None:
        """Train up to the config's number of steps.

        Raises:
            UserError: a loss is not finite, a process of the job has ended, or a checkpoint cannot be written.
        """
        record, total = self.config.record, self.config.steps
        begun, first = time.monotonic(), self.step
        sums: dict[str, list[float]] = defaultdict(list)
        if self.step == 0:
            self.evaluate()
        while self.step < total:
            for name, value in self.take_step().items():
                sums[name].append(value)
            progress(self.step, total)
            if self.step % record.log_every == 0 or self.step == total:
                seconds = (time.monotonic() - begun) / (self.step - first)
                means = {name: sum(values) / len(values) for name, values in sums.items()}
                self._report(means, seconds, (total - self.step) * seconds)
                sums.clear()
            if self.step % record.evaluate_every == 0 or self.step == total:
                self.evaluate()
            if self.step % record.save_every == 0 or self.step == total:
                checkpoint.save(self.run, self.stage, self.step, record.keep)

    def take_step(self) -> dict[str, float]:
        """One update; returns the losses and the gradient's length."""
        stage, config, processes = self.stage, self.config, self.stage.processes
        roles = stage.trained(self.step)
        for role in stage.roles.values():
            for parameter in role.parameters.values():
                parameter.grad = None
        totals: dict[str, float] = defaultdict(float)
        used: list[str] = []
        for place in range(processes.rank, config.batch_size, processes.size):
            number = self.step * config.batch_size + place
            sample = self.shards[order(config.seed, self.count, number)]
            used.append(f"{sample.name} (number {number})")
            for name, value in stage.accumulate(sample, Draws(config.seed, self.step, number)).items():
                totals[name] += value / config.batch_size
        losses = self._summed(totals)
        for role in roles:
            processes.sum_gradients(role.parameters.values())
            norm = processes.gradient_norm(role.parameters.values())
            losses[f"{role.name}_gradient_norm"] = norm
            self._check_finite(losses, used)
            self._update(role, norm)
        self.step += 1
        optimizer, student = config.optimizer, stage.student
        if student in roles and optimizer.average > 0 and self.step >= optimizer.average_from:
            (student.average or student.start_average(optimizer.average)).update(student.parameters)
        return losses

    @torch.no_grad()
    def evaluate(self) -> float:
        """Measure held-out samples with the averaged weights, log it, and keep a picture of the first of them."""
        stage, errors, rows = self.stage, [], []
        with stage.student.averaged():
            for place in range(self.config.data.held_out):
                sample = self.shards[self.count + place]
                draws = Draws(self.config.seed, HELD_OUT, place)
                errors.append(stage.held_out(sample, draws))
                if place == 0 and self.show is not None:
                    made = stage.generate(sample, draws)
                    if self._log is not None:
                        rows = [sample.tensors[key][None, : made.shape[1]] for key in ("source", "render", "target")]
                        rows.append(made.cpu())
        error = sum(errors) / len(errors) if errors else math.nan
        if self._log is not None:
            if errors:
                self._log.write("held_out", self.step, {"error": error})
                _log.info("step %d: held-out error %.4f", self.step, error)
            if rows and self.show is not None:
                self._log.picture(self.step, sheet([self.show(row) for row in rows]))
        return error

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _update(self, role: Role[Any], norm: float) -> None:
        """Clip the gradient of one role and step its optimiser."""
        config = self.config.optimizer
        assert role.optimizer is not None, f"{role.name} is trained"
        if norm > config.clip:
            grads = [parameter.grad for parameter in role.parameters.values() if parameter.grad is not None]
            for grad in grads:
                grad.mul_(config.clip / norm)
        for group in role.optimizer.param_groups:
            group["lr"] = role.rate * min(1.0, (self.step + 1) / (config.warmup + 1))
        role.optimizer.step()

    def _summed(self, totals: dict[str, float]) -> dict[str, float]:
        """Losses added up over the processes."""
        values = torch.tensor(list(totals.values()), dtype=torch.float64, device=self.stage.processes.device)
        return dict(zip(totals, self.stage.processes.sum(values).tolist(), strict=True))

    def _check_finite(self, losses: dict[str, float], used: list[str]) -> None:
        """Stop before weights are spoilt."""
        wrong = [name for name, value in losses.items() if not math.isfinite(value)]
        if wrong:
            last = checkpoint.latest(self.run)
            raise UserError(
                f"step {self.step}: {', '.join(wrong)} is not finite; samples {', '.join(used)}, seed "
                f"{self.config.seed}. The last good checkpoint is {last or 'none'}. Look at these samples, or lower "
                "optimizer.learning_rate, and run again"
            )

    def _report(self, means: dict[str, float], seconds: float, left: float) -> None:
        if self._log is not None:
            self._log.write("train", self.step, {**means, "seconds_per_step": seconds})
            shown = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
            _log.info(
                "step %d of %d: %s; %.2g s a step, %s left", self.step, self.config.steps, shown, seconds, _span(left)
            )


def _span(seconds: float) -> str:
    """A time in the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
