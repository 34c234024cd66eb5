"""The stage ``completion``: the network that corrects what the preview makes up (``generation/preview/learned.py``).

It is regressed onto what is truly there, on completed views of training rooms. What the colours in a hole are cannot
be known, and a network that is asked for the least error answers with their mean, a blur. So the loss has four terms:
colour at full resolution and blurred, structure (SSIM), and what is missing of the preview's sharpness; the last holds
the network to redistribute detail to where it costs least, and not to remove it. Colours are mixed at random, so that
the training rooms' palette is not learned. All weights are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inspatio.generation.preview.fill import MARGIN
from inspatio.generation.preview.inpaint import KNOWN, Completion, diffuse
from inspatio.generation.preview.learned import Parts, cell_of, finished
from inspatio.training.draws import Draws
from inspatio.training.losses import missing_sharpness, structural_similarity
from inspatio.training.shards import StoredSample
from inspatio.training.stages.base import Stage

CROP = 0.75
"""The share of a view's height and width that a step looks at."""
MULTIPLE = 32
"""Sides of crops are multiples of it: of cells at every level of the network."""
BLUR_WEIGHT, SQUARE_WEIGHT, STRUCTURE_WEIGHT, SHARPNESS_WEIGHT = 1.0, 4.0, 0.6, 1.0
"""Weights of the terms beside the absolute error, whose weight is 1."""
SHARPNESS_GOAL = 0.945
"""How much of the preview's sharpness is to be kept."""
NEAR_WEIGHT, FAR_WEIGHT = 0.4, 0.1
"""What pixels of the margin count, in its inner half and beyond, which few frames show; the view itself counts 1."""
FULL_COUNT = 8000.0
"""Pixels (weighted) from which on a sample counts fully: few pixels say little."""


@dataclass(frozen=True, eq=False)
class Example:
    """A completed view with what is truly there (``1 3 h w``, 0..1), and what each pixel counts (``1 1 h w``)."""

    parts: Parts
    truth: torch.Tensor
    weight: torch.Tensor
    cell: int

    def spoiled(self, draws: Draws) -> Example:
        """A random window, its colours mixed at random, mirrored or not."""
        height, width = self.truth.shape[-2:]
        rng = draws.numpy("completion")
        window = [_window(side, self.cell, rng) for side in (height, width)]
        mix, power = _colours(rng)
        mirrored = rng.uniform() < 0.5

        def view(values: torch.Tensor) -> torch.Tensor:
            return values.flip(-1) if mirrored else values

        def colour(values: torch.Tensor) -> torch.Tensor:
            return torch.einsum("dc,bchw->bdhw", mix, values).clamp(0, 1) ** power

        parts = self.parts.cropped(*window)
        parts = Parts(**{name: view(value) for name, value in vars(parts).items()})
        parts = replace(parts, image=colour(parts.image), patched=colour(parts.patched), smooth=colour(parts.smooth))
        truth, weight = (view(each[..., window[0], window[1]]) for each in (self.truth, self.weight))
        return replace(self, parts=parts, truth=colour(truth), weight=weight)


