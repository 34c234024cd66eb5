"""Run a network that is larger than the GPU's memory: layers stay on the host and are on the device in their turn.

Two buffers of one layer's size take turns on the device: while one layer computes, the next layer's weights are copied
into the other buffer from pinned memory, on a CUDA stream of their own. Where a layer's copy takes no longer than its
work, nothing is lost by it. All that is not a layer (embeddings, time, head) and every layer's small modulation stay on
the device.

    dit.place(torch.device("cpu"), dtype)
    offload_blocks(dit, device)                    from here on the network computes on the device

What the Wan VAE remembers of a clip rests on the host anyway (``tails.py``); TAEHV's 0.16 GiB at 832x480 stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from inspatio.models.wan.dit import Block, Blocks
from inspatio.models.wan.optimize import Transformer

STAYS = ("modulation", "scale_shift_table")
"""The parameters of a layer that stay on the device: what the time is added to, for all layers at once."""


def offload_blocks(dit: Transformer, device: torch.device) -> Transformer:
    """Keep a network's layers on the host, where they are now, and all else on the device; in place.

    To be applied before sequence parallelism and compilation.
    """
    for name, parameter in dit.named_parameters():
        if not name.startswith("blocks.") or name.endswith(STAYS):
            parameter.data = parameter.data.to(device)
        elif device.type == "cuda":
            parameter.data = parameter.data.pin_memory()
    dit.set_submodule("blocks", OffloadedBlocks(dit.get_submodule("blocks").children(), device))
    return dit


def release_unused(device: torch.device) -> None:
    """Hand memory that no tensor uses back to the GPU, so that pieces too small for the next part can be joined."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@dataclass
class _Buffer:
    """Device memory for one layer's parameters by name; ``layer`` is the one they belong to, -1 for none."""

    tensors: dict[str, torch.Tensor]
    layer: int
    copied: torch.cuda.Event | None
    computed: torch.cuda.Event | None


class OffloadedBlocks(Blocks):
    """Layers whose weights are on the device while iteration is at them, the next layer's copied meanwhile.

    Only iteration fetches; ``children()`` and ``parameters()`` give the layers as they are on the host.
    """

    def __init__(self, blocks: Iterable[nn.Module], device: torch.device) -> None:
        super().__init__(blocks)
        self._device = device
        self._host = [{name: p.data for name, p in block.named_parameters()} for block in self.children()]
        self._on_device: int | None = None
        on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None
        if self._stream is not None:  # memory that buffers get may still be read by what the caller has launched
            self._stream.wait_stream(torch.cuda.current_stream(device))
        self._device_buffers: list[_Buffer] = []
        for _ in range(2):
            tensors = {
                name: torch.empty_like(tensor, device=device)
                for name, tensor in self._host[0].items()
                if name not in STAYS
            }
            events = (torch.cuda.Event(), torch.cuda.Event()) if on_gpu else (None, None)
            self._device_buffers.append(_Buffer(tensors, -1, *events))

    def __iter__(self) -> Iterator[Block]:
        """The layers from the first to the last; a layer's weights are on the device until the next is asked for."""
        layers = list(self.children())
        self._put_back()  # the layer at which an exception ended the last pass
        current, following = self._device_buffers
        if current.layer != 0:
            self._fetch(0, current)
        for index, layer in enumerate(layers):
            self._fetch((index + 1) % len(layers), following)
            if current.copied is not None:
                torch.cuda.current_stream(self._device).wait_event(current.copied)
            self._on_device = index
            _set_weights(layer, current.tensors)
            yield layer
            self._put_back()
            if current.computed is not None:
                current.computed.record(torch.cuda.current_stream(self._device))
            current, following = following, current
            self._device_buffers = [current, following]

    def _put_back(self) -> None:
        """Give the layer that is on the device its own weights on the host again."""
        if self._on_device is not None:
            _set_weights(self[self._on_device], self._host[self._on_device])
            self._on_device = None

    def _fetch(self, index: int, buffer: _Buffer) -> None:
        """Start copying a layer's weights into a buffer, once what was computed with the last ones is done."""
        buffer.layer = index
        pairs = [(target, self._host[index][name]) for name, target in buffer.tensors.items()]
        if self._stream is None or buffer.computed is None or buffer.copied is None:
            for target, source in pairs:
                target.copy_(source)
            return
        self._stream.wait_event(buffer.computed)
        with torch.cuda.stream(self._stream):
            for target, source in pairs:
                target.copy_(source, non_blocking=True)
            buffer.copied.record(self._stream)


def _set_weights(layer: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    parameters = dict(layer.named_parameters())
    for name, tensor in tensors.items():
        parameters[name].data = tensor
