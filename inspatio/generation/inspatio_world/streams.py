"""Work that may go on side by side: on a GPU every lane has a CUDA stream of its own, elsewhere things happen in order.

    with denoise.after(encode, using=(latents,)):
        ...                                     enqueued behind what encode has been given so far

The results are the same either way: a lane waits for those it comes after, and a tensor that was made in one lane and
is read in another is not given back to the allocator before it has been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class Lane:
    """One sequence of work on a device."""

    def __init__(self, device: torch.device, *, apart: bool) -> None:
        """``apart``: on a stream of its own (CUDA only), which starts behind what the current stream has to do."""
        self._stream = torch.cuda.Stream(device) if apart and device.type == "cuda" else None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))

    @contextmanager
    def after(self, *others: Lane, using: Sequence[torch.Tensor] = ()) -> Iterator[None]:
        """What is started inside runs in this lane, behind everything in ``others``, and may read ``using``."""
        if self._stream is None:
            yield
            return
        for other in others:
            if other._stream is not None:
                self._stream.wait_stream(other._stream)
        for tensor in using:
            tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield

    def hand_over(self, tensor: torch.Tensor) -> torch.Tensor:
        """A result of this lane, safe to read on the caller's stream, which waits for the lane to come so far."""
        if self._stream is not None:
            current = torch.cuda.current_stream(tensor.device)
            current.wait_stream(self._stream)
            tensor.record_stream(current)
        return tensor
