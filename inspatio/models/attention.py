"""Full (unmasked) attention over ``b n h d`` with a choice of backends, for every network here.

    attention(query, key, value)                      the fastest backend that fits
    attention(query, key, value, backend="sdpa")      this backend, or a :class:`UsageError` that says why not

Backends, in the order ``auto`` tries them:

    flash3   FlashAttention-3 (package ``flash_attn_interface``): half precision on Hopper GPUs
    cudnn    cuDNN's fused kernel, called directly: half precision on Hopper GPUs and later
    flash2   FlashAttention-2 (package ``flash-attn``): half precision on Ampere GPUs and later
    sdpa     PyTorch's scaled_dot_product_attention, which chooses among its own kernels
    math     softmax(q k^T / sqrt(d)) v written out, everything in float32: the reference in tests

On Hopper, FlashAttention-2 is the slowest of the three fused kernels, so cuDNN comes before it. The choice is made once
for a device, a dtype and a head size (:func:`choose`), not for every call. No GPU backend has run on a GPU yet.

The backend is an argument and never hidden state; the code that builds a model passes it on. The environment variable
``INSPATIO_ATTENTION`` names the backend for a whole run (:func:`attend_from_environment`). In the fp8 profile ``auto``
also allows attention in 8 bits (``attention_8bit.py``).

Shapes: query ``b n h d``, key and value ``b m h d``, result ``b n h d`` in the query's dtype. Sources: FlashAttention-2
(arXiv 2307.08691), FlashAttention-3 (arXiv 2407.08608).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeAlias, cast, get_args

import torch
from einops import einsum
from torch.nn.functional import scaled_dot_product_attention

from inspatio.errors import UsageError

Backend: TypeAlias = Literal["flash3", "cudnn", "flash2", "sdpa", "math"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
ENVIRONMENT_VARIABLE = "INSPATIO_ATTENTION"

Attend: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(query, key, value) -> result: what models take, so that attention can be spread over GPUs from outside them."""

_HALF = (torch.float16, torch.bfloat16)
_log = logging.getLogger(__name__)


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: Backend | Literal["auto"] = "auto"
) -> torch.Tensor:
    """Attend: query ``b n h d``, key and value ``b m h d`` -> ``b n h d`` in the query's dtype.

    Raises:
        UsageError: the backend that was asked for cannot run here; the message says why.
    """
    chosen = choose(backend, query.device, query.dtype, query.shape[-1])
    return _IMPLEMENTATIONS[chosen](query, key, value)


@cache
def choose(backend: Backend | Literal["auto"], device: torch.device, dtype: torch.dtype, head_size: int) -> Backend:
    """Choose the backend for tensors on a device, once; ``auto`` takes the first that fits.

    Raises:
        UsageError: the backend that was asked for cannot run here; the message says why.
    """
    if backend == "auto":
        backend = next(name for name in BACKENDS if why_not(name, device, dtype, head_size) is None)
        if device.type == "cuda":
            _log.info("attention on %s in %s, heads of %d: %s", device, dtype, head_size, backend)
    elif reason := why_not(backend, device, dtype, head_size):
        raise UsageError(
            f"attention backend {backend} cannot run here: {reason}. Use auto or one of {', '.join(BACKENDS)}"
        )
    return backend


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


def why_not(backend: Backend, device: torch.device, dtype: torch.dtype, head_size: int) -> str | None:
    """Say why a backend cannot take such tensors; None when it can."""
    if backend in ("sdpa", "math"):
        return None
    package, least, most, largest_head = {
        "flash3": ("flash_attn_interface", 9, 9, 256),
        "cudnn": (None, 9, 99, 128),
        "flash2": ("flash_attn", 8, 99, 256),
    }[backend]
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, the tensors are on {device.type}"
    if dtype not in _HALF:
        return f"it needs float16 or bfloat16, the tensors are {dtype}"
    if head_size > largest_head or head_size % 8:
        return f"it needs a head size of at most {largest_head} and a multiple of 8, got {head_size}"
    generation = torch.cuda.get_device_capability(device)[0]
    if not least <= generation <= most:
        return f"it is not used on GPUs of compute capability {generation}.x"
    if package is None:
        return None if torch.backends.cudnn.is_available() else "this PyTorch has no cuDNN"
    found = load_package(package)
    return found if isinstance(found, str) else None


@cache
def load_package(name: str) -> Any:
    """Import an optional package, once; return it, or a sentence (str) that says why it cannot be used.

    That a package is there does not mean that it loads: its compiled part may be for another PyTorch or CUDA.
    """
    if importlib.util.find_spec(name) is None:
        return f"the package {name} is not installed"
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = (
            f"the package {name} is installed but does not load with PyTorch {torch.__version__} ({cause}); "
            "install its build for this PyTorch, or uninstall it"
        )
        _log.warning("%s", reason)
        return reason


def _flash3(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    result = load_package("flash_attn_interface").flash_attn_func(query, key, value)
    return result[0] if isinstance(result, tuple) else result  # earlier releases return the softmax sums as well


def _flash2(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return load_package("flash_attn").flash_attn_func(query, key, value)


def cudnn_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend by cuDNN's kernel or not at all."""
    # The operator itself: sdpa_kernel() costs the host some 20 us a call, and with a list of kernels it would take
    # another one than cuDNN's without saying so.
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    for_backward = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    result = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, for_backward, 0.0, False, False)
    return result[0].transpose(1, 2)


def _sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2)


def _math(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    logits = einsum(query.float(), key.float(), "b n h d, b m h d -> b h n m") * query.shape[-1] ** -0.5
    result = einsum(logits.softmax(dim=-1), value.float(), "b h n m, b m h d -> b n h d")
    return result.to(query.dtype)


_IMPLEMENTATIONS: dict[Backend, Attend] = {
    "flash3": _flash3,
    "cudnn": cudnn_attention,
    "flash2": _flash2,
    "sdpa": _sdpa,
    "math": _math,
}
