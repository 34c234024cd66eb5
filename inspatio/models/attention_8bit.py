"""Attention in 8 bits for the fp8 profile: logits from 8-bit integers, values in 8-bit floats, sums in float32.

    attend = attend_in_8bit(device, attend)       this kernel where it passes its gate, else ``attend`` and one line why

Queries and keys are integers of 8 bits with a scale for each token. Before, the keys' mean over all tokens is taken
off: that adds the same to all logits of a query, which softmax does not see, and leaves integers for what tells the
keys apart. Values are 8-bit floats (e4m3) with a scale for each channel; weights, 0..1 before they are normalised, are
multiplied by 448, the largest e4m3. The arithmetic is SageAttention2's (arXiv 2411.10958), with a scale for each token
in place of each block of them.

``torch.ops.inspatio.attention_8bit`` is the kernel of ``attention_8bit_kernel.py`` on NVIDIA GPUs and :func:`plain`,
the readable statement of it, elsewhere. The kernel was checked by Triton's interpreter and has not run on a GPU.
"""

from __future__ import annotations

import logging

import torch
from einops import einsum

from inspatio.models.attention import Attend, attention
from inspatio.models.compilation import why_it_fails

LARGEST_INT8 = 127
LARGEST_FP8 = torch.finfo(torch.float8_e4m3fn).max
GATE = 0.05
"""The largest error relative to plain attention, |difference| / |plain|, that is let through; on normal random values
3 bits of mantissa for values and weights come to 0.03."""
GATE_SHAPE = (1, 1024, 12, 128)
FP8_CAPABILITY = (8, 9)

_log = logging.getLogger(__name__)


def attention_8bit(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend: query ``b n h d``, key and value ``b m h d`` -> ``b n h d`` in the query's dtype. Not differentiable."""
    return torch.ops.inspatio.attention_8bit(query, key, value)


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """:func:`attention_8bit` by PyTorch's own operations, with all logits in memory at once."""
    queries, query_scale = to_int8(query.float() * query.shape[-1] ** -0.5)
    keys, key_scale = to_int8(key.float() - key.float().mean(dim=1, keepdim=True))
    logits = einsum(queries * query_scale, keys * key_scale, "b n h d, b m h d -> b h n m")
    weights = (logits - logits.amax(dim=-1, keepdim=True)).exp()
    rounded = (weights * LARGEST_FP8).to(torch.float8_e4m3fn).float() / LARGEST_FP8
    value_scale = scale_of(value.float(), 1, LARGEST_FP8)
    values = (value.float() / value_scale).to(torch.float8_e4m3fn).float() * value_scale
    sums = einsum(rounded, values, "b h n m, b m h d -> b n h d")
    return (sums / weights.sum(dim=-1).transpose(1, 2)[..., None]).to(query.dtype).contiguous()


def to_int8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round ``b n h d`` to whole numbers of 8 bits, as float32, with a scale for each token and head, ``b n h 1``."""
    scale = scale_of(x, -1, LARGEST_INT8)
    return (x / scale).round(), scale


def scale_of(x: torch.Tensor, dim: int, largest: float) -> torch.Tensor:
    """What to divide by so that the largest magnitude along ``dim`` becomes ``largest``."""
    return x.abs().amax(dim=dim, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny * largest) / largest


def attend_in_8bit(device: torch.device, attend: Attend) -> Attend:
    """:func:`attention_8bit` if it works on a device and is near enough there, else ``attend`` with a line that says
    why."""
    if reason := why_not(device):
        _log.warning("8-bit attention is not used: %s", reason)
        return attend
    return attention_8bit


def why_not(device: torch.device) -> str | None:
    """Say why 8-bit attention cannot be used on a device; None when it can, its error being below :data:`GATE`."""
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, the network runs on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        return f"it needs compute capability 8.9 or later, got {capability[0]}.{capability[1]}"
    measured: list[float] = []
    if cause := why_it_fails(lambda: measured.append(measured_error(device))):
        return f"its Triton kernel does not work here ({cause})"
    if not measured[0] <= GATE:
        return f"its error is {measured[0]:.3f} of the result on random values, expected at most {GATE:g}"
    return None


def measured_error(device: torch.device) -> float:
    """|8 bits - plain| / |plain| on a device: normal random values, a common offset of the keys, tiles not full."""
    random = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(GATE_SHAPE, generator=random).to(device, torch.bfloat16) for _ in range(3))
    key, value = (key + 4)[:, :-17], value[:, :-17]
    exact = attention(query, key, value, "math").float()
    return float((attention_8bit(query, key, value).float() - exact).norm() / exact.norm())


def by_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """:func:`attention_8bit` by its Triton kernel."""
    from inspatio.models.attention_8bit_kernel import attend

    key_mean = key.mean(dim=1, keepdim=True, dtype=torch.float32)
    with torch.cuda.device_of(query):  # Triton launches on the current GPU, wherever the tensors are
        return attend(query, key, value, key_mean, scale_of(value, 1, LARGEST_FP8).float())


_LIBRARY = torch.library.Library("inspatio", "FRAGMENT")
_LIBRARY.define("attention_8bit(Tensor query, Tensor key, Tensor value) -> Tensor")
_LIBRARY.impl("attention_8bit", plain, "CompositeExplicitAutograd")
_LIBRARY.impl("attention_8bit", by_kernel, "CUDA")
_LIBRARY.impl("attention_8bit", lambda query, _key, _value: query.new_empty(query.shape), "Meta")
