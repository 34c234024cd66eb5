"""The small any-view network of Depth Anything 3 by both codes: depth, confidence and cameras of six frames."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from ab_cases.setting import Setting, Work
from torch import nn

from inspatio.models.attention import attend_from_environment
from inspatio.models.depth_anything3.checkpoint import MODELS, module_name
from inspatio.models.depth_anything3.network import DepthNetwork
from inspatio.models.weights import load_strict

FRAMES, SIZE = 6, (280, 504)
SMALL = MODELS["da3-small"].networks[0]


class Dict(dict):
    """In place of the package addict: a dictionary whose items are attributes as well."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__
    __delattr__ = dict.__delitem__


def depth(setting: Setting) -> tuple[Work, Work]:
    """Both in float32, as their heads are, with the same backbone in the setting's precision."""
    if setting.depth is None:
        raise FileNotFoundError("--depth names no checkout of the public Depth Anything 3 code")
    public = public_network(setting.depth)
    with torch.device("meta"):
        ours = DepthNetwork(SMALL, attend_from_environment())
    # Copies, since the device and the precision of ours are changed in place.
    state = {name: value.clone() for name, value in public.state_dict().items()}
    load_strict(ours, state, source=setting.depth, rename=module_name, dtype=torch.float32)
    for network in (public, ours):
        network.to(setting.device).eval().requires_grad_(False)
        network.get_submodule("backbone").to(setting.dtype)
    images = torch.randn(FRAMES, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(setting.device)

    def run_public() -> Sequence[torch.Tensor]:
        made = public(images[None].to(setting.dtype))
        return [made["depth"][0].float(), made["depth_conf"][0].float(), made["extrinsics"][0][:, :3].float()]

    def run_ours() -> Sequence[torch.Tensor]:
        made = ours.any_view(images)
        return [made.depth, made.confidence, made.world_to_camera[:, :3]]

    return run_public, run_ours


def public_network(checkout: Path) -> nn.Module:
    """The public network of the small model, with random weights that keep its values in range."""
    if importlib.util.find_spec("addict") is None:
        sys.modules["addict"] = module = ModuleType("addict")
        vars(module)["Dict"] = Dict
    sys.path.insert(0, str(checkout / "src"))

    def of(name: str, kind: str) -> Any:
        return getattr(importlib.import_module(f"depth_anything_3.model.{name}"), kind)

    backbone, head = SMALL.backbone, SMALL.head
    start, width = backbone.alternate_from, 2 * backbone.dim
    torch.manual_seed(0)
    network = of("da3", "DepthAnything3Net")(
        net=of("dinov2.dinov2", "DinoV2")(
            "vits", list(backbone.out_layers), alt_start=start, qknorm_start=start, rope_start=start, cat_token=True
        ),
        head=of("dualdpt", "DualDPT")(
            dim_in=width, output_dim=2, features=head.features, out_channels=list(head.channels)
        ),
        cam_dec=of("cam_dec", "CameraDec")(dim_in=width),
        cam_enc=nn.Identity(),  # for cameras that are given, which these are not
    )
    for name, parameter in network.named_parameters():
        if name.endswith(".gamma"):
            parameter.data.fill_(0.1)
    return network
