"""The Wan VAE's norm, and norm, SiLU and padding in time in one step: an operator with a kernel of its own on GPUs.

``torch.ops.inspatio.norm_activate_pad`` is three PyTorch kernels that move everything three times, or on GPUs the one
of ``norm_kernel.py``, whose traffic is also what the operator counts as on the meta device.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F

from inspatio.models.compilation import why_it_fails

EPS = 1e-26
"""The smallest addend that float32 does not round away next to zero: only all-zero pixels notice it."""

logger = logging.getLogger(__name__)


def rms_norm(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Divide the channels of each pixel, the last axis, by their root mean square, times ``gamma``."""
    return F.rms_norm(x, (x.shape[-1],), gamma, eps=EPS)


def norm_activate_pad(x: torch.Tensor, gamma: torch.Tensor, tail: torch.Tensor, padded: torch.Tensor) -> None:
    """Write ``tail``, then ``x`` normed and through a SiLU, into ``padded``, and the last frames of that into ``tail``.

    All ``t n c``, with ``n`` pixels to a frame whose values lie without gaps. Not differentiable.
    """
    torch.ops.inspatio.norm_activate_pad(x, gamma, tail, padded)


def plain(x: torch.Tensor, gamma: torch.Tensor, tail: torch.Tensor, padded: torch.Tensor) -> None:
    """:func:`norm_activate_pad` by PyTorch's own kernels."""
    count = tail.shape[0]
    padded[:count] = tail
    torch.ops.aten.silu.out(rms_norm(x, gamma), out=padded[count:])
    tail.copy_(padded[-count:])


def by_kernel(x: torch.Tensor, gamma: torch.Tensor, tail: torch.Tensor, padded: torch.Tensor) -> None:
    """:func:`norm_activate_pad` by its Triton kernel."""
    from inspatio.models.wan.norm_kernel import launch

    with torch.cuda.device_of(x):  # Triton launches on the current GPU, wherever the tensors are
        launch(x, gamma, tail, padded, EPS)


@functools.cache
def kernel() -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], None]:
    """:func:`by_kernel` for this process's GPUs, or :func:`plain`, with a warning that says why.

    It is compiled once here, on a few pixels, because what Triton needs (a C compiler among it) shows only then.
    """

    def trial() -> None:
        few = torch.ones(3, 4, 96, device="cuda", dtype=torch.bfloat16)
        by_kernel(few[:1], few[0, 0], few[:2].clone(), few)

    if reason := why_it_fails(trial):
        logger.warning("the norms of the Wan VAE run unfused, which is slower: no Triton kernel (%s)", reason)
        return plain
    return by_kernel


_LIBRARY = torch.library.Library("inspatio", "FRAGMENT")
_LIBRARY.define("norm_activate_pad(Tensor x, Tensor gamma, Tensor(a!) tail, Tensor(b!) padded) -> ()")
_LIBRARY.impl("norm_activate_pad", plain, "CompositeExplicitAutograd")
_LIBRARY.impl("norm_activate_pad", lambda *tensors: kernel()(*tensors), "CUDA")
_LIBRARY.impl("norm_activate_pad", lambda *tensors: None, "Meta")
