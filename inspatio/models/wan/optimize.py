"""Make a finished transformer faster: compile its layers, quantize its matrix products to 8 bits.

Regional compilation: a layer is compiled as a whole and once for all layers, so warm-up does not grow with depth, and
PyTorch's cache on disk (``models/compilation.py``) makes the next run's shorter. Attention is one opaque call in the
graph. Four shapes occur, and each has its own graph: prefill and denoising, with a context of one block and of two.

fp8: the linear layers of the blocks take 8-bit weights and activations scaled per row, through torchao; everything else
keeps its precision. It pays together with compilation, which fuses the scaling into what stands before it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from inspatio.errors import UsageError
from inspatio.models.attention import attention
from inspatio.models.compilation import prepare_compiler

Transformer = TypeVar("Transformer", bound=nn.Module)
"""A network whose layers are the children of its ``blocks``."""

FP8_CAPABILITY = (8, 9)
"""The first GPUs whose matrix units multiply 8-bit floats (Ada, then Hopper)."""


def compile_blocks(dit: Transformer, backend: str | Callable[..., Any] = "inductor") -> Transformer:
    """Compile every layer, in place; ``backend`` is torch.compile's."""
    # The choice between attention backends asks for packages and devices, which cannot be traced. What it comes to can.
    prepare_compiler()
    torch.compiler.allow_in_graph(attention)
    for block in dit.get_submodule("blocks").children():
        block.compile(dynamic=False, backend=backend)
    return dit


def why_no_fp8(device: torch.device) -> str | None:
    """Say why 8-bit products cannot be had on a device; None when they can."""
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, the network runs on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        name, least = torch.cuda.get_device_name(device), ".".join(map(str, FP8_CAPABILITY))
        return f"it needs compute capability {least} or later, {name} has {capability[0]}.{capability[1]}"
    if importlib.util.find_spec("torchao") is None:
        return "torchao is not installed (pip install 'inspatio[fp8]')"
    return None


def quantize_fp8(dit: Transformer, device: torch.device) -> Transformer:
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
    for block in dit.get_submodule("blocks").children():
        quantize_(block, config, filter_fn=lambda module, name: isinstance(module, nn.Linear))
    return dit
