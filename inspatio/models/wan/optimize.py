"""Make a finished transformer faster: compile its layers, fuse what stands beside its products, multiply in 8 bits.

    join_projections(dit)          one product for queries, keys and values
    fuse_gelu(dit)                 the feed-forward's GELU in the product before it, on NVIDIA GPUs
    quantize_fp8(dit, device)      8-bit products
    round_attention(dit, device)   8-bit attention
    compile_blocks(dit)            last

Regional compilation: a layer is compiled as a whole and once for all layers, so warm-up does not grow with depth, and
PyTorch's cache on disk (``models/compilation.py``) makes the next run's shorter. Attention is one opaque call in the
graph; keys and values are written to the cache inside it. Four shapes occur, and each has its own graph: prefill and
denoising, with a context of one block and of two.

fp8: weights of the products that take most of the time are 8-bit floats (e4m3) with a scale for each output, and their
inputs are rounded to 8 bits with a scale for each token; PyTorch multiplies the two (``torch._scaled_mm``). The outputs
of attention and the prompt's keys and values keep their precision: the former would need a pass of their own to be
rounded, the latter are computed once. It pays only together with compilation, which fuses the rounding into what stands
before it. Self-attention, half of the work, has a kernel of its own in 8 bits (``models/attention_8bit.py``) behind a
gate for its error. None of this has run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from inspatio.errors import UsageError
from inspatio.models.attention import attention
from inspatio.models.attention_8bit import attend_in_8bit
from inspatio.models.compilation import prepare_compiler, why_it_fails
from inspatio.models.wan.dit import CausalDiT

Transformer = TypeVar("Transformer", bound=nn.Module)
"""A network whose layers are the children of its ``blocks``."""

FP8_CAPABILITY = (8, 9)
"""The first GPUs whose matrix units multiply 8-bit floats (Ada, then Hopper)."""
EXACT_PARTS = ("self_attn.o", "attn.proj", "cross_attn.k", "cross_attn.v", "cross_attn.o")
"""The linear parts of a layer that are never multiplied in 8 bits."""
_LARGEST_FP8 = torch.finfo(torch.float8_e4m3fn).max


def compile_blocks(dit: Transformer, backend: str | Callable[..., Any] = "inductor") -> Transformer:
    """Compile every layer, in place; ``backend`` is torch.compile's."""
    # The choice between attention backends asks for packages and devices, which cannot be traced. What it comes to can.
    prepare_compiler()
    torch.compiler.allow_in_graph(attention)
    for block in dit.get_submodule("blocks").children():
        block.compile(dynamic=False, backend=backend)
    return dit


def join_projections(dit: CausalDiT) -> CausalDiT:
    """Compute a layer's queries, keys and values by one product, in place; parameters keep their names and values.

    For layers that will be compiled: without compilation the norms would copy their part of the result first.
    """
    for block in dit.blocks.children():
        layer = block.self_attn
        parts = (layer.q, layer.k, layer.v)
        layer.joined_weight = torch.cat([part.weight.data for part in parts])
        layer.joined_bias = torch.cat([part.bias.data for part in parts])
        for part, weight, bias in zip(parts, layer.joined_weight.chunk(3), layer.joined_bias.chunk(3), strict=True):
            part.weight.data, part.bias.data = weight, bias
    return dit


class LinearGelu(nn.Linear):
    """A linear layer and the GELU after it in one kernel: in its tanh form on NVIDIA GPUs, by erf on CPUs."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows = torch.ops.aten._addmm_activation(self.bias, input.flatten(0, -2), self.weight.t(), use_gelu=True)
        return rows.unflatten(0, input.shape[:-1])


def fuse_gelu(dit: CausalDiT) -> CausalDiT:
    """Put the feed-forward's GELU into the product before it, in place; for NVIDIA GPUs, and without gradients.

    Parameters keep their names. Products in 8 bits are left alone, since they have no such form.
    """
    for block in dit.blocks.children():
        linear = block.ffn[0]
        if type(linear) is nn.Linear:
            with torch.device("meta"):
                fused = LinearGelu(linear.in_features, linear.out_features)
            fused.weight, fused.bias = linear.weight, linear.bias
            block.ffn[0], block.ffn[1] = fused, nn.Identity()
    return dit


class Float8Linear(nn.Module):
    """A linear layer in 8-bit floats: weights scaled for each output, inputs for each token; the sum in float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = to_fp8(linear.weight.data)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = linear.bias
        self.scale: torch.Tensor
        self.register_buffer("scale", scale.t().contiguous(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, scale = to_fp8(x.flatten(0, -2))
        product = torch.ops.aten._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale,
            bias=self.bias,
            out_dtype=x.dtype,
            use_fast_accum=True,
        )
        return product.unflatten(0, x.shape[:-1])


def to_fp8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round ``n c`` to 8-bit floats with a scale for each row: values ``n c`` and float32 scales ``n 1``."""
    exact = rows.float()
    scale = exact.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST_FP8
    return (exact / scale).clamp(-_LARGEST_FP8, _LARGEST_FP8).to(torch.float8_e4m3fn), scale


def why_no_fp8(device: torch.device) -> str | None:
    """Say why 8-bit products cannot be had on a device; None when they can."""
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, the network runs on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        name, least = torch.cuda.get_device_name(device), ".".join(map(str, FP8_CAPABILITY))
        return f"it needs compute capability {least} or later, {name} has {capability[0]}.{capability[1]}"
    with torch.no_grad():
        linear = nn.Linear(32, 32, device=device, dtype=torch.bfloat16)
        few = torch.ones(32, 32, device=device, dtype=torch.bfloat16)
        if cause := why_it_fails(lambda: Float8Linear(linear)(few)):
            return f"PyTorch {torch.__version__} does not multiply 8-bit floats here ({cause})"
    return None


def quantize_fp8(dit: Transformer, device: torch.device) -> Transformer:
    """Multiply in 8 bits in every layer of a network, in place; see :func:`rounded_parts`.

    Raises:
        UsageError: it cannot be done here; the message says why.
    """
    if reason := why_no_fp8(device):
        raise UsageError(f"precision fp8 cannot be used here: {reason}; use precision bf16")
    for block in dit.get_submodule("blocks").children():
        round_products(block)
    return dit


def round_attention(dit: CausalDiT, device: torch.device) -> CausalDiT:
    """Attend in 8 bits in every layer's self-attention, in place, where that passes its gate on the device.

    To be applied before sequence parallelism. The prompt's attention, a tenth of the work, keeps its precision.
    """
    attend = attend_in_8bit(device, next(dit.blocks.children()).cached_attention.attend)
    for block in dit.blocks.children():
        block.cached_attention.attend = attend
    return dit


def rounded_parts(block: nn.Module) -> list[str]:
    """The linear parts of a layer that are multiplied in 8 bits: all but :data:`EXACT_PARTS`."""
    return [name for name, part in block.named_modules() if type(part) is nn.Linear and name not in EXACT_PARTS]


def round_products(block: nn.Module) -> None:
    """Replace a layer's :func:`rounded_parts` by 8-bit ones."""
    for name in rounded_parts(block):
        linear = block.get_submodule(name)
        assert isinstance(linear, nn.Linear), f"{name} is {type(linear).__name__}, expected a linear layer"
        block.set_submodule(name, Float8Linear(linear))
