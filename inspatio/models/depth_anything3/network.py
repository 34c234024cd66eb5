"""The two networks of Depth Anything 3, put together: frames in, geometry of those frames out.

    any-view   all frames of a call see each other: depth, confidence, ``world_to_camera``, intrinsics
    metric     (and mono) each frame alone: depth and a sky map

What comes out is in the networks' own conventions: depth in their own unit, intrinsics at the network's resolution
with the principal point at W/2, the sky not yet filled in. ``alignment.py`` and ``camera.py`` go on from there.

Shapes: images ``s 3 h w`` float32, ImageNet-normalised, sides multiples of 14. Numerics: the backbone in the precision
of its weights, heads and camera decoder in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inspatio.models.attention import Attend, attention
from inspatio.models.depth_anything3.architecture import NetworkConfig
from inspatio.models.depth_anything3.camera import CameraDecoder
from inspatio.models.depth_anything3.heads import DenseHead, HeadMaps
from inspatio.models.depth_anything3.vit import PATCH, Backbone


@dataclass(frozen=True)
class AnyView:
    """Geometry of ``s`` frames that were seen together, float32."""

    depth: Tensor
    """``s h w``"""
    confidence: Tensor
    """``s h w``, 1 and up"""
    world_to_camera: Tensor
    """``s 4 4``"""
    intrinsics: Tensor
    """``s 3 3`` at the network's resolution"""


@dataclass(frozen=True)
class SingleFrames:
    """Depth of ``s`` frames that were seen one by one, float32."""

    depth: Tensor
    """``s h w``; metric networks: times focal length / 300 it is metres"""
    sky: Tensor
    """``s h w``, 0 on the ground"""


class DepthNetwork(nn.Module):
    """Backbone and head; the camera decoder where there is one."""

    def __init__(self, config: NetworkConfig, attend: Attend = attention) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, attend)
        self.head = DenseHead(config.backbone.feature_dim, config.head)
        self.camera = CameraDecoder(config.backbone.feature_dim) if config.kind == "any-view" else None

    @torch.inference_mode()
    def any_view(self, images: Tensor) -> AnyView:
        """All frames together."""
        assert self.camera is not None, f"a {self.config.kind} network has no cameras"
        maps, tokens = self._run(images)
        world_to_camera, intrinsics = self.camera(tokens, (images.shape[-2], images.shape[-1]))
        assert maps.confidence is not None, "an any-view head gives confidence"
        return AnyView(maps.depth, maps.confidence, world_to_camera, intrinsics)

    @torch.inference_mode()
    def single_frames(self, images: Tensor) -> SingleFrames:
        """Each frame by itself."""
        maps, _ = self._run(images)
        assert maps.sky is not None, "an any-view head gives no sky"
        return SingleFrames(maps.depth, maps.sky)

    def _run(self, images: Tensor) -> tuple[HeadMaps, Tensor]:
        grid = (images.shape[-2] // PATCH, images.shape[-1] // PATCH)
        # Projected at once, a tapped layer takes a third of the memory or less until the last one is there.
        projected, tokens = [], None
        for layer, tapped in enumerate(self.backbone.tap(images)):
            projected.append(self.head.project(layer, tapped.patches, grid))
            tokens = tapped.camera
        assert tokens is not None, "the backbone taps four layers"
        return self.head(projected), tokens
