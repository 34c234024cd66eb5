"""Random weights for networks of any kind: they keep a signal's size from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch


def random_state(shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Float32 weights by name: matrices that keep the variance, gains around one, small biases.

    A parameter's part is told by its name and shape: vectors called ``weight`` or ``gamma`` are gains, other vectors,
    ``modulation`` and ``scale_shift_table`` are biases, everything else has its outputs in the first axis.
    """
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if name.endswith("gamma") or (name.endswith("weight") and len(shape) == 1):
            values = 1 + 0.1 * values
        elif len(shape) == 1 or "modulation" in name or "scale_shift_table" in name:
            values = 0.1 * values
        else:
            values = values / math.sqrt(math.prod(shape[1:]))
        state[name] = values
    return state
