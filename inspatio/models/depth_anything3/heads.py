"""Heads of Depth Anything 3: the DPT head (depth, confidence, sky per pixel) and the camera decoder. Always float32.

DPT head: tokens of four layers are projected, resampled to 4, 2, 1 and 1/2 times the patch grid and fused from coarse
to fine; two small convolutions at full resolution then give

    any-view models   depth = exp, confidence = exp + 1   (LayerNorm first; sinusoidal position embedding added)
    metric and mono   depth = exp, sky = relu             (neither; the sky map is 0 on the ground)

Tokens are ``s n c``, maps ``s h w``. Frames are processed a few at a time, so that the memory needed at full resolution
does not depend on their number. The published any-view head has a second branch that predicts rays; poses come from the
camera decoder instead, so that branch is not built.

Source: Depth Anything 3 (arXiv 2511.10647), DPT (arXiv 2103.13413).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from inspatio.models.depth_anything3.backbone import PATCH

FRAMES_AT_ONCE = 4
POSITION_BASE = 100.0
POSITION_GAIN = 0.1
HIDDEN_CHANNELS = 32

SMALLEST_TANGENT = 1e-6
"""Lower bound for tan(field of view / 2): a field of view of 0, as an untrained network can predict, must not give an
infinite focal length."""


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of a DPT head: ``channels`` of the four projected layers, ``features`` of the fusion."""

    features: int
    channels: tuple[int, int, int, int]
    confidence: bool
    """True (any-view): depth and confidence, tokens normalised, positions embedded. Else (metric, mono): depth, sky."""


@dataclass(frozen=True)
class HeadMaps:
    """Output of a DPT head: ``s h w`` float32 each."""

    depth: Tensor
    confidence: Tensor | None
    sky: Tensor | None


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions on a residual branch."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fuse(nn.Module):
    """Add a finer layer to the fused coarser ones, refine the sum and upsample it."""

    def __init__(self, features: int, coarsest: bool) -> None:
        super().__init__()
        self.lateral = None if coarsest else ResidualUnit(features)
        self.refine = ResidualUnit(features)
        self.project = nn.Conv2d(features, features, 1)

    def forward(self, coarse: Tensor, fine: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.lateral is not None:
            assert fine is not None, "only the coarsest fusion has no finer layer"
            coarse = coarse + self.lateral(fine)
        return self.project(_upsample(self.refine(coarse), size))


class DenseHead(nn.Module):
    """The DPT head; see the module docstring."""

    def __init__(self, token_dim: int, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        features, channels = config.features, config.channels
        self.norm = nn.LayerNorm(token_dim) if config.confidence else nn.Identity()
        self.projects = nn.ModuleList(nn.Conv2d(token_dim, channel, 1) for channel in channels)
        self.resize = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )
        self.adapt = nn.ModuleList(nn.Conv2d(channel, features, 3, padding=1, bias=False) for channel in channels)
        self.fuse = nn.ModuleList(Fuse(features, coarsest=level == 3) for level in range(4))
        self.neck = nn.Conv2d(features, features // 2, 3, padding=1)
        self.depth = _output(features // 2, 2 if config.confidence else 1)
        if not config.confidence:
            self.sky = _output(features // 2, 1)

    def project(self, layer: int, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Project the tokens ``s n c`` of an output layer (0..3) to ``s c i j`` maps with far fewer channels."""
        maps = [
            self.projects[layer](rearrange(self.norm(part.float()), "s (i j) c -> s c i j", i=grid[0]))
            for part in patches.split(FRAMES_AT_ONCE)
        ]
        return torch.cat(maps)

    def forward(self, projected: list[Tensor]) -> HeadMaps:
        """Full-resolution maps from the four layers that ``project`` returned."""
        parts = [self._maps(layers) for layers in zip(*(p.split(FRAMES_AT_ONCE) for p in projected), strict=True)]
        depth, other = (torch.cat(maps) for maps in zip(*parts, strict=True))
        return HeadMaps(depth, other, None) if self.config.confidence else HeadMaps(depth, None, other)

    def _maps(self, projected: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """``s h w`` depth, and confidence or sky, of a few frames."""
        grid = projected[0].shape[-2:]
        size = (grid[0] * PATCH, grid[1] * PATCH)
        levels = [
            adapt(resize(self._with_position(layer, size)))
            for layer, resize, adapt in zip(projected, self.resize, self.adapt, strict=True)
        ]
        fused = self.fuse[3](levels[3], None, levels[2].shape[-2:])
        fused = self.fuse[2](fused, levels[2], levels[1].shape[-2:])
        fused = self.fuse[1](fused, levels[1], levels[0].shape[-2:])
        fused = self.fuse[0](fused, levels[0], (2 * levels[0].shape[-2], 2 * levels[0].shape[-1]))
        fused = self._with_position(_upsample(self.neck(fused), size), size)
        output = self.depth(fused)
        if self.config.confidence:
            return output[:, 0].exp(), output[:, 1].exp() + 1
        return output[:, 0].exp(), F.relu(self.sky(fused)[:, 0])

    def _with_position(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if not self.config.confidence:
            return x
        return x + POSITION_GAIN * position_embedding((x.shape[-2], x.shape[-1]), x.shape[1], size, x.device)


def position_embedding(grid: tuple[int, int], channels: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Sinusoidal position embedding ``c i j``: sines and cosines of a cell's column, then of its row.

    Positions are measured from the image centre in half diagonals of a frame of ``size`` (height, width).
    """
    half_diagonal = (size[0] ** 2 + size[1] ** 2) ** 0.5
    quarter = channels // 4
    step = torch.arange(quarter, device=device, dtype=torch.float32) / quarter
    waves = []
    for axis in (1, 0):
        reach = size[axis] / half_diagonal * (grid[axis] - 1) / grid[axis]
        positions = torch.linspace(-reach, reach, grid[axis], device=device)
        angles = positions * POSITION_BASE ** -step[:, None]  # c/4 cells
        wave = torch.cat([angles.sin(), angles.cos()])
        waves.append(wave[:, None, :] if axis == 1 else wave[:, :, None])
    return torch.cat([wave.expand(-1, *grid) for wave in waves])


class CameraDecoder(nn.Module):
    """Camera of every frame from its camera token: two hidden layers, three outputs.

    The outputs are the camera-to-world translation and quaternion (scalar last) and the vertical and horizontal field
    of view in radians.
    """

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(token_dim, token_dim), nn.ReLU(), nn.Linear(token_dim, token_dim), nn.ReLU()
        )
        self.translation = nn.Linear(token_dim, 3)
        self.quaternion = nn.Linear(token_dim, 4)
        self.field_of_view = nn.Linear(token_dim, 2)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Decode ``s c`` tokens of frames of ``size`` (height, width).

        Returns:
            ``s 4 4`` world_to_camera and ``s 3 3`` intrinsics in pixels of ``size``, the principal point at
            (width / 2, height / 2), measured from the corner.
        """
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
    """Rotation matrices ``s 3 3`` of quaternions ``s 4`` (x, y, z, w) of any length except 0."""
    axis, w = quaternion[:, :3], quaternion[:, 3, None, None]
    squared = (quaternion**2).sum(dim=-1)[:, None, None]
    x, y, z = axis.unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    # Rodrigues' formula with half angles: R = 1 + 2 (w [v] + [v]^2) / |q|^2.
    return torch.eye(3, device=quaternion.device) + 2 * (w * cross + cross @ cross) / squared


def _output(channels: int, maps: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, HIDDEN_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(HIDDEN_CHANNELS, maps, 1)
    )


def _upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)
