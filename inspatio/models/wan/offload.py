"""A network larger than the GPU's memory: its layers stay on the host and visit the device in turn.

Two layers' worth of device memory take turns: while one computes, the next layer's weights are copied into the other
from pinned memory, on a stream of its own. Where a layer's copy takes no longer than its work, nothing is lost by it.
All that is not a layer (embeddings, time, head) and every layer's small modulation live on the device.

    dit.place(torch.device("cpu"), dtype)
    offload_layers(dit, device)                    from here on the network computes on the device

What the autoencoders remember of a clip is as large (1 GB in each direction at 832x480 for Wan's) and idle most of the
time: :func:`resident` has it on the device only while it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from inspatio.models.wan.dit import Block, CausalDiT


def offload_layers(dit: CausalDiT, device: torch.device) -> None:
    """Keep a network's layers on the host, where they are now, and fetch each one when its turn comes."""
    for name, parameter in dit.named_parameters():
        if not name.startswith("blocks.") or name.endswith(".modulation"):
            parameter.data = parameter.data.to(device)
        elif device.type == "cuda":
            parameter.data = parameter.data.pin_memory()
    dit.walk = _Visits(dit, device).walk


@contextmanager
def resident(state: object, device: torch.device) -> Iterator[None]:
    """An autoencoder's state is on the device inside, and on the host outside."""
    _move(state, device)
    yield
    _move(state, torch.device("cpu"))


def release_unused(device: torch.device) -> None:
    """Hand memory that no tensor uses back to the GPU, so that pieces too small for the next part can be joined."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _move(state: object, device: torch.device) -> None:
    """Every tensor in a state's fields, alone or in a dict."""
    for name, value in vars(state).items():
        if isinstance(value, torch.Tensor | dict):
            setattr(state, name, _moved(value, device))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


@dataclass
class _Slot:
    """Device memory for one layer; ``layer`` is the number of the one whose weights it holds or is about to hold."""

    block: Block
    layer: int
    copied: torch.cuda.Event | None
    computed: torch.cuda.Event | None


class _Visits:
    """Hands the layers out in order, each complete on the device, one fetched ahead; round and round."""

    def __init__(self, dit: CausalDiT, device: torch.device) -> None:
        self._layers = list(dit.blocks)
        self._device = device
        on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None
        self._slots: list[_Slot] = []
        for _ in range(2):
            with torch.device("meta"):
                block = Block(dit.config)
            block.to(dit.dtype).to_empty(device=device).requires_grad_(False)
            events = (torch.cuda.Event(), torch.cuda.Event()) if on_gpu else (None, None)
            self._slots.append(_Slot(block, -1, *events))

    def walk(self) -> Iterator[Block]:
        """The layers from the first to the last; a layer's weights hold until the next one is asked for."""
        ahead, behind = self._slots
        if ahead.layer != 0:
            self._fetch(0, ahead)
        for layer in range(len(self._layers)):
            self._fetch((layer + 1) % len(self._layers), behind)
            if ahead.copied is not None:
                torch.cuda.current_stream(self._device).wait_event(ahead.copied)
            yield ahead.block
            if ahead.computed is not None:
                ahead.computed.record(torch.cuda.current_stream(self._device))
            ahead, behind = behind, ahead
            self._slots = [ahead, behind]

    def _fetch(self, layer: int, slot: _Slot) -> None:
        """Start copying a layer's weights into a slot, once what was computed with the last ones is done."""
        slot.layer = layer
        held = dict(self._layers[layer].named_parameters())
        pairs = [(target, held[name]) for name, target in slot.block.named_parameters() if name != "modulation"]
        if self._stream is None or slot.computed is None or slot.copied is None:
            for target, source in pairs:
                target.data.copy_(source)
            return
        self._stream.wait_event(slot.computed)
        with torch.cuda.stream(self._stream):
            for target, source in pairs:
                target.data.copy_(source, non_blocking=True)
            slot.copied.record(self._stream)
