"""Three-dimensional rotary positions: a token's frame, row and column turn pairs of its query and key channels.

A head of ``d`` channels has ``d / 2`` adjacent (even, odd) pairs: the first ``d/2 - 2 * (d // 6)`` turn with the frame,
then ``d // 6`` with the row and ``d // 6`` with the column (128 channels: 22, 21, 21), each axis from fast to slow
(theta 10000). Angles, sines and cosines are computed in float64 and kept in float32; the turn itself is float32
whatever the network runs in. Sources: RoFormer (arXiv 2104.09864), Wan 2.1 (arXiv 2503.20314).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange, repeat

THETA = 10000.0


@dataclass(frozen=True)
class Rotary:
    """Cosine and sine of every token's angles, ``n 1 d/2`` float32 (the axis of 1 stands for the heads)."""

    cosine: torch.Tensor
    sine: torch.Tensor

    def __getitem__(self, tokens: slice) -> Rotary:
        """The same for some of the tokens."""
        return Rotary(self.cosine[tokens], self.sine[tokens])

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        """Queries or keys ``b n h d`` turned to their positions, in their own dtype."""
        even, odd = rearrange(x.float(), "b n h (d pair) -> pair b n h d", pair=2)
        turned = torch.stack((even * self.cosine - odd * self.sine, even * self.sine + odd * self.cosine), dim=-1)
        return turned.flatten(-2).to(x.dtype)


def make_rotary(frames: int, rows: int, columns: int, head_size: int, device: torch.device) -> Rotary:
    """The positions of a grid of tokens, frame by frame, row by row, counted from 0."""
    assert head_size % 2 == 0, f"head size {head_size}, expected an even number"
    space = head_size // 6
    time = head_size // 2 - 2 * space
    grid = (frames, rows, columns)
    angles = torch.cat(
        [
            repeat(_angles(frames, time), "f d -> (f h w) d", h=rows, w=columns),
            repeat(_angles(rows, space), "h d -> (f h w) d", f=frames, w=columns),
            repeat(_angles(columns, space), "w d -> (f h w) d", f=frames, h=rows),
        ],
        dim=1,
    ).unsqueeze(1)
    assert angles.shape == (frames * rows * columns, 1, head_size // 2), f"{angles.shape} for a grid of {grid}"
    return Rotary(angles.cos().float().to(device), angles.sin().float().to(device))


def _angles(positions: int, pairs: int) -> torch.Tensor:
    """``positions pairs`` float64."""
    speed = THETA ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    return torch.arange(positions, dtype=torch.float64)[:, None] * speed[None, :]
