"""Names for the arrays and tensors that cross module borders.

Axis glossary (einops spelling):

    b  batch            t  frames (video time)     h, w  pixels of the working frame (480 x 832)
    n  frames of a clip f  latent frames           c     channels
    v  points           i, j  rows and columns of a matrix

Colour: every picture outside a codec or a network is ``uint8`` RGB, full range 0..255, upright, with square pixels.
``media/color.py`` converts to it and ``media/writer.py`` from it; each network's own preprocessing converts to its
float input (-1..1 for the Wan models). Nothing else interprets colour.

Depth is along the optical axis (z, not the ray length) in the scene's unit; 0 means unknown.

Two things of one shape but different meaning have two names: ``world_to_camera`` and
``camera_to_world`` are never both called "pose". Camera axes are OpenCV's; see ``cameras/poses.py``.

Video on the host is always time first, channels last (``t h w c``). On the device, pixels are ``b c t h w`` because
PyTorch's 3D convolutions want channels second, and latents are ``b f c h w``, frames second, so that a block of latent
frames is a plain slice. Each autoencoder transposes at its own boundary (``models/wan/autoencoder.py``), nobody else.

Host data (decoded video, depth on disk, cameras) is numpy; what a device computes on is torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Frames: TypeAlias = NDArray[np.uint8]
"""``t h w c`` uint8 RGB video frames on the host."""

Image: TypeAlias = NDArray[np.uint8]
"""``h w c`` uint8 RGB."""

DepthMaps: TypeAlias = NDArray[np.float32]
"""``t h w`` float32 z-depth in the scene's unit, 0 where unknown."""

Masks: TypeAlias = NDArray[np.uint8]
"""``t h w`` uint8 coverage: 255 where the render saw a source pixel, 0 where nothing landed."""

Intrinsics: TypeAlias = NDArray[np.float64]
"""``... 3 3`` pinhole matrices in pixels; integer pixel coordinates are pixel centres."""

WorldToCamera: TypeAlias = NDArray[np.float64]
"""``... 4 4`` rigid transforms taking world points to camera points (OpenCV axes)."""

CameraToWorld: TypeAlias = NDArray[np.float64]
"""``... 4 4`` rigid transforms taking camera points to world points (OpenCV axes)."""

VideoTensor: TypeAlias = "torch.Tensor"
"""``b c t h w`` float, RGB in -1..1: video as the autoencoders see it."""

LatentTensor: TypeAlias = "torch.Tensor"
"""``b f c h w`` float: normalised video latents, 8x smaller in space, 4x shorter in time."""

ScaleKind: TypeAlias = Literal["metres", "relative", "prior"]
"""What a depth of 1 means: a metre, the estimator's own unit, or nothing at all (a prior)."""

FitMode: TypeAlias = Literal["crop", "pad", "stretch"]
"""How a source of another shape is fitted to the working frame; see ``media/fit.py``."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total), in frames or whatever is counted."""

Direction: TypeAlias = Literal["world_to_camera", "camera_to_world"]
"""Which way the matrices of a camera path point."""

PathFormat: TypeAlias = Literal[
    "inspatio",
    "matrices",
    "tcw",
    "re10k",
    "tum",
    "kitti",
    "colmap",
    "nerfstudio",
    "transforms",
    "recammaster",
    "lingbot",
    "lyra",
    "gltf",
    "chan",
]
"""The camera path formats; ``cameras/formats/conventions.py`` says what each means."""

ExportFormat: TypeAlias = Literal["ply", "glb", "gltf", "colmap", "nerfstudio", "v15"]
"""What a clip's geometry is exported as; see ``export/formats.py``."""
