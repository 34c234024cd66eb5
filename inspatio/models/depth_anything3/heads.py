"""From patch tokens of four layers to a map per pixel: the DPT head of Depth Anything 3 in its two forms.

Four layers are projected, brought to 4, 2, 1 and 1/2 times the patch grid, and fused from coarse to fine; two small
convolutions at full resolution then give

    any-view models   depth = exp, confidence = exp + 1   (LayerNorm before, a sine code of the pixel's place added)
    metric and mono   depth = exp, sky = relu             (neither; the sky map is 0 on the ground)

The published any-view head has a second half that predicts rays; poses come from the camera decoder instead, so it is
not built. Always float32. Tokens ``s n c``, maps ``s h w``; a few frames at a time, so that memory at full resolution
does not depend on how many there are.

Source: Depth Anything 3 (arXiv 2511.10647), DPT (arXiv 2103.13413).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from inspatio.models.depth_anything3.vit import PATCH

FRAMES_AT_ONCE = 4
PLACE_CODE_BASE = 100.0
PLACE_CODE_GAIN = 0.1
HIDDEN_CHANNELS = 32


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of a head. ``channels`` are those of the four layers, ``features`` those they are fused with."""

    features: int
    channels: tuple[int, int, int, int]
    confidence: bool
    """Depth and confidence, normalised tokens and place codes (any-view), or depth and sky (metric, mono)."""


@dataclass(frozen=True)
class HeadMaps:
    """What a head gives: ``s h w`` float32 each."""

    depth: Tensor
    confidence: Tensor | None
    sky: Tensor | None


class Refine(nn.Module):
    """Residual unit of two convolutions."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fuse(nn.Module):
    """Adds a finer layer to what came from the coarser ones, refines it and makes it larger."""

    def __init__(self, features: int, coarsest: bool) -> None:
        super().__init__()
        self.lateral = None if coarsest else Refine(features)
        self.refine = Refine(features)
        self.project = nn.Conv2d(features, features, 1)

    def forward(self, coarse: Tensor, fine: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.lateral is not None:
            assert fine is not None, "only the coarsest fusion has nothing to add"
            coarse = coarse + self.lateral(fine)
        return self.project(_enlarge(self.refine(coarse), size))


class DenseHead(nn.Module):
    """See the module's docstring."""

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
        """The tokens of a tapped layer (0..3) as ``s c i j`` maps with far fewer channels, to be kept for the rest."""
        maps = [
            self.projects[layer](rearrange(self.norm(part.float()), "s (i j) c -> s c i j", i=grid[0]))
            for part in patches.split(FRAMES_AT_ONCE)
        ]
        return torch.cat(maps)

    def forward(self, projected: list[Tensor]) -> HeadMaps:
        """Maps at full resolution from what ``project`` made of the four layers."""
        parts = [self._maps(layers) for layers in zip(*(p.split(FRAMES_AT_ONCE) for p in projected), strict=True)]
        depth, other = (torch.cat(maps) for maps in zip(*parts, strict=True))
        return HeadMaps(depth, other, None) if self.config.confidence else HeadMaps(depth, None, other)

    def _maps(self, projected: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """``s h w`` depth, and confidence or sky, of a few frames."""
        grid = projected[0].shape[-2:]
        size = (grid[0] * PATCH, grid[1] * PATCH)
        levels = [
            adapt(resize(self._placed(layer, size)))
            for layer, resize, adapt in zip(projected, self.resize, self.adapt, strict=True)
        ]
        fused = self.fuse[3](levels[3], None, levels[2].shape[-2:])
        fused = self.fuse[2](fused, levels[2], levels[1].shape[-2:])
        fused = self.fuse[1](fused, levels[1], levels[0].shape[-2:])
        fused = self.fuse[0](fused, levels[0], (2 * levels[0].shape[-2], 2 * levels[0].shape[-1]))
        fused = self._placed(_enlarge(self.neck(fused), size), size)
        output = self.depth(fused)
        if self.config.confidence:
            return output[:, 0].exp(), output[:, 1].exp() + 1
        return output[:, 0].exp(), F.relu(self.sky(fused)[:, 0])

    def _placed(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if not self.config.confidence:
            return x
        return x + PLACE_CODE_GAIN * place_code((x.shape[-2], x.shape[-1]), x.shape[1], size, x.device)


def place_code(grid: tuple[int, int], channels: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """``c i j`` sines and cosines of a cell's column, then of its row.

    Places are measured from the image's centre in half diagonals of a ``size`` (height, width) frame.
    """
    half_diagonal = (size[0] ** 2 + size[1] ** 2) ** 0.5
    quarter = channels // 4
    step = torch.arange(quarter, device=device, dtype=torch.float32) / quarter
    waves = []
    for axis in (1, 0):
        reach = size[axis] / half_diagonal * (grid[axis] - 1) / grid[axis]
        places = torch.linspace(-reach, reach, grid[axis], device=device)
        angles = places * PLACE_CODE_BASE ** -step[:, None]  # c/4 cells
        wave = torch.cat([angles.sin(), angles.cos()])
        waves.append(wave[:, None, :] if axis == 1 else wave[:, :, None])
    return torch.cat([wave.expand(-1, *grid) for wave in waves])


def _output(channels: int, maps: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, HIDDEN_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(HIDDEN_CHANNELS, maps, 1)
    )


def _enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)
