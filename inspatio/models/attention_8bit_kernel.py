"""Attention in 8 bits as Triton kernels: what ``attention_8bit.plain`` does, without the logits in memory.

Two kernels round the inputs, one attends in tiles with the running softmax of FlashAttention-2 (arXiv 2307.08691). Each
tile's product with the values is added to a sum in float32, since the 8-bit units of Hopper add with fewer bits. Values
are stored with a channel's tokens side by side, as those units read them. Imported on a GPU alone: Triton comes with
PyTorch there.
"""

# Triton is not there where types are checked.
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

QUERIES, KEYS = 128, 64
"""Tokens of a tile."""
LOG2_E = 1.4426950408889634


LARGEST_INT8, LARGEST_FP8 = 127, 448.0


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, key_mean: torch.Tensor, value_scale: torch.Tensor
) -> torch.Tensor:
    """Query ``b n h d``, key and value ``b m h d`` -> ``b n h d``; ``d`` is a power of two from 32 to 128.

    ``key_mean`` is taken off the keys, ``value_scale`` divides the values, both ``b 1 h d`` float32.
    """
    b, n, heads, d = query.shape
    m = key.shape[1]
    if d not in (32, 64, 128):
        raise RuntimeError(f"heads of {d} channels, expected 32, 64 or 128")
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    nothing = torch.zeros(b, 1, heads, d, device=query.device)
    queries, query_scale = _to_int8(query, nothing, LOG2_E * d**-0.5)
    keys, key_scale = _to_int8(key, key_mean.contiguous(), 1.0)
    room = triton.cdiv(m, KEYS) * KEYS  # rows of 8-bit values begin at multiples of 64 bytes
    value_scale = value_scale.contiguous()
    values = torch.empty(b, heads, d, room, device=value.device, dtype=torch.float8_e4m3fn)
    _round_values[(triton.cdiv(m, KEYS), b * heads)](
        value, value_scale, values, *value.stride()[:3], m, room, heads, D=d, TILE=KEYS
    )
    result = torch.empty(query.shape, device=query.device, dtype=query.dtype)
    _attend[(triton.cdiv(n, QUERIES), b * heads)](
        queries, query_scale, keys, key_scale, values, value_scale, result, n, m, room, heads,
        D=d, ROWS=QUERIES, COLUMNS=KEYS, LARGEST=LARGEST_FP8, num_warps=8, num_stages=3,
    )  # fmt: skip
    return result


def _to_int8(x: torch.Tensor, offset: torch.Tensor, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``(x - offset) * factor`` in 8 bits ``b h n d``, and scales ``b h n``; ``offset`` is ``b 1 h d`` float32."""
    b, n, heads, d = x.shape
    rounded = torch.empty(b, heads, n, d, device=x.device, dtype=torch.int8)
    scale = torch.empty(b, heads, n, device=x.device, dtype=torch.float32)
    _round_tokens[(triton.cdiv(n, KEYS), b * heads)](
        x, offset, rounded, scale, *x.stride()[:3], factor, n, heads, D=d, TILE=KEYS, LARGEST=LARGEST_INT8
    )
    return rounded, scale


@triton.jit
def _round_tokens(
    x, offset, rounded, scale, x_batch, x_token, x_head, factor, n, heads,
    D: tl.constexpr, TILE: tl.constexpr, LARGEST: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    token = tl.program_id(0) * TILE + tl.arange(0, TILE)
    channel = tl.arange(0, D)
    inside = (token < n)[:, None]
    source = x + batch * x_batch + head * x_head + token.to(tl.int64)[:, None] * x_token + channel[None, :]
    values = tl.load(source, mask=inside, other=0.0).to(tl.float32) - tl.load(offset + pair * D + channel)[None, :]
    values = values * factor
    step = tl.maximum(tl.max(tl.abs(values), axis=1) / LARGEST, 1e-30)
    whole = values / step[:, None]
    whole = tl.floor(tl.abs(whole) + 0.5) * tl.where(whole < 0, -1.0, 1.0)
    target = (pair * n + token)[:, None] * D + channel[None, :]
    tl.store(rounded + target, whole.to(tl.int8), mask=inside)
    tl.store(scale + pair * n + token, step, mask=token < n)


@triton.jit
def _round_values(value, scale, rounded, v_batch, v_token, v_head, m, room, heads, D: tl.constexpr, TILE: tl.constexpr):
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    token = tl.program_id(0) * TILE + tl.arange(0, TILE)
    channel = tl.arange(0, D)
    source = value + batch * v_batch + head * v_head + token.to(tl.int64)[:, None] * v_token + channel[None, :]
    values = tl.load(source, mask=(token < m)[:, None], other=0.0).to(tl.float32)
    values = values / tl.load(scale + pair * D + channel)[None, :]
    target = rounded + (pair * D + channel)[:, None] * room + token[None, :]
    tl.store(target, tl.trans(values).to(tl.float8e4nv))


@triton.jit
def _attend(
    queries, query_scale, keys, key_scale, values, value_scale, result, n, m, room, heads,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, LARGEST: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column, channel = tl.arange(0, COLUMNS), tl.arange(0, D)
    q = tl.load(queries + (pair * n + row)[:, None] * D + channel[None, :], mask=(row < n)[:, None], other=0)
    q_scale = tl.load(query_scale + pair * n + row, mask=row < n, other=0.0)

    most = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, D], tl.float32)
    for start in range(0, m, COLUMNS):
        place = start + column
        k = tl.load(keys + (pair * m + place)[None, :] * D + channel[:, None], mask=(place < m)[None, :], other=0)
        k_scale = tl.load(key_scale + pair * m + place, mask=place < m, other=0.0)
        logits = tl.dot(q, k).to(tl.float32) * q_scale[:, None] * k_scale[None, :]
        logits = tl.where((place < m)[None, :], logits, float("-inf"))
        higher = tl.maximum(most, tl.max(logits, axis=1))
        weights = tl.exp2(logits - higher[:, None])
        fade = tl.exp2(most - higher)
        v = tl.load(values + (pair * D + channel)[None, :] * room + place[:, None])
        total = total * fade + tl.sum(weights, axis=1)
        sums = sums * fade[:, None] + tl.dot((weights * LARGEST).to(tl.float8e4nv), v)
        most = higher

    v_scale = tl.load(value_scale + pair * D + channel)
    sums = sums * (v_scale[None, :] / (LARGEST * total[:, None]))
    target = result + ((batch * n + row)[:, None] * heads + head) * D + channel[None, :]
    tl.store(target, sums.to(result.dtype.element_ty), mask=(row < n)[:, None])
