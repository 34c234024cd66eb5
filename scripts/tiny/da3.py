"""Depth Anything 3 with random weights in the smallest sizes, in the published layout: folders that the pipeline loads.

Three folders: ``DA3`` (nested), ``DA3-any-view`` and ``DA3-metric``. Names are the published ones, among them some of
the parts that inference skips. The last layers are biased so that what comes out is a plausible clip all the same: a
camera of some 57 degrees that hardly moves, depth around a few units, little sky. It means nothing.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from inspatio.models.depth_anything3.checkpoint import CONFIG_FILE, MODELS, WEIGHTS_FILE
from inspatio.models.depth_anything3.network import DepthNetwork, NetworkConfig

FOLDERS = {"DA3": "da3nested-tiny", "DA3-any-view": "da3-tiny", "DA3-metric": "da3metric-tiny"}
"""Model of each folder."""

_PUBLISHED = (
    (r"^backbone\.patch_embed\.", "backbone.patch_embed.proj."),
    (r"^backbone\.", "backbone.pretrained."),
    (r"^camera\.backbone\.", "cam_dec.backbone."),
    (r"^camera\.translation\.", "cam_dec.fc_t."),
    (r"^camera\.quaternion\.", "cam_dec.fc_qvec."),
    (r"^camera\.field_of_view\.", "cam_dec.fc_fov.0."),
    (r"^head\.resize\.", "head.resize_layers."),
    (r"^head\.neck\.", "head.scratch.output_conv1."),
    (r"^head\.depth\.", "head.scratch.output_conv2."),
    (r"^head\.sky\.", "head.scratch.sky_output_conv2."),
    (r"\.lateral\.", ".resConfUnit1."),
    (r"\.refine\.", ".resConfUnit2."),
    (r"(fuse\.\d)\.project\.", r"\1.out_conv."),
)
_LEVEL = re.compile(r"^head\.(adapt|fuse)\.(\d)\.")
_SMALL_OUTPUTS = ("camera.translation.weight", "camera.quaternion.weight", "camera.field_of_view.weight")


def published_name(name: str) -> str:
    """What the published checkpoints call a parameter of a network."""
    for pattern, replacement in _PUBLISHED:
        name = re.sub(pattern, replacement, name)
    if level := _LEVEL.match(name):
        number = int(level[2]) + 1
        place = f"layer{number}_rn" if level[1] == "adapt" else f"refinenet{number}"
        name = f"head.scratch.{place}.{name[level.end() :]}"
    return name


def write(folder: Path, seed: int) -> None:
    """Write the three model folders into ``folder``, which is made."""
    for name, model_name in FOLDERS.items():
        model = MODELS[model_name]
        branches = ("da3.", "da3_metric.") if len(model.networks) == 2 else ("",)
        state = {}
        for branch, config in zip(branches, model.networks, strict=True):
            part = _random_network(config, torch.Generator().manual_seed(seed)) | _skipped_parts(config)
            state |= {f"model.{branch}{key}": value for key, value in part.items()}
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        (target / CONFIG_FILE).write_text(json.dumps({"model_name": model_name}, indent=2) + "\n", encoding="utf-8")
        save_file(state, target / WEIGHTS_FILE)


def _random_network(config: NetworkConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = DepthNetwork(config).state_dict()
    return {published_name(name): _random(name, value.shape, generator) for name, value in shapes.items()}


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    if name.endswith(".gamma"):
        return torch.full(shape, 0.3)
    if name.endswith(".bias"):
        value = torch.zeros(shape)
        if name == "camera.quaternion.bias":
            value[3] = 1
        elif name == "camera.field_of_view.bias":
            value += 1
        elif name == "head.sky.2.bias":
            value -= 2
        elif name == "head.depth.2.bias":
            value[0] = 1
        return value
    if len(shape) == 1:
        return torch.ones(shape)
    gain = 0.01 if name in _SMALL_OUTPUTS else 1.0
    return torch.randn(shape, generator=generator) * gain / math.sqrt(math.prod(shape[1:]))


def _skipped_parts(config: NetworkConfig) -> dict[str, torch.Tensor]:
    """A few of the published parameters that nothing here uses."""
    if config.kind != "any-view":
        return {}
    features = config.head.features
    return {
        "cam_enc.token_norm.weight": torch.ones(config.backbone.dim),
        "gs_head.scratch.output_conv1.weight": torch.zeros(features // 2, features, 3, 3),
        "head.scratch.refinenet4_aux.out_conv.bias": torch.zeros(features),
    }
