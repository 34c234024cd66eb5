"""A stage: which networks take part in it, which of them an update trains, and the gradient of one sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from inspatio.training.augment import augment
from inspatio.training.config import TrainConfig
from inspatio.training.draws import Draws
from inspatio.training.parallel import Processes
from inspatio.training.roles import Role
from inspatio.training.shards import StoredSample
from inspatio.training.video import Clip, read_clip


class Stage(ABC):
    """One way of training; ``roles`` are the trained networks, ``student`` first, by name."""

    kind = "clips"
    """The kind of samples it takes (``shards.py``)."""

    def __init__(self, config: TrainConfig, processes: Processes, roles: list[Role[Any]]) -> None:
        self.config, self.processes = config, processes
        self.roles = {role.name: role for role in roles}

    @property
    def student(self) -> Role[Any]:
        return next(iter(self.roles.values()))

    def trained(self, step: int) -> list[Role[Any]]:
        """The roles that a step updates; all of them unless the stage says otherwise."""
        return list(self.roles.values())

    @abstractmethod
    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        """Add the gradient of one sample's loss, divided by the batch's size; returns the losses to be logged."""

    @abstractmethod
    def held_out(self, sample: StoredSample, draws: Draws) -> float:
        """The error on a sample that training does not see, the same draws every time."""

    @abstractmethod
    def generate(self, sample: StoredSample, draws: Draws) -> torch.Tensor:
        """Latents as the student generates them, for a picture: ``1 f c h w``, or ``1 c h w`` of a frame."""


class ClipStage(Stage):
    """A stage of InSpatio-World."""

    def clip(self, sample: StoredSample, draws: Draws, *, spoil: bool = True) -> Clip:
        """The sample on the device; ``spoil`` it as training does."""
        clip = read_clip(sample, self.student.network.config.text_len)
        if spoil:
            clip = augment(clip, self.config.data, draws)
        return clip.to(self.processes.device)

    def backward(self, loss: torch.Tensor) -> float:
        """Add the gradient of a sample's loss to the step's."""
        (loss / self.config.batch_size).backward()
        return float(loss.detach())
