"""What makes the same network faster: its repeated layer compiled, its matrix products in 8 bits.

Regional compilation: the pieces of a layer are compiled once and serve all layers, so warm-up does not grow with depth,
and PyTorch's own cache on disk (TORCHINDUCTOR_CACHE_DIR) makes the next run's shorter. Attention, cache and whatever
spreads them over processes lie between the pieces and stay as they are.

fp8: the linear layers of the blocks take 8-bit weights and activations scaled per row, through torchao; everything else
keeps its precision. It pays together with compilation, which fuses the scaling into what stands before it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from inspatio.errors import UsageError
from inspatio.models.wan.dit import CausalDiT

FP8_CAPABILITY = (8, 9)
"""The first GPUs whose matrix units multiply 8-bit floats (Ada, then Hopper)."""


def compile_layers(dit: CausalDiT, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the pieces of every layer that ``dit.walk`` hands out; ``backend`` is torch.compile's."""
    # Shapes are few and fixed (tokens of a block, of a context of one block and of two), so each gets its own code.
    walked = {id(block): block for block in dit.walk()}
    for block in walked.values():
        for piece in ("project", "project_context", "ask_text", "finish"):
            setattr(block, piece, torch.compile(getattr(block, piece), dynamic=False, backend=backend))


def why_no_fp8(device: torch.device) -> str | None:
    """Why 8-bit products cannot be had on a device; None when they can."""
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, the network runs on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        name, least = torch.cuda.get_device_name(device), ".".join(map(str, FP8_CAPABILITY))
        return f"it needs compute capability {least} or later, {name} has {capability[0]}.{capability[1]}"
    if importlib.util.find_spec("torchao") is None:
        return "torchao is not installed (pip install 'inspatio[fp8]')"
    return None


def quantise_fp8(dit: CausalDiT, device: torch.device) -> None:
    """Replace the weights of the layers' linear parts by 8-bit ones, in place.

    Raises:
        UsageError: it cannot be done here; the message says why.
    """
    if reason := why_no_fp8(device):
        raise UsageError(f"precision fp8 cannot be used here: {reason}; use precision bf16")
    from torchao.quantization import (  # pyright: ignore[reportMissingImports]
        Float8DynamicActivationFloat8WeightConfig,
        PerRow,
        quantize_,
    )

    # torchao's settings for the compiler would search for the fastest kernels, which takes minutes of warm-up.
    config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
    for block in dit.blocks:
        quantize_(block, config, filter_fn=lambda module, name: isinstance(module, nn.Linear))
