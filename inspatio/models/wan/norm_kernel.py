"""Norm, SiLU and padding in time as one Triton kernel: what ``norm.plain`` does, in one pass on GPUs.

PyTorch needs three kernels and moves everything three times. Here each program owns some pixels in all frames, so that
the frames of the past are read before their place is written. Rounding is that of the three kernels: in between, the
normed value has the precision of the input. Imported on a GPU alone: Triton comes with PyTorch there.
"""

# Triton is not there where types are checked.
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

TILE = 4096
"""Values that a program has in hand: 16 registers for each thread of 256."""


def launch(x: torch.Tensor, gamma: torch.Tensor, tail: torch.Tensor, padded: torch.Tensor, eps: float) -> None:
    """All ``t n c``; the values of a frame, ``n c``, lie without gaps."""
    frames, pixels, channels = x.shape
    columns = triton.next_power_of_2(channels)
    rows = max(TILE // columns, 1)
    _norm_activate_pad[(triton.cdiv(pixels, rows),)](
        x,
        gamma,
        tail,
        padded,
        x.stride(0),
        tail.stride(0),
        padded.stride(0),
        frames,
        pixels,
        channels,
        PAST=tail.shape[0],
        ROWS=rows,
        COLUMNS=columns,
        EPS=eps,
        num_warps=8,
    )


@triton.jit
def _norm_activate_pad(
    x,
    gamma,
    tail,
    padded,
    x_frame,
    tail_frame,
    padded_frame,
    frames,
    pixels,
    channels,
    PAST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EPS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = (row < pixels)[:, None] & (column < channels)[None, :]
    place = row[:, None] * channels + column[None, :]
    gain = tl.load(gamma + column, mask=column < channels, other=0.0).to(tl.float32)[None, :]

    for past in tl.static_range(PAST):
        before = tl.load(tail + past * tail_frame + place, mask=inside)
        tl.store(padded + past * padded_frame + place, before, mask=inside)
    for past in tl.static_range(PAST):  # fewer frames than the tail has: the rest of it moves on
        if past + frames < PAST:
            before = tl.load(tail + (past + frames) * tail_frame + place, mask=inside)
            tl.store(tail + past * tail_frame + place, before, mask=inside)

    source, target = x + place, padded + PAST * padded_frame + place
    for frame in range(frames):
        value = tl.load(source, mask=inside, other=0.0)
        exact = value.to(tl.float32)
        mean = tl.sum(exact * exact, axis=1) / channels
        normed = (exact * tl.rsqrt(mean + EPS)[:, None] * gain).to(value.dtype).to(tl.float32)
        result = (normed / (1.0 + tl.exp(-normed))).to(value.dtype)
        tl.store(target, result, mask=inside)
        if frame + PAST >= frames:
            tl.store(tail + (frame + PAST - frames) * tail_frame + place, result, mask=inside)
        source += x_frame
        target += padded_frame
