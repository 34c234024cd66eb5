"""The networks of Depth Anything 3: source frames in, depth, cameras and sky of those frames out.

    any-view         all frames of a call attend to each other: depth, confidence, world_to_camera, intrinsics
    metric, mono     each frame on its own: depth and a sky map

    images = normalise(shrink(frames), device)
    geometry = network.any_view(images)
    intrinsics = to_source_frame(geometry.intrinsics, network_size(size), size)

Outputs keep the networks' own conventions: depth in their own unit, intrinsics in pixels of the network's resolution
with the principal point at W/2, sky not filled in. ``geometry/depth_anything3`` turns them into a geometry folder.

Shapes: images ``s 3 h w`` float32, ImageNet-normalised, sides multiples of 14. Precision: the backbone in that of its
weights, heads and camera decoder in float32.

Source: Depth Anything 3 (arXiv 2511.10647).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from inspatio.models.attention import Attend, attention
from inspatio.models.depth_anything3.backbone import PATCH, Backbone, BackboneConfig
from inspatio.models.depth_anything3.heads import CameraDecoder, DenseHead, HeadConfig, HeadMaps
from inspatio.types import Frames, Intrinsics

SingleKind: TypeAlias = Literal["any-view", "metric", "mono"]

LONGEST_SIDE = 504
"""Pixels of a frame's longer side as the networks see it, unless another size is asked for."""
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of one network: backbone and DPT head; any-view networks also have a camera decoder."""

    kind: SingleKind
    backbone: BackboneConfig
    head: HeadConfig


@dataclass(frozen=True)
class AnyView:
    """Geometry of ``s`` frames processed together, float32; see the module docstring for conventions."""

    depth: Tensor
    """``s h w``"""
    confidence: Tensor
    """``s h w``, at least 1; larger is more certain"""
    world_to_camera: Tensor
    """``s 4 4``"""
    intrinsics: Tensor
    """``s 3 3`` at the network's resolution"""


@dataclass(frozen=True)
class SingleFrames:
    """Depth of ``s`` frames processed one by one, float32."""

    depth: Tensor
    """``s h w``; for metric networks, depth * focal length / 300 is in metres"""
    sky: Tensor
    """``s h w``, 0 on the ground"""


class DepthNetwork(nn.Module):
    """Backbone, DPT head and, for any-view networks, camera decoder."""

    def __init__(self, config: NetworkConfig, attend: Attend = attention) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, attend)
        self.head = DenseHead(config.backbone.feature_dim, config.head)
        self.camera = CameraDecoder(config.backbone.feature_dim) if config.kind == "any-view" else None

    @torch.inference_mode()
    def any_view(self, images: Tensor) -> AnyView:
        """Depth, confidence and cameras of ``s 3 h w`` frames that attend to each other."""
        assert self.camera is not None, f"a {self.config.kind} network has no cameras"
        maps, tokens = self._run(images)
        world_to_camera, intrinsics = self.camera(tokens, (images.shape[-2], images.shape[-1]))
        assert maps.confidence is not None, "an any-view head gives confidence"
        return AnyView(maps.depth, maps.confidence, world_to_camera, intrinsics)

    @torch.inference_mode()
    def single_frames(self, images: Tensor) -> SingleFrames:
        """Depth and sky of ``s 3 h w`` frames, each on its own."""
        maps, _ = self._run(images)
        assert maps.sky is not None, "an any-view head gives no sky"
        return SingleFrames(maps.depth, maps.sky)

    def _run(self, images: Tensor) -> tuple[HeadMaps, Tensor]:
        grid = (images.shape[-2] // PATCH, images.shape[-1] // PATCH)
        # Projected right away, a layer takes at most a third of its memory while the next ones are computed.
        projected, tokens = [], None
        for layer, features in enumerate(self.backbone.intermediate_layers(images)):
            projected.append(self.head.project(layer, features.patches, grid))
            tokens = features.camera
        assert tokens is not None, "the backbone yields four layers"
        return self.head(projected), tokens


def network_size(source: tuple[int, int], longest: int = LONGEST_SIDE) -> tuple[int, int]:
    """Size (height, width) at which the networks see a source frame of (height, width).

    The longer side becomes ``longest`` pixels; then each side is rounded to the nearest multiple of 14, halves up.
    """
    height, width = _bounded(source, longest)
    return _to_patches(height), _to_patches(width)


def shrink(frames: Frames, longest: int = LONGEST_SIDE) -> Frames:
    """Resize ``t h w 3`` uint8 source frames to :func:`network_size`, still uint8.

    By resizing, not by cropping, so that every source pixel is seen. As in the public code there are two steps, to the
    longest side and then to multiples of 14, each rounded to 8 bits (area filter down, cubic up).
    """
    source = (frames.shape[1], frames.shape[2])
    sizes = (_bounded(source, longest), network_size(source, longest))
    small = np.empty((len(frames), *sizes[1], 3), np.uint8)
    for frame, target in zip(frames, small, strict=True):
        target[:] = _resized(_resized(frame, sizes[0]), sizes[1])
    return small


def normalise(frames: Frames, device: torch.device) -> Tensor:
    """Convert ``t h w 3`` uint8 frames to ``t 3 h w`` float32, normalised by ImageNet's mean and deviation."""
    images = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (_MEAN, _STD))
    return (images - mean) / std


def to_source_frame(intrinsics: np.ndarray, network: tuple[int, int], source: tuple[int, int]) -> Intrinsics:
    """Convert intrinsics ``n 3 3`` from pixels of the network's size to those of the source; sizes (height, width).

    The networks put the principal point at half the width, measured from the corner; here pixel centres are at integer
    coordinates, so that the image centre is (width - 1) / 2.
    """
    converted = np.zeros(intrinsics.shape, np.float64)
    converted[:, 0, 0] = intrinsics[:, 0, 0] * source[1] / network[1]
    converted[:, 1, 1] = intrinsics[:, 1, 1] * source[0] / network[0]
    converted[:, 0, 2] = (source[1] - 1) / 2
    converted[:, 1, 2] = (source[0] - 1) / 2
    converted[:, 2, 2] = 1
    return converted


def _bounded(source: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = longest / max(source)
    return max(round(source[0] * scale), 1), max(round(source[1] * scale), 1)


def _to_patches(side: int) -> int:
    return max((side + PATCH // 2) // PATCH, 1) * PATCH


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    larger = size[0] > image.shape[0] or size[1] > image.shape[1]
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_CUBIC if larger else cv2.INTER_AREA)
