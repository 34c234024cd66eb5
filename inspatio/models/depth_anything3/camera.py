"""Cameras from camera tokens: translation, rotation and field of view of every frame.

The decoder gives the camera-to-world pose as translation and quaternion (scalar last) and the vertical and horizontal
field of view; out come ``world_to_camera`` and intrinsics. Always float32.

:func:`to_source_frame` then leaves the network's conventions: the network puts the principal point at W/2 of its own
small frame, measured from the corner; here pixel centres are at integers, so that the centre is (W - 1) / 2.

Source: Depth Anything 3 (arXiv 2511.10647).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inspatio.types import Intrinsics

SMALLEST_TANGENT = 1e-6
"""A field of view of zero, which an untrained or blinded network can give, becomes a huge but finite focal length."""


class CameraDecoder(nn.Module):
    """Two hidden layers and three outputs on ``s c`` camera tokens."""

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(token_dim, token_dim), nn.ReLU(), nn.Linear(token_dim, token_dim), nn.ReLU()
        )
        self.translation = nn.Linear(token_dim, 3)
        self.quaternion = nn.Linear(token_dim, 4)
        self.field_of_view = nn.Linear(token_dim, 2)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """``s 4 4`` world_to_camera and ``s 3 3`` intrinsics for frames of ``size`` (height, width)."""
        hidden = self.backbone(tokens.float())
        rotation = rotation_from_quaternion(self.quaternion(hidden))
        world_to_camera = torch.eye(4, device=tokens.device).repeat(len(tokens), 1, 1)
        world_to_camera[:, :3, :3] = rotation.mT
        world_to_camera[:, :3, 3] = -torch.einsum("sji,sj->si", rotation, self.translation(hidden))

        height, width = size
        tangent = torch.tan(F.relu(self.field_of_view(hidden)) / 2).clamp_min(SMALLEST_TANGENT)
        intrinsics = torch.zeros(len(tokens), 3, 3, device=tokens.device)
        intrinsics[:, 0, 0] = width / 2 / tangent[:, 1]
        intrinsics[:, 1, 1] = height / 2 / tangent[:, 0]
        intrinsics[:, 0, 2] = width / 2
        intrinsics[:, 1, 2] = height / 2
        intrinsics[:, 2, 2] = 1
        return world_to_camera, intrinsics


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """``s 3 3`` rotations of ``s 4`` quaternions (x, y, z, w) of any length but zero."""
    axis, w = quaternion[:, :3], quaternion[:, 3, None, None]
    squared = (quaternion**2).sum(dim=-1)[:, None, None]
    x, y, z = axis.unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    # Rodrigues' formula with half angles: R = 1 + 2 (w [v] + [v]^2) / |q|^2.
    return torch.eye(3, device=quaternion.device) + 2 * (w * cross + cross @ cross) / squared


def to_source_frame(intrinsics: np.ndarray, network: tuple[int, int], source: tuple[int, int]) -> Intrinsics:
    """``n 3 3`` intrinsics at the network's size (height, width) as intrinsics of the source frame."""
    converted = np.zeros(intrinsics.shape, np.float64)
    converted[:, 0, 0] = intrinsics[:, 0, 0] * source[1] / network[1]
    converted[:, 1, 1] = intrinsics[:, 1, 1] * source[0] / network[0]
    converted[:, 0, 2] = (source[1] - 1) / 2
    converted[:, 1, 2] = (source[0] - 1) / 2
    converted[:, 2, 2] = 1
    return converted