class CompletionStage(Stage):
    """See the module."""

    kind = "completions"

    def accumulate(self, sample: StoredSample, draws: Draws) -> dict[str, float]:
        example = read_example(sample).spoiled(draws)
        terms = self._terms(example)
        count = min(float(example.weight.sum()) / FULL_COUNT, 1.0)
        weights = {
            "absolute": 1.0,
            "blurred": BLUR_WEIGHT,
            "squared": SQUARE_WEIGHT,
            "structure": STRUCTURE_WEIGHT,
            "sharpness": SHARPNESS_WEIGHT,
        }
        loss = sum((weights[name] * term for name, term in terms.items()), torch.zeros(()))
        (count * loss / self.config.batch_size).backward()
        return {"loss": float(loss.detach()), **{name: float(term.detach()) for name, term in terms.items()}}

    @torch.no_grad()
    def held_out(self, sample: StoredSample, draws: Draws) -> float:
        """Mean absolute error of the whole view, weighted as in training."""
        return float(self._terms(read_example(sample))["absolute"])

    @torch.no_grad()
    def generate(self, sample: StoredSample, draws: Draws) -> torch.Tensor:
        """The completed view ``1 3 h w``, 0..1."""
        example = read_example(sample)
        return self.student.run(lambda network: finished(network, example.parts, example.cell)).clamp(0, 1)

    def _terms(self, example: Example) -> dict[str, torch.Tensor]:
        """The terms of the loss, means over the weighted pixels."""
        made = self.student.run(lambda network: finished(network, example.parts, example.cell))
        share = example.weight / example.weight.sum().clamp(min=1.0)

        def mean(values: torch.Tensor) -> torch.Tensor:
            return (values.mean(dim=1, keepdim=True) * share).sum()

        error = made - example.truth
        missing = missing_sharpness(made, SHARPNESS_GOAL, example.parts.softened, example.truth, share)
        return {
            "absolute": mean((error.square() + 1e-4).sqrt()),
            "blurred": mean((_blurred(error).square() + 1e-5).sqrt()),
            "squared": mean(error.square()),
            "structure": mean(1 - structural_similarity(made, example.truth)),
            "sharpness": missing,
        }


def read_example(sample: StoredSample) -> Example:
    """A stored completed view, its margin weighted down; cut so that its sides are whole cells."""
    arrays = {name: each.numpy() for name, each in sample.tensors.items()}
    known = arrays["state"] == KNOWN
    completion = Completion(
        arrays["image"],
        arrays["state"].astype(np.uint8),
        arrays["guide"],
        diffuse(arrays["image"], known.astype(np.float32)),
        arrays["patched"],
    )
    height, width = known.shape
    cell = cell_of(width)
    whole = slice(0, height - height % cell), slice(0, width - width % cell)
    weight = arrays["measured"] * _place_weights(height, width)
    truth = np.ascontiguousarray(arrays["truth"].transpose(2, 0, 1))
    return Example(
        Parts.of(completion).cropped(*whole),
        torch.from_numpy(truth)[None, :, whole[0], whole[1]] / 255,
        torch.from_numpy(weight)[None, None, whole[0], whole[1]],
        cell,
    )


def _place_weights(height: int, width: int) -> NDArray[np.float32]:
    """``h w``: what the pixels of a view with its margin count by their place."""
    weights = np.full((height, width), FAR_WEIGHT, np.float32)
    margin = MARGIN / (1 + 2 * MARGIN)
    for share, weight in ((margin / 2, NEAR_WEIGHT), (margin, 1.0)):
        rows, columns = int(share * height), int(share * width)
        weights[rows : height - rows, columns : width - columns] = weight
    return weights


def _window(side: int, cell: int, rng: np.random.Generator) -> slice:
    """A random part of a side of a view, in whole cells."""
    length = max(int(CROP * side) // MULTIPLE * MULTIPLE, MULTIPLE)
    start = int(rng.integers((side - length) // cell + 1)) * cell
    return slice(start, start + length)


def _colours(rng: np.random.Generator) -> tuple[torch.Tensor, float]:
    """A random mixture of the colours (``3 3``) and a random contrast."""
    mix = np.eye(3)[rng.permutation(3)] + rng.normal(0, 0.18, (3, 3))
    mix *= rng.uniform(0.8, 1.15, (3, 1)) / mix.sum(axis=1, keepdims=True)
    return torch.from_numpy(mix.astype(np.float32)), float(np.exp(rng.uniform(-0.35, 0.35)))


def _blurred(values: torch.Tensor) -> torch.Tensor:
    """Blurred as twice by the mean of five by five."""
    for _ in range(2):
        values = functional.avg_pool2d(functional.pad(values, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return values
