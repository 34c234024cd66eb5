"""Image backbone of Depth Anything 3: a DINOv2 vision transformer whose later blocks attend across frames.

Blocks before ``alternate_from`` process each frame on its own. From there on even blocks attend within a frame and odd
blocks over the tokens of all frames; queries and keys are normalised and get a rotary position embedding; a learned
camera token replaces the class token, one for the reference view (see :func:`choose_reference`) and one for all other
views. With ``alternate_from`` None (the metric and mono models) this is the plain DINOv2.

Shapes: images ``s c h w`` (s frames, ImageNet-normalised, sides multiples of 14), tokens ``s n c`` with the class or
camera token first. Precision: linear layers and attention in the precision of the weights, residual stream in float32.
Memory: everything except attention over all frames runs in slices of frames, and each output layer is yielded as soon
as it is computed, so that the caller need not hold all four.

Source: Depth Anything 3 (arXiv 2511.10647), DINOv2 (arXiv 2304.07193), RoPE over rows and columns (RoPE-ViT,
arXiv 2403.13298).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from inspatio.models.attention import Attend, attention
from inspatio.models.compilation import prepare_compiler

PATCH = 14
"""Side of a patch in pixels."""

TRAINED_GRID = 37
"""Patches per side of the 518 x 518 images that the position embedding was trained on."""

ROTARY_BASE = 100.0

SLICE_TOKENS = 8192
"""Tokens per slice in layers where frames are independent: large enough to keep a GPU busy."""


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the transformer. ``out_layers`` are the indices of the four blocks whose outputs the heads read."""

    dim: int
    depth: int
    heads: int
    out_layers: tuple[int, int, int, int]
    alternate_from: int | None = None
    gated: bool = False
    """SwiGLU feed-forward layers (the giant model) instead of GELU."""

    @property
    def feature_dim(self) -> int:
        """Channels of an output layer: local and global features are concatenated where both exist."""
        return self.dim if self.alternate_from is None else 2 * self.dim

    @property
    def hidden_dim(self) -> int:
        """Width of the feed-forward layer; a gated one has two thirds of that, rounded up to a multiple of eight."""
        return (8 * self.dim // 3 + 7) // 8 * 8 if self.gated else 4 * self.dim


class LayerFeatures(NamedTuple):
    """Output of one of the ``out_layers``."""

    patches: Tensor
    """``s n c`` float32: patch tokens without the class token, the global half normalised."""
    camera: Tensor
    """``s c`` float32: the class or camera token, not normalised."""


class LayerScale(nn.Module):
    """Learned gain per channel of a residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Mlp(nn.Module):
    """Feed-forward layer: linear, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GatedMlp(nn.Module):
    """SwiGLU feed-forward layer; one linear layer computes gate and value together."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class Attention(nn.Module):
    """Projections of self-attention; :class:`Block` decides which tokens attend to each other."""

    def __init__(self, dim: int, heads: int, normalise: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // heads) if normalise else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // heads) if normalise else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``s n heads d`` of ``s n c`` tokens."""
        q, k, v = rearrange(self.qkv(x), "s n (three heads d) -> three s n heads d", three=3, heads=self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotary.rotate(q), rotary.rotate(k)
        return q, k, v


class Block(nn.Module):
    """Pre-norm transformer block; ``forward`` updates ``x`` in place, which saves a copy of the whole clip's tokens."""

    def __init__(self, config: BackboneConfig, normalise: bool, attend: Attend) -> None:
        super().__init__()
        dim = config.dim
        self.attend = attend
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, config.heads, normalise)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = (GatedMlp if config.gated else Mlp)(dim, config.hidden_dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor, rotary: Rotary | None, across_frames: bool) -> None:
        """Add this block's output to ``x`` (``s n c`` float32)."""
        parts = x.split(max(1, SLICE_TOKENS // x.shape[1]))
        if not across_frames:
            for part in parts:
                self._add(part, self.attend(*self._project(part, rotary)))
            return
        heads, dim = self.attn.heads, x.shape[-1] // self.attn.heads
        dtype = self.attn.qkv.weight.dtype
        q, k, v = (torch.empty(*x.shape[:2], heads, dim, dtype=dtype, device=x.device) for _ in range(3))
        start = 0
        for part in parts:
            for whole, projected in zip((q, k, v), self._project(part, rotary), strict=True):
                whole[start : start + len(part)] = projected
            start += len(part)
        q, k, v = (rearrange(whole, "s n heads d -> 1 (s n) heads d") for whole in (q, k, v))
        attended = rearrange(self.attend(q, k, v), "1 (s n) heads d -> s n heads d", s=len(x))
        for part, result in zip(parts, attended.split([len(part) for part in parts]), strict=True):
            self._add(part, result)

    def compile_pieces(self, backend: str | Callable[..., Any]) -> None:
        """Compile the code before and after attention with ``torch.compile`` and the given ``backend``.

        Shapes are dynamic, because slices, windows and clips differ in length: all blocks of a kind share the code.
        """
        for piece in ("_project", "_add"):
            setattr(self, piece, torch.compile(getattr(self, piece), dynamic=True, backend=backend))

    def _project(self, x: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        return self.attn.project(_normed(self.norm1, x, self.attn.qkv.weight.dtype), rotary)

    def _add(self, x: Tensor, attended: Tensor) -> None:
        x += self.ls1(self.attn.proj(rearrange(attended, "s n heads d -> s n (heads d)")))
        x += self.ls2(self.mlp(_normed(self.norm2, x, attended.dtype)))


class Rotary:
    """Rotary position embedding over a token's row (first half of a head) and column (second half).

    Positions start at 1; 0 is the class token's. Angles are float32.
    """

    def __init__(self, positions: Tensor, head_dim: int) -> None:
        """``positions``: ``n 2`` rows and columns."""
        quarter = head_dim // 4
        step = torch.arange(quarter, device=positions.device, dtype=torch.float32) / quarter
        angles = positions.float()[:, :, None] * ROTARY_BASE**-step
        self.cos, self.sin = angles.cos()[:, None], angles.sin()[:, None]  # n 1 2 quarter

    @classmethod
    def inside_frame(cls, grid: tuple[int, int], head_dim: int, device: torch.device) -> Rotary:
        """Positions for attention within a frame: each patch at its place in a grid of (rows, columns)."""
        rows, columns = (torch.arange(1, side + 1, device=device) for side in grid)
        patches = torch.cartesian_prod(rows, columns)
        return cls(torch.cat([patches.new_zeros(1, 2), patches]), head_dim)

    @classmethod
    def across_frames(cls, grid: tuple[int, int], head_dim: int, device: torch.device) -> Rotary:
        """Positions for attention across frames: all patches share one, so only patch and camera tokens differ."""
        positions = torch.ones(1 + grid[0] * grid[1], 2, device=device)
        positions[0] = 0
        return cls(positions, head_dim)

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate ``s n heads d``; per axis, the two halves of the channels are the two coordinates of each plane."""
        first, second = rearrange(x.float(), "s n heads (way half d) -> half s n heads way d", way=2, half=2)
        rotated = torch.stack(
            (first * self.cos - second * self.sin, second * self.cos + first * self.sin),
            dim=-2,
        )
        return rearrange(rotated, "s n heads way half d -> s n heads (way half d)").to(x.dtype)


def choose_reference(class_tokens: Tensor) -> int:
    """Choose the reference view, to which all predictions are relative: the frame most typical of the clip.

    Three measures are taken from the class tokens halfway through the frame-wise blocks: mean cosine similarity to the
    other frames, length of the token, variance of the normalised token. Each is scaled to 0..1 over the clip, and the
    frame closest to 0.5 in all three is chosen.

    Args:
        class_tokens: ``s c``, at least two frames.

    Returns:
        The frame's index.

    Source: Depth Anything 3 (arXiv 2511.10647).
    """
    tokens = class_tokens.float()
    lengths = tokens.norm(dim=-1)
    directions = tokens / lengths[:, None]
    # A frame's similarity to itself is 1 and carries no information.
    similarity = ((directions @ directions.T).sum(dim=-1) - 1) / (len(tokens) - 1)
    measures = torch.stack([similarity, lengths, directions.var(dim=-1)])
    low, high = measures.amin(dim=-1, keepdim=True), measures.amax(dim=-1, keepdim=True)
    return int(((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(dim=0).argmin())


def order_with_first(reference: int, count: int) -> Tensor:
    """``count`` frame indices with the reference first and the others after it in order; argsort inverts it."""
    return torch.tensor([reference, *(index for index in range(count) if index != reference)])


class Backbone(nn.Module):
    """The vision transformer; see the module docstring."""

    def __init__(self, config: BackboneConfig, attend: Attend = attention) -> None:
        super().__init__()
        self.config = config
        dim, start = config.dim, config.alternate_from
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, dim))
        if start is not None:
            self.camera_token = nn.Parameter(torch.zeros(1, 2, dim))
        self.patch_embed = nn.Conv2d(3, dim, PATCH, PATCH)
        self.blocks = nn.ModuleList(
            Block(config, start is not None and index >= start, attend) for index in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim)

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile only the repeated block, so that warm-up does not grow with depth."""
        prepare_compiler()
        for block in self.blocks:
            assert isinstance(block, Block)
            block.compile_pieces(backend)

    def intermediate_layers(self, images: Tensor) -> Iterator[LayerFeatures]:
        """Yield the features of each of the ``out_layers`` for ``s 3 h w`` images, frames in the order given."""
        grid = (images.shape[-2] // PATCH, images.shape[-1] // PATCH)
        head_dim = self.config.dim // self.config.heads
        start = self.config.alternate_from
        inside = across = None
        if start is not None:
            inside = Rotary.inside_frame(grid, head_dim, images.device)
            across = Rotary.across_frames(grid, head_dim, images.device)

        x = self._embed(images, grid)
        restore = None
        local = x
        for index, block in enumerate(self.blocks):
            if start is not None and index == start - 1 and len(x) > 2:
                order = order_with_first(choose_reference(x[:, 0]), len(x))
                x, restore = x[order], torch.argsort(order)
            if start is not None and index == start:
                x[:, 0] = self.camera_token[0, 1].float()
                x[0, 0] = self.camera_token[0, 0].float()
            alternating = start is not None and index >= start
            is_global = alternating and index % 2 == 1
            block(x, rotary=(across if is_global else inside) if alternating else None, across_frames=is_global)
            if alternating and not is_global:
                # Blocks work in place: copy the local features before the next, global block overwrites them.
                local = x.clone() if index + 1 in self.config.out_layers else x
            if index in self.config.out_layers:
                yield self._features(x, local if alternating else None, restore)

    def _features(self, x: Tensor, local: Tensor | None, restore: Tensor | None) -> LayerFeatures:
        features = self.norm(x.to(self.norm.weight.dtype)).float()
        camera = x[:, 0]
        if local is not None:
            features = torch.cat([local, features], dim=-1)
            camera = torch.cat([local[:, 0], camera], dim=-1)
        if restore is not None:
            features, camera = features[restore], camera[restore]
        return LayerFeatures(features[:, 1:], camera.clone())

    def _embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """``s (1 + rows columns) c`` float32 tokens with the position embedding added."""
        size = max(1, SLICE_TOKENS // (grid[0] * grid[1]))
        dtype = self.patch_embed.weight.dtype
        patches = torch.cat(
            [rearrange(self.patch_embed(part.to(dtype)), "s c i j -> s (i j) c") for part in images.split(size)]
        ).float()
        class_token = self.cls_token.float().expand(len(images), -1, -1)
        return torch.cat([class_token, patches], dim=1) + self._positions(grid)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """The trained position embedding, resampled to this grid."""
        table = self.pos_embed.float()
        if grid == (TRAINED_GRID, TRAINED_GRID):
            return table
        square = rearrange(table[:, 1:], "1 (i j) c -> 1 c i j", i=TRAINED_GRID)
        # The networks were trained with embeddings resampled at a factor that is 0.1 patches too large.
        factors = [(side + 0.1) / TRAINED_GRID for side in grid]
        resampled = F.interpolate(square, scale_factor=factors, mode="bicubic")
        assert resampled.shape[-2:] == grid, f"position embedding is {tuple(resampled.shape)}, expected {grid}"
        return torch.cat([table[:, :1], rearrange(resampled, "1 c i j -> 1 (i j) c")], dim=1)


def _normed(norm: nn.LayerNorm, x: Tensor, dtype: torch.dtype) -> Tensor:
    """LayerNorm in float32 whatever the precision of the weights; the result is cast to ``dtype``."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps).to(dtype)
