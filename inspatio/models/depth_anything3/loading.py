"""Model folders: ``config.json`` says which network it is, ``model.safetensors`` holds its weights.

The published names are turned into this package's in one place (:func:`module_name`). Parts of the published files that
are not used here are left out on purpose, by name: Gaussian-splat heads (``gs_head``, ``gs_adapter``), the camera
encoder (``cam_enc``, for known cameras) and the any-view head's ray half (``*_aux``). Everything else is strict.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from inspatio.errors import MissingWeightsError
from inspatio.models.attention import Attend, attention
from inspatio.models.depth_anything3.architecture import MODELS, Model, NetworkConfig
from inspatio.models.depth_anything3.network import DepthNetwork
from inspatio.models.weights import load_state, load_strict

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

UNUSED = re.compile(r"^(gs_head|gs_adapter|cam_enc)\.|_aux\.")
"""Published parameters that nothing here needs."""

_RENAMES = (
    (r"^backbone\.pretrained\.", "backbone."),
    (r"^backbone\.patch_embed\.proj\.", "backbone.patch_embed."),
    (r"^cam_dec\.backbone\.", "camera.backbone."),
    (r"^cam_dec\.fc_t\.", "camera.translation."),
    (r"^cam_dec\.fc_qvec\.", "camera.quaternion."),
    (r"^cam_dec\.fc_fov\.0\.", "camera.field_of_view."),
    (r"^head\.resize_layers\.", "head.resize."),
    (r"^head\.scratch\.output_conv1\.", "head.neck."),
    (r"^head\.scratch\.output_conv2\.", "head.depth."),
    (r"^head\.scratch\.sky_output_conv2\.", "head.sky."),
    (r"\.resConfUnit1\.", ".lateral."),
    (r"\.resConfUnit2\.", ".refine."),
    (r"\.out_conv\.", ".project."),
)
_LEVELS = re.compile(r"^head\.scratch\.(layer|refinenet)([1-4])(_rn)?\.")
_BRANCHES = ("da3.", "da3_metric.")


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose config has been read."""

    path: Path
    model: Model

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS_FILE

    def load(self, device: torch.device, dtype: torch.dtype, attend: Attend = attention) -> tuple[DepthNetwork, ...]:
        """The model's network, or its any-view and its metric one: backbones in ``dtype``, the rest in float32.

        Raises:
            MissingWeightsError: the weights are missing, cut short, or another model's.
        """
        state = load_state(self.weights)
        state = {key.removeprefix("model."): value for key, value in state.items()}
        nested = len(self.model.networks) == 2
        if nested:
            stray = [key for key in state if not key.startswith(_BRANCHES)]
            if stray:
                raise MissingWeightsError(
                    f"{self.weights}: holds {stray[0]}, expected only {' and '.join(_BRANCHES)} for "
                    f"{self.model.name}; config.json and weights are of different models, get both again"
                )
        networks = []
        for branch, config in zip(_BRANCHES if nested else ("",), self.model.networks, strict=True):
            part = {key.removeprefix(branch): value for key, value in state.items() if key.startswith(branch)}
            networks.append(_load_network(config, part, self.weights, device, dtype, attend))
        return tuple(networks)


def open_folder(path: Path) -> ModelFolder:
    """Read a model folder's config.

    Raises:
        MissingWeightsError: no folder, no config.json, or one that names no model known here.
    """
    config = path / CONFIG_FILE
    known = ", ".join(MODELS)
    if not config.is_file():
        what = "no such folder" if not path.is_dir() else f"no {CONFIG_FILE} in it"
        raise MissingWeightsError(
            f"{path}: {what}; expected a Depth Anything 3 folder with {CONFIG_FILE} and {WEIGHTS_FILE}. "
            "Get one: scripts/download.sh DA3"
        )
    try:
        name = json.loads(config.read_text(encoding="utf-8"))["model_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise MissingWeightsError(
            f"{config}: names no model (no model_name); expected one of {known}. Is it the folder of another model?"
        ) from error
    if not isinstance(name, str) or name not in MODELS:
        raise MissingWeightsError(f"{config}: model_name is {name!r}; expected one of {known}")
    return ModelFolder(path, MODELS[name])


def module_name(key: str) -> str | None:
    """This package's name for a published parameter of one network (without ``model.`` and branch); None: not used."""
    if UNUSED.search(key):
        return None
    if level := _LEVELS.match(key):
        place = "adapt" if level[1] == "layer" else "fuse"
        key = f"head.{place}.{int(level[2]) - 1}.{key[level.end() :]}"
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _load_network(
    config: NetworkConfig,
    state: dict[str, torch.Tensor],
    source: Path,
    device: torch.device,
    dtype: torch.dtype,
    attend: Attend,
) -> DepthNetwork:
    with torch.device("meta"):
        network = DepthNetwork(config, attend)
    load_strict(network, state, source=source, rename=module_name, dtype=torch.float32)
    network.backbone.to(device, dtype)
    return network.to(device).eval()
