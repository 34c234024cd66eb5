"""Source frames as the networks want them: small, sides multiples of 14, normalised.

The longer side becomes 504 pixels, the other one follows; then each side goes to the nearest multiple of 14 (up when it
lies in the middle), by resizing, not by cutting, so that every source pixel is seen. Both steps are taken in 8 bits one
after the other, as the networks are run in public (area filter down, cubic up).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from inspatio.models.depth_anything3.vit import PATCH
from inspatio.types import Frames

LONGEST_SIDE = 504
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def network_size(source: tuple[int, int], longest: int = LONGEST_SIDE) -> tuple[int, int]:
    """(height, width) at which the networks see a source of (height, width)."""
    height, width = _bounded(source, longest)
    return _to_patches(height), _to_patches(width)


def shrink(frames: Frames, longest: int = LONGEST_SIDE) -> Frames:
    """``t h w 3`` uint8 source frames at the networks' size."""
    source = (frames.shape[1], frames.shape[2])
    sizes = (_bounded(source, longest), network_size(source, longest))
    small = np.empty((len(frames), *sizes[1], 3), np.uint8)
    for frame, target in zip(frames, small, strict=True):
        target[:] = _resized(_resized(frame, sizes[0]), sizes[1])
    return small


def normalise(frames: Frames, device: torch.device) -> torch.Tensor:
    """``t h w 3`` uint8 -> ``t 3 h w`` float32 of ImageNet's mean and deviation."""
    images = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (_MEAN, _STD))
    return (images - mean) / std


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
