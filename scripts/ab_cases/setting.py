"""What a comparison with the public code is made on, and the stand-ins that let the public code be imported."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import nn

STAND_INS = {
    "diffusers": "ModelMixin is nn.Module, ConfigMixin and register_to_config do nothing",
    "wan, wan.modules, utils, pipeline": "packages without their __init__ files, which import other networks",
    "utils.wan_wrapper": "left out; its conversion of flow to x0 is retold in Wrapper",
    "addict": "a dictionary with attributes where it is not installed",
    "datasets.utils": "left out; it makes trajectories",
    "torch.cuda.current_device": "answers with the CPU where the run is on the CPU",
    "PIL": "left out where it is not installed; it reads pictures",
}

Work: TypeAlias = Callable[[], Sequence[torch.Tensor]]
"""One side of a comparison: does its work and gives what comes of it."""


@dataclass(frozen=True)
class Setting:
    """What is compared on what."""

    public: Path
    device: torch.device
    dtype: torch.dtype
    size: tuple[int, int]
    layers: int
    compiled: bool
    own_attention: bool
    depth: Path | None = None
    """A checkout of the public Depth Anything 3 code."""

    def random(self, *shape: int, seed: int = 0) -> torch.Tensor:
        values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return values.to(self.device, self.dtype)


def use_stand_ins(public: Path) -> None:
    """Make the public modules importable without what they need only to be loaded; see ``STAND_INS``."""

    def module(name: str, **content: Any) -> None:
        sys.modules[name] = made = ModuleType(name)
        vars(made).update(content)

    def unchanged(function: Any) -> Any:
        return function

    module("diffusers")
    module("diffusers.configuration_utils", ConfigMixin=object, register_to_config=unchanged)
    module("diffusers.models")
    module("diffusers.models.modeling_utils", ModelMixin=nn.Module)
    for package in ("wan", "wan.modules", "utils", "pipeline"):
        module(package, __path__=[str(public / package.replace(".", "/"))])
    module("utils.wan_wrapper", WanDiffusionWrapper=None, WanTextEncoder=None, WanVAEWrapper=None)
    module("datasets")
    module("datasets.utils", generate_traj_txt=None)
    if importlib.util.find_spec("PIL") is None:
        module("PIL", Image=None)
