"""A small U-Net that corrects a completed picture: colours, how far to trust its patches, and a fine correction.

It looks at a picture reduced to cells and answers for each cell; what is put in and what is done with the answer is
``generation/preview/learned.py``. Its last layers start at zero, so that an untrained network changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from inspatio.models.weights import load_state, load_strict

INPUTS = 14
"""Numbers to a cell that the network sees."""
SUBCELLS = 4
"""The fine correction has so many by so many pixels to a cell."""


@dataclass(frozen=True)
class CompletionConfig:
    """``widths``: channels from the finest level to the coarsest, each half the resolution of the one before."""

    widths: tuple[int, ...] = (32, 48, 80, 96)


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input; nothing at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = _zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(functional.relu(self.first(functional.relu(x))))


class CompletionNetwork(nn.Module):
    """See the module."""

    def __init__(self, config: CompletionConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Conv2d(INPUTS, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(ResidualBlock(width) for width in widths)
        self.halve = nn.ModuleList(nn.Conv2d(one, two, 2, stride=2) for one, two in pairwise(widths))
        self.middle = ResidualBlock(widths[-1])
        self.widen = nn.ModuleList(nn.Conv2d(two, one, 1) for one, two in pairwise(widths))
        self.decoder = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.coarse = _zeroed(nn.Conv2d(widths[0], 4, 3, padding=1))
        self.fine = _zeroed(nn.Conv2d(widths[0], 3 * SUBCELLS**2, 3, padding=1))

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``b 14 h w`` to ``b 4 h w`` (three colours to be added, gain of detail) and ``b 3 4h 4w`` to be added."""
        height, width = cells.shape[-2:]
        multiple = 2 ** len(self.halve)
        x = self.stem(functional.pad(cells, (0, -width % multiple, 0, -height % multiple)))
        skipped = []
        for block, halve in zip(self.encoder, self.halve, strict=False):
            x = block(x)
            skipped.append(x)
            x = halve(x)
        x = self.middle(self.encoder[-1](x))
        for block, widen in zip(reversed(self.decoder), reversed(self.widen), strict=True):
            x = block(functional.interpolate(_pointwise(widen, x), scale_factor=2.0, mode="nearest") + skipped.pop())
        x = functional.relu(x)[..., :height, :width]
        return self.coarse(x), functional.pixel_shuffle(self.fine(x), SUBCELLS)


def _pointwise(convolution: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A convolution of one by one, computed as three by three: the library's own rounds by the number of threads."""
    assert isinstance(convolution, nn.Conv2d), "of one by one"
    return functional.conv2d(x, functional.pad(convolution.weight, (1, 1, 1, 1)), convolution.bias, padding=1)


def _zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(convolution.weight)
    assert convolution.bias is not None, "these have one"
    nn.init.zeros_(convolution.bias)
    return convolution


def load_completion(path: Path) -> CompletionNetwork:
    """Load a network of the default size, in float32.

    Raises:
        MissingWeightsError: the file is missing, damaged, or of another network.
    """
    network = CompletionNetwork(CompletionConfig())
    load_strict(network, load_state(path), source=path)
    return network.requires_grad_(False)
