"""Published Depth Anything 3 models: which network each one is, its licence, and loading its folder.

A model folder holds ``config.json`` with a ``model_name`` and ``model.safetensors``. The kinds of models:

    any-view   depth, confidence and cameras of all frames together, in an arbitrary scale
    metric     depth of one frame, in metres once the focal length is known; a sky map
    mono       depth of one frame, in an arbitrary scale; a sky map
    nested     an any-view and a metric network in one file

Models called ``tiny`` have the same layers in the smallest useful sizes, for tests with random weights.

:func:`module_name` maps published parameter names to this package's. Parts of the published files that are not used are
skipped by name: Gaussian-splat heads (``gs_head``, ``gs_adapter``), the camera encoder (``cam_enc``, for known cameras)
and the any-view head's ray branch (``*_aux``). Any other difference is an error.

Source: Depth Anything 3 (arXiv 2511.10647) and its published model cards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from inspatio.errors import MissingWeightsError
from inspatio.models.attention import Attend, attention
from inspatio.models.checkpoints import License, depth_anything_license, how_to_get
from inspatio.models.depth_anything3.backbone import BackboneConfig
from inspatio.models.depth_anything3.heads import HeadConfig
from inspatio.models.depth_anything3.network import DepthNetwork, NetworkConfig, SingleKind
from inspatio.models.weights import load_state, load_strict, read_json

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

UNUSED = re.compile(r"^(gs_head|gs_adapter|cam_enc)\.|_aux\.")
"""Published parameters that are skipped."""

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
class Model:
    """A published model: one network, or an any-view and a metric network."""

    name: str
    networks: tuple[NetworkConfig, ...]

    @property
    def license(self) -> License:
        """The terms of its weights, from the table of checkpoints."""
        license = depth_anything_license(self.name)
        assert license is not None, f"{self.name} has no row in models/checkpoints.py"
        return license

    @property
    def kind(self) -> SingleKind | Literal["nested"]:
        return "nested" if len(self.networks) == 2 else self.networks[0].kind


def _any_view(
    dim: int, depth: int, heads: int, out_layers: tuple[int, int, int, int], alternate_from: int, head: HeadConfig
) -> NetworkConfig:
    gated = dim == 1536
    return NetworkConfig("any-view", BackboneConfig(dim, depth, heads, out_layers, alternate_from, gated), head)


def _single_frame(kind: Literal["metric", "mono"]) -> NetworkConfig:
    head = HeadConfig(256, (256, 512, 1024, 1024), confidence=False)
    return NetworkConfig(kind, BackboneConfig(1024, 24, 16, (4, 11, 17, 23)), head)


_LARGE_HEAD = HeadConfig(256, (256, 512, 1024, 1024), confidence=True)
_SMALL = _any_view(384, 12, 6, (5, 7, 9, 11), 4, HeadConfig(64, (48, 96, 192, 384), confidence=True))
_BASE = _any_view(768, 12, 12, (5, 7, 9, 11), 4, HeadConfig(128, (96, 192, 384, 768), confidence=True))
_LARGE = _any_view(1024, 24, 16, (11, 15, 19, 23), 8, _LARGE_HEAD)
_GIANT = _any_view(1536, 40, 24, (19, 27, 33, 39), 13, _LARGE_HEAD)
_TINY = _any_view(64, 6, 2, (2, 3, 4, 5), 2, HeadConfig(16, (8, 8, 16, 16), confidence=True))
_TINY_METRIC = NetworkConfig(
    "metric", BackboneConfig(64, 4, 2, (0, 1, 2, 3)), HeadConfig(16, (8, 8, 16, 16), confidence=False)
)

MODELS = {
    model.name: model
    for model in (
        Model("da3nested-giant-large", (_GIANT, _single_frame("metric"))),
        Model("da3-giant", (_GIANT,)),
        Model("da3-large", (_LARGE,)),
        Model("da3-base", (_BASE,)),
        Model("da3-small", (_SMALL,)),
        Model("da3metric-large", (_single_frame("metric"),)),
        Model("da3mono-large", (_single_frame("mono"),)),
        Model("da3nested-tiny", (_TINY, _TINY_METRIC)),
        Model("da3-tiny", (_TINY,)),
        Model("da3metric-tiny", (_TINY_METRIC,)),
    )
}
"""By the ``model_name`` of config.json."""


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose ``config.json`` has been read; weights are read by :meth:`load`."""

    path: Path
    model: Model

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS_FILE

    def load(self, device: torch.device, dtype: torch.dtype, attend: Attend = attention) -> tuple[DepthNetwork, ...]:
        """Load the model's network, or its any-view and its metric network: backbones in ``dtype``, heads in float32.

        Raises:
            MissingWeightsError: the weights are missing, cut short, or of another model.
        """
        state = load_state(self.weights)
        state = {key.removeprefix("model."): value for key, value in state.items()}
        nested = len(self.model.networks) == 2
        if nested:
            stray = [key for key in state if not key.startswith(_BRANCHES)]
            if stray:
                raise MissingWeightsError(
                    f"{self.weights}: holds {stray[0]}, expected only {' and '.join(_BRANCHES)} for "
                    f"{self.model.name}; config.json and weights are of different models. Download both again"
                )
        networks = []
        for branch, config in zip(_BRANCHES if nested else ("",), self.model.networks, strict=True):
            part = {key.removeprefix(branch): value for key, value in state.items() if key.startswith(branch)}
            networks.append(_load_network(config, part, self.weights, device, dtype, attend))
        return tuple(networks)


def open_folder(path: Path) -> ModelFolder:
    """Read the ``config.json`` of a model folder.

    Raises:
        MissingWeightsError: the folder or its config.json is missing, or names an unknown model.
    """
    config = path / CONFIG_FILE
    known = ", ".join(MODELS)
    if not config.is_file():
        what = "no such folder" if not path.is_dir() else f"no {CONFIG_FILE} in it"
        raise MissingWeightsError(
            f"{path}: {what}; expected a Depth Anything 3 folder with {CONFIG_FILE} and {WEIGHTS_FILE}. "
            f"{how_to_get('DA3')}"
        )
    fields = read_json(config)
    if "model_name" not in fields:
        raise MissingWeightsError(
            f"{config}: model_name is missing; expected one of {known}. Is this another model's folder?"
        )
    name = fields["model_name"]
    if not isinstance(name, str) or name not in MODELS:
        raise MissingWeightsError(f"{config}: model_name is {name!r}; expected one of {known}")
    return ModelFolder(path, MODELS[name])


def module_name(key: str) -> str | None:
    """Map a published parameter name (without ``model.`` and branch prefix) to this package's; None if not used."""
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
