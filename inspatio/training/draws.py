"""Random numbers of training: each is a function of the seed, the step and the sample, and of nothing else.

A generator that runs through training would have to be saved, and would run apart between processes that draw unequally
often. Here every draw starts a generator of its own from a name: resuming needs no state, results do not depend on how
samples are spread over processes, and what all processes must agree on (the step at which a roll-out exits) is agreed
on without a message. Processes that disagree there wait for each other for ever, the commonest fault of such trainers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


def generator(*name: int | str) -> torch.Generator:
    """A CPU generator that depends on the numbers and words given."""
    digest = hashlib.blake2b(repr(name).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one sample in one step; ``number`` counts samples from the beginning of training."""

    seed: int
    step: int
    number: int

    def noise(self, shape: torch.Size | tuple[int, ...], what: str) -> torch.Tensor:
        """Unit noise, float32 on the CPU."""
        return torch.randn(shape, generator=self._own(what))

    def uniform(self, what: str) -> float:
        """A number in 0..1."""
        return float(torch.rand((), generator=self._own(what), dtype=torch.float64))

    def integer(self, below: int, what: str) -> int:
        """A whole number from 0 on."""
        return int(torch.randint(below, (), generator=self._own(what)))

    def numpy(self, what: str) -> np.random.Generator:
        """A numpy generator of the sample's own."""
        return np.random.default_rng(self._own(what).initial_seed())

    def shared_integer(self, below: int, what: str) -> int:
        """A whole number from 0 on that all samples of the step, and so all processes, share."""
        return int(torch.randint(below, (), generator=generator(self.seed, "shared", self.step, what)))

    def _own(self, what: str) -> torch.Generator:
        return generator(self.seed, "sample", self.step, self.number, what)


HELD_OUT = -1
"""The step of draws for held-out samples, the same at every evaluation."""


def order(seed: int, count: int, number: int) -> int:
    """Which of ``count`` samples the ``number``-th one of training is: a new permutation in every epoch."""
    epoch, place = divmod(number, count)
    return int(torch.randperm(count, generator=generator(seed, "order", epoch))[place])
