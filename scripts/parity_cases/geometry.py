"""The golden case ``da3``: the any-view network, the metric network, and the two together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from inspatio.evaluation.golden import TOLERANCES, GoldenCase, Measured, Outputs, compare
from inspatio.geometry.depth_anything3.metric import METRIC_FOCAL, AlignmentMaps, is_sky, metric_scale, sky_depth
from inspatio.models.depth_anything3.backbone import BackboneConfig
from inspatio.models.depth_anything3.checkpoint import module_name
from inspatio.models.depth_anything3.heads import HeadConfig
from inspatio.models.depth_anything3.network import DepthNetwork, NetworkConfig, SingleKind
from inspatio.models.weights import load_strict

FILLED_SKY = ("metric.depth", "nested.depth", "nested.depth_conf")
"""Maps whose sky has been given a value of its own."""
SKY_EDGE = 0.02
"""Share of pixels that half precision may take for sky, or no longer."""


def network(
    case: GoldenCase, branch: str, kind: SingleKind, size: Mapping[str, Any], device: torch.device, dtype: torch.dtype
) -> DepthNetwork:
    """The network of a branch (``da3.`` or ``da3_metric.``) with the case's weights; sizes follow from the shapes."""
    weights = {key.removeprefix(branch): value for key, value in case.weights("da3.").items() if key.startswith(branch)}
    for key, value in weights.items():
        if key.endswith(".gamma"):
            value *= 0.3
    if kind == "any-view":
        weights["cam_dec.fc_fov.0.bias"] += 1
        weights["cam_dec.fc_qvec.bias"] += torch.tensor([0.0, 0.0, 0.0, 1.0])
    dim = weights["backbone.pretrained.cls_token"].shape[-1]
    backbone = BackboneConfig(
        dim=dim,
        depth=1 + max(int(key.split(".")[3]) for key in weights if ".blocks." in key),
        heads=dim // 64,
        out_layers=tuple(size["out_layers"]),
        alternate_from=None if size["alt_start"] < 0 else size["alt_start"],
        gated="backbone.pretrained.blocks.0.mlp.w12.weight" in weights,
    )
    head = HeadConfig(size["features"], tuple(size["out_channels"]), confidence=kind == "any-view")
    result = DepthNetwork(NetworkConfig(kind, backbone, head))
    load_strict(result, weights, source=case.folder, rename=module_name)
    result.backbone.to(device, dtype)
    return result.to(device).eval()


def images(case: GoldenCase) -> torch.Tensor:
    """``1 s 3 h w``: noise, smoothed so that neighbouring pixels have something to do with each other."""
    noise = case.noise("da3.images", tuple(case.manifest["images"]))
    smooth = F.avg_pool2d(noise[0], 7, stride=1, padding=3, count_include_pad=True)
    return smooth[None] * 4


def da3(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    frames = images(case)[0].to(device)
    any_view = network(case, "da3.", "any-view", case.manifest["anyview"], device, dtype).any_view(frames)
    single = network(case, "da3_metric.", "metric", case.manifest["metric"], device, dtype).single_frames(frames)

    depth, confidence = any_view.depth.cpu().numpy(), any_view.confidence.cpu().numpy()
    sky = is_sky(single.sky.cpu().numpy())
    focal = (any_view.intrinsics[:, 0, 0] + any_view.intrinsics[:, 1, 1]).cpu().numpy() / 2
    metric = single.depth.cpu().numpy()
    maps = AlignmentMaps(depth, confidence, metric * (focal / METRIC_FOCAL)[:, None, None], sky)
    scale = metric_scale(lambda: [maps])
    assert scale is not None, "the golden frames are not all sky"
    scaled_depth = scale * depth
    furthest = sky_depth(lambda: [scaled_depth[~sky]])
    metric_furthest = sky_depth(lambda: [metric[~sky]], furthest=np.inf)
    assert furthest is not None, "the golden frames are not all sky"
    assert metric_furthest is not None, "the golden frames are not all sky"
    extrinsics = any_view.world_to_camera[None, :, :3].cpu().clone()
    scaled = extrinsics.clone()
    scaled[..., 3] *= scale
    outputs = {
        "anyview.depth": any_view.depth[None],
        "anyview.depth_conf": any_view.confidence[None],
        "anyview.extrinsics": extrinsics,
        "anyview.intrinsics": any_view.intrinsics[None],
        "metric.depth": torch.from_numpy(np.where(sky, metric_furthest, metric))[None],
        "metric.sky": single.sky[None],
        "nested.depth": torch.from_numpy(np.where(sky, furthest, scaled_depth))[None],
        "nested.depth_conf": torch.from_numpy(np.where(sky, 1.0, confidence))[None],
        "nested.extrinsics": scaled,
        "nested.intrinsics": any_view.intrinsics[None],
        "nested.scale": torch.tensor(scale),
    }
    if dtype == torch.float32:
        return outputs
    same_sky = torch.from_numpy(sky == is_sky(case.expected["metric.sky"][0].numpy()))[None]
    return outputs | {name: apart_from_sky_edge(case, name, outputs[name], same_sky, dtype) for name in FILLED_SKY}


def apart_from_sky_edge(
    case: GoldenCase, name: str, got: torch.Tensor, same_sky: torch.Tensor, dtype: torch.dtype
) -> Measured:
    """Compared where both see sky, or both do not: sky is a threshold, and rounding moves its edge by some pixels."""
    tolerance = TOLERANCES[dtype]
    if float((~same_sky).float().mean()) > SKY_EDGE:
        return Measured(math.inf, tolerance)
    return compare(got * same_sky, case.expected[name] * same_sky, tolerance)
