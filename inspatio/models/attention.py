"""Full (unmasked) attention over ``b n h d`` with a choice of backends, for every network here.

    attention(query, key, value)                      the fastest backend that fits
    attention(query, key, value, backend="sdpa")      this backend, or a :class:`UsageError` that says why not

Backends, in the order ``auto`` tries them:

    flash3   FlashAttention-3 (package ``flash_attn_interface``): half precision on Hopper GPUs
    flash2   FlashAttention-2 (package ``flash-attn``): half precision on Ampere GPUs and later
    sdpa     PyTorch's scaled_dot_product_attention; on Hopper its cuDNN kernel first
    math     softmax(q k^T / sqrt(d)) v written out, everything in float32: the reference in tests

The choice is an argument and never hidden state; the code that builds a model passes it on. The environment variable
``INSPATIO_ATTENTION`` names the backend for a whole run (:func:`attend_from_environment`).

Shapes: query ``b n h d``, key and value ``b m h d``, result ``b n h d`` in the query's dtype. Sources: FlashAttention-2
(arXiv 2307.08691), FlashAttention-3 (arXiv 2407.08608).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import cache
from typing import Literal, TypeAlias, cast, get_args

import torch
from einops import einsum
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from inspatio.errors import UsageError

Backend: TypeAlias = Literal["flash3", "flash2", "sdpa", "math"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
ENVIRONMENT_VARIABLE = "INSPATIO_ATTENTION"

Attend: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(query, key, value) -> result: what models take, so that attention can be spread over GPUs from outside them."""

_HALF = (torch.float16, torch.bfloat16)
_FLASH_MAX_HEAD = 256
_CUDNN_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: Backend | Literal["auto"] = "auto"
) -> torch.Tensor:
    """Attend: query ``b n h d``, key and value ``b m h d`` -> ``b n h d`` in the query's dtype.

    Raises:
        UsageError: the backend that was asked for cannot run here; the message says why.
    """
    if backend == "auto":
        backend = next(name for name in BACKENDS if why_not(name, query) is None)
    elif reason := why_not(backend, query):
        raise UsageError(
            f"attention backend {backend} cannot run here: {reason}. Use auto or one of {', '.join(BACKENDS)}"
        )
    return _IMPLEMENTATIONS[backend](query, key, value)


def backend_from_environment() -> Backend | Literal["auto"]:
    """Read the backend from ``INSPATIO_ATTENTION``; ``auto`` where it is not set.

    Raises:
        UsageError: it names no backend.
    """
    name = os.environ.get(ENVIRONMENT_VARIABLE, "auto")
    if name not in ("auto", *BACKENDS):
        raise UsageError(f"{ENVIRONMENT_VARIABLE}: got {name!r}, expected auto or one of {', '.join(BACKENDS)}")
    return cast("Backend | Literal['auto']", name)


def attend_from_environment() -> Attend:
    """Make the attention function of a model, with the backend that ``INSPATIO_ATTENTION`` names.

    Raises:
        UsageError: it names no backend.
    """
    backend = backend_from_environment()

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return attention(query, key, value, backend)

    return attend


def why_not(backend: Backend, query: torch.Tensor) -> str | None:
    """Say why a backend cannot take tensors such as ``query``; None when it can."""
    if backend in ("sdpa", "math"):
        return None
    package, least, most = {"flash3": ("flash_attn_interface", 9, 9), "flash2": ("flash_attn", 8, 99)}[backend]
    if query.device.type != "cuda":
        return f"it needs an NVIDIA GPU, the tensors are on {query.device.type}"
    if query.dtype not in _HALF:
        return f"it needs float16 or bfloat16, the tensors are {query.dtype}"
    if query.shape[-1] > _FLASH_MAX_HEAD or query.shape[-1] % 8:
        return f"it needs a head size of at most {_FLASH_MAX_HEAD} and a multiple of 8, got {query.shape[-1]}"
    generation = torch.cuda.get_device_capability(query.device)[0]
    if not least <= generation <= most:
        return f"it does not support GPUs of compute capability {generation}.x"
    if not _installed(package):
        return f"the package {package} is not installed"
    return None


@cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _flash3(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from flash_attn_interface import flash_attn_func  # pyright: ignore[reportMissingImports]

    result = flash_attn_func(query, key, value)
    return result[0] if isinstance(result, tuple) else result  # earlier releases return the softmax sums as well


def _flash2(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from flash_attn import flash_attn_func  # pyright: ignore[reportMissingImports]

    return flash_attn_func(query, key, value)


def _sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    if query.is_cuda and query.dtype in _HALF and torch.cuda.get_device_capability(query.device)[0] == 9:
        with sdpa_kernel(_CUDNN_FIRST, set_priority=True):
            result = scaled_dot_product_attention(q, k, v)
    else:
        result = scaled_dot_product_attention(q, k, v)
    return result.transpose(1, 2)


def _math(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    logits = einsum(query.float(), key.float(), "b n h d, b m h d -> b h n m") * query.shape[-1] ** -0.5
    result = einsum(logits.softmax(dim=-1), value.float(), "b h n m, b m h d -> b n h d")
    return result.to(query.dtype)


_IMPLEMENTATIONS: dict[Backend, Attend] = {"flash3": _flash3, "flash2": _flash2, "sdpa": _sdpa, "math": _math}
