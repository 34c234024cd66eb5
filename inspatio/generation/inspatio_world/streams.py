"""CUDA streams, so that encoding, denoising and decoding overlap; without a GPU everything runs in order.

    with denoising.run_after(encoding, reads=(latents,)):
        ...                                     enqueued behind what the encoding stream has been given so far

The results are the same either way: a stream waits for those it comes after, and ``record_stream`` keeps a tensor that
another stream reads from being given back to the allocator before it has been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch


class CudaStream:
    """A CUDA stream of its own, or the caller's order of execution where there is none."""

    def __init__(self, device: torch.device, *, overlap: bool) -> None:
        """Without ``overlap``, or on another device than a GPU, work runs where the caller is. A stream starts behind
        what the current one has been given."""
        self._stream = torch.cuda.Stream(device) if overlap and device.type == "cuda" else None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))

    @contextmanager
    def run_after(self, *others: CudaStream, reads: Sequence[torch.Tensor] = ()) -> Iterator[None]:
        """Enqueue the work inside on this stream, behind everything in ``others``; it may read ``reads``."""
        if self._stream is None:
            yield
            return
        for other in others:
            if other._stream is not None:
                self._stream.wait_stream(other._stream)
        for tensor in reads:
            tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield

    def to_current(self, tensor: torch.Tensor) -> torch.Tensor:
        """Make a result of this stream safe to read on the caller's, which waits for it."""
        if self._stream is not None:
            current = torch.cuda.current_stream(tensor.device)
            current.wait_stream(self._stream)
            tensor.record_stream(current)
        return tensor


@dataclass(frozen=True)
class GeneratorStreams:
    """The streams of one generator, which all of its sessions use.

    They are made once, because memory that PyTorch has cached belongs to the stream it was used on: with streams of
    their own, sessions one after another would each leave gigabytes that only the thirty-third could use again.
    """

    encoding: CudaStream
    denoising: CudaStream
    decoding: CudaStream

    @classmethod
    def make(cls, device: torch.device, *, overlap: bool) -> GeneratorStreams:
        encoding, denoising, decoding = (CudaStream(device, overlap=overlap) for _ in range(3))
        return cls(encoding, denoising, decoding)
