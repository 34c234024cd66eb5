"""Low-rank additions to linear layers (LoRA, arXiv 2106.09685): fine-tuning of a network that is frozen otherwise.

    add_lora(network, rank=16, scale=1.0)         in place; only the additions have gradients from here on
    merged_state(network)                         the network's own names, additions added in

A layer computes ``W x + scale * up (down x)``; ``up`` starts at zero, so that step 0 is the network as it was. Forty
lines of our own where peft would bring four packages: its adapters rename every parameter, which published checkpoints
would have to be told apart from.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

LAYERS = ("blocks",)
"""Where a network's layers are: those outside, which embed and read out, stay frozen."""


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained low-rank addition."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear
        self.scale = scale
        weight = linear.weight
        down = torch.randn(rank, linear.in_features, generator=generator) / linear.in_features**0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.scale * F.linear(F.linear(x, self.down), self.up)


def add_lora(network: nn.Module, rank: int, scale: float, generator: torch.Generator) -> None:
    """Freeze a network and give every linear layer of its blocks an addition."""
    network.requires_grad_(False)
    linears = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(LAYERS)
    ]
    for name, linear in linears:
        parent, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(parent), attribute, LoRALinear(linear, rank, scale, generator))


def merged_state(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A network's tensors under its own names, with the additions added to the weights they belong to.

    ``tensors`` are its parameters by the names they have now.
    """
    state: dict[str, torch.Tensor] = {}
    scales = {name: module.scale for name, module in network.named_modules() if isinstance(module, LoRALinear)}
    for name, value in tensors.items():
        layer, _, part = name.rpartition(".")
        owner = layer.removesuffix(".linear")
        if owner in scales and part == "weight":
            addition = tensors[f"{owner}.up"].double() @ tensors[f"{owner}.down"].double()
            state[f"{owner}.weight"] = (value.double() + scales[owner] * addition).to(value.dtype)
        elif owner in scales and part == "bias":
            state[f"{owner}.bias"] = value
        elif layer not in scales:
            state[name] = value
    return state
