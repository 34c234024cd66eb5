"""The past of a causal network: what each of its time convolutions must remember of its own input.

    tails = Tails()                    where the network computes
    tails = HostTails()                in pinned host memory between uses
    past = tails.take(slot)            None before the clip's first frame has gone through
    tails.put(slot, past)              after ``past`` was brought up to date in place

Those of the Wan VAE at 832x480 in bfloat16 are 1.0 GiB for an encoder and 1.8 GiB for the decoder, and each is used
once in every pass. :class:`HostTails` therefore keeps them on the host: while one layer computes, the next layer's is
copied to the device, on a CUDA stream of its own, and what a layer leaves is copied back on another. Results are equal.
"""

from __future__ import annotations

from functools import cache

import torch


class Tails:
    """Tails by the slot of their layer, ``b c t h w``, on the network's device."""

    def __init__(self) -> None:
        self._tails: dict[int, torch.Tensor] = {}

    def __contains__(self, slot: int) -> bool:
        return slot in self._tails

    @property
    def bytes(self) -> int:
        """Device memory held between uses."""
        return sum(tail.untyped_storage().nbytes() for tail in self._tails.values())

    def take(self, slot: int) -> torch.Tensor | None:
        """A layer's tail, to be read and changed in place; None where there is none yet."""
        return self._tails.get(slot)

    def put(self, slot: int, tail: torch.Tensor) -> None:
        """A layer's new tail."""
        self._tails[slot] = tail


class HostTails(Tails):
    """Tails that are on the device only around their use.

    The layers of a network use theirs in the order of their slots. The copies to and from a GPU have never run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._device: torch.device | None = None
        self._fetched: dict[int, tuple[torch.Tensor, torch.cuda.Event | None]] = {}
        self._stored: dict[int, torch.cuda.Event] = {}

    @property
    def bytes(self) -> int:
        return sum(tail.untyped_storage().nbytes() for tail, _ in self._fetched.values())

    def take(self, slot: int) -> torch.Tensor | None:
        if slot not in self._tails:
            return None
        if slot not in self._fetched:
            self._fetch(slot)
        tail, arrived = self._fetched.pop(slot)
        if arrived is not None:
            current = torch.cuda.current_stream(tail.device)
            current.wait_event(arrived)
            tail.record_stream(current)
        following = min((other for other in self._tails if other > slot), default=slot)
        if following not in (slot, *self._fetched):
            self._fetch(following)
        return tail

    def put(self, slot: int, tail: torch.Tensor) -> None:
        self._device = tail.device
        if slot not in self._tails:
            self._tails[slot] = _host_memory(tail)
        if tail.device.type == "cuda":
            to_host = _copy_streams(tail.device)[1]
            to_host.wait_stream(torch.cuda.current_stream(tail.device))
            with torch.cuda.stream(to_host):
                self._tails[slot].copy_(tail, non_blocking=True)
                self._stored[slot] = torch.cuda.Event()
                self._stored[slot].record(to_host)
            tail.record_stream(to_host)
        elif tail.device.type == "cpu":
            self._tails[slot].copy_(tail)

    def _fetch(self, slot: int) -> None:
        """Start copying a tail to the device, once it has been stored."""
        host, device = self._tails[slot], self._device
        assert device is not None, "a tail is stored before it is fetched"
        arrived = None
        if device.type == "cuda":
            to_device = _copy_streams(device)[0]
            to_device.wait_event(self._stored[slot])
            with torch.cuda.stream(to_device):
                tail = _room(host, device)
                tail.copy_(host, non_blocking=True)
                arrived = torch.cuda.Event()
                arrived.record(to_device)
        else:
            tail = _room(host, device)
            if device.type == "cpu":
                tail.copy_(host)
        self._fetched[slot] = (tail, arrived)


@cache
def _copy_streams(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """The streams of copies to and from a device: one pair, since cached memory belongs to the stream of its use."""
    return torch.cuda.Stream(device), torch.cuda.Stream(device)


def _room(like: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.empty(like.shape, dtype=like.dtype, device=device, memory_format=torch.channels_last_3d)


def _host_memory(tail: torch.Tensor) -> torch.Tensor:
    """Memory on the host for a tail: pinned for a GPU; for the meta device, which holds no values, one element."""
    if tail.device.type == "meta":
        return tail.new_empty(()).expand(tail.shape)
    return torch.empty_like(tail, device="cpu", pin_memory=tail.device.type == "cuda")
