"""Count what a GPU would do, without one: networks run on torch's meta device, and every operation is looked at.

    counter = Counter()
    with torch.no_grad(), counter:
        counter.measure(decoder.decode, latents, state)
    counter.total

Rules. An operation whose result is no view of its input is one kernel. Bytes are those that a kernel reads and writes,
each tensor once. What a convolution does beside multiplying is counted as PyTorch does it with cuDNN: input or weight
that is not in the common memory format is copied first (the format is channels-last where either of them is), the
result is in that format, and a bias is added by a kernel of its own. The traffic of the products themselves
(convolutions, matrix products, attention) is not counted. What a GPU refuses is refused here too, which the meta device
alone would let pass: operations on tensors of the host and of the device, numbers aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inspatio.generation.inspatio_world.memory_estimate import convolution_layout

aten = torch.ops.aten

CONVOLUTIONS = {aten.convolution.default}
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten._addmm_activation, aten.matmul, aten.linear}
COPIES = {aten.copy_, aten._to_copy, aten.clone, aten.cat, aten.stack, aten.constant_pad_nd, aten.repeat}
"""Operations that only move data, conversions between precisions included."""
BETWEEN_DEVICES = {aten.copy_, aten._to_copy}
"""Operations whose tensors may be on different devices."""
FREE = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.detach, aten.lift_fresh, aten.set_}
"""Operations that launch nothing."""
SYNCS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero, aten.equal}
"""Operations after which the host waits for the device."""


READ_AND_WRITTEN = {f"aten::{name}_" for name in ("add", "sub", "mul", "div", "relu", "silu", "clamp", "tanh", "round")}
"""Operations in place that read what they write."""
READ_AND_WRITTEN_ARGUMENTS = {"inspatio::norm_activate_pad": "tail"}
"""Operations of our own, with the argument that they both read and write."""
ONE_KERNEL = {functional.rms_norm, functional.layer_norm}
"""Functions that are one kernel on a GPU (rms_norm from PyTorch 2.9 on) and several on the meta device."""
ATTENTION = {functional.scaled_dot_product_attention}


@dataclass
class Counts:
    """What some work does on a device; bytes are exact, and those of products are not among them."""

    kernels: int = 0
    element_wise_bytes: int = 0
    """Read and written by everything that is no product, ``copy_bytes`` included."""
    copy_bytes: int = 0
    """Of those, by operations that only move data, and by conversions of memory formats within convolutions."""
    bias_bytes: int = 0
    """Read and written by the kernels that add convolutions' biases; not in ``element_wise_bytes``."""
    convolutions: int = 0
    converted_convolutions: int = 0
    """Convolutions whose input had to be copied into another memory format."""
    host_syncs: int = 0
    """Waits of the host: values it asks for, and copies from its pageable memory."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def summary(self) -> dict[str, Any]:
        """JSON values; bytes in units of 10^9."""
        return {
            f.name.replace("_bytes", "_gb"): round(getattr(self, f.name) / 1e9, 2)
            if f.name.endswith("_bytes")
            else getattr(self, f.name)
            for f in fields(self)
        }


class Counter(TorchDispatchMode):
    """While it is entered, counts what operations on the meta device do; under ``torch.no_grad``, since inference mode
    hides what composite operations are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.total = Counts()
        self._hidden = 0
        self._calls = _Calls(self)

    def __enter__(self) -> Any:
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._calls.__exit__(*exception)

    def measure(self, work: Callable[..., Any], *arguments: Any) -> Counts:
        """What ``work`` does."""
        before, self.total = self.total, Counts()
        work(*arguments)
        done, self.total = self.total, before + self.total
        return done

    def as_one_kernel(self, work: Callable[[], Any], moved: Sequence[Any], *, product: bool = False) -> Any:
        """Count ``work`` as one kernel that moves its results and each of the tensors in ``moved`` once."""
        self._hidden += 1
        try:
            result = work()
        finally:
            self._hidden -= 1
        tensors = [leaf for leaf in tree_leaves((list(moved), result)) if isinstance(leaf, torch.Tensor)]
        if not self._hidden:
            self._kernel(0 if product else sum(_bytes([tensor]) for tensor in tensors))
        return result

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        places = {tensor.device for tensor in inputs if tensor.ndim or tensor.device.type == "meta"}
        if len(places) > 1 and packet not in BETWEEN_DEVICES:
            raise RuntimeError(f"{func} on tensors of {' and '.join(sorted(map(str, places)))}, which a GPU refuses")
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        on_device = any(tensor.device.type == "meta" for tensor in (*inputs, *outputs))
        copied_over = packet in COPIES and len({tensor.device for tensor in (*inputs, *outputs)}) > 1
        self.total.host_syncs += on_device and (packet in SYNCS or copied_over)
        if self._hidden or packet in FREE or not on_device or _is_view(func, inputs, outputs):
            return result
        if func in CONVOLUTIONS:
            return self._convolution(args, result)
        if packet in PRODUCTS:
            self._kernel(0)
            return result
        written_again = outputs if func._schema.name in READ_AND_WRITTEN else []
        if argument := READ_AND_WRITTEN_ARGUMENTS.get(func._schema.name):
            names = [each.name for each in func._schema.arguments]
            written_again = [args[names.index(argument)]]
        self._kernel(_bytes([*inputs, *outputs]) + _bytes(written_again), copy=packet in COPIES)
        return result

    def _kernel(self, moved: int, *, copy: bool = False) -> None:
        self.total.kernels += 1
        self.total.element_wise_bytes += moved
        self.total.copy_bytes += moved if copy else 0

    def _convolution(self, args: Any, result: torch.Tensor) -> torch.Tensor:
        source, weight, bias = args[:3]
        wanted = convolution_layout(source, weight)
        for tensor in (source, weight):
            if not tensor.is_contiguous(memory_format=wanted):
                self._kernel(2 * _bytes([tensor]), copy=True)
        self.total.converted_convolutions += not source.is_contiguous(memory_format=wanted)
        self.total.convolutions += 1
        self.total.kernels += 1
        if bias is not None:
            self.total.kernels += 1
            self.total.bias_bytes += 2 * _bytes([result])
        return torch.empty(result.shape, dtype=result.dtype, device=result.device, memory_format=wanted)


class _Calls(TorchFunctionMode):
    """Sees calls before PyTorch takes them apart."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in ONE_KERNEL or func in ATTENTION:
            read = tree_leaves((args, kwargs))
            return self._counter.as_one_kernel(lambda: func(*args, **kwargs), read, product=func in ATTENTION)
        result = func(*args, **kwargs)
        if func is torch.tensor and result.device.type == "meta":
            self._counter.total.host_syncs += 1  # values of the host's pageable memory
        return result


def _is_view(func: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> bool:
    """Whether an operation only looks at its input in another way."""
    if func._schema.is_mutable or not outputs:
        return False
    storages = {id(tensor.untyped_storage()) for tensor in inputs}
    return all(id(tensor.untyped_storage()) in storages for tensor in outputs)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of tensors on the device, each once; of what is broadcast, what is there."""
    seen: dict[Any, int] = {}
    for tensor in tensors:
        if tensor.device.type == "meta":
            counts = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
            key = (id(tensor.untyped_storage()), tensor.storage_offset(), tensor.shape, tensor.stride())
            seen[key] = math.prod(counts) * tensor.dtype.itemsize
    return sum(seen.values())
