"""Steady blocks as CUDA graphs: the host launches a prefill and a whole denoising as one piece of work each.

    loop = GraphedBlockLoop(dit, schedule, text)           in place of a BlockLoop

From the second block on, every block does the same work on the same buffers: the context has six latent frames, keys
and values stand in the clip's cache, noise and condition have fixed shapes. The second block runs as always
(compilation and the libraries prepare themselves), the third is recorded, and from there on blocks are replayed. Inputs
are copied into the buffers that were recorded, a new prompt's keys and values over the old ones. A clip records its own
graphs, since they hold the addresses of its cache.

Where recording fails, one line says why, and blocks run as without graphs. This has never run on a GPU: on a CPU, a
test holds the loop to the plain one with a recording that only calls again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

import torch

from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.models.wan.cache import CONTEXT_LATENTS, TextCache
from inspatio.models.wan.dit import CausalDiT
from inspatio.types import LatentTensor

Work: TypeAlias = Callable[[], torch.Tensor | None]
Record: TypeAlias = Callable[[Work], Work]
"""Record what some work launches, without doing it; gives what does it again, into the same results."""

_log = logging.getLogger(__name__)


class CudaRecorder:
    """Records on the current CUDA stream; all its graphs share memory, so they are replayed one after another."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        # Other threads, which read and write videos, may use CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            result = work()

        def replay() -> torch.Tensor | None:
            graph.replay()
            return result

        return replay


class Replayed:
    """A function of tensors of fixed shapes that is called once, recorded at its second call, and then replayed."""

    def __init__(self, function: Callable[..., torch.Tensor | None], record: Record) -> None:
        self._function = function
        self._record = record
        self._inputs: tuple[torch.Tensor, ...] = ()
        self._called = False
        self._replay: Work | None = None
        self.failed = False

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor | None:
        """Call, record or replay; what is returned is the caller's."""
        if not self._called or self.failed:
            self._called = True
            return self._function(*inputs)
        if self._replay is None:
            self._inputs = tuple(each.clone() for each in inputs)
            try:
                self._replay = self._record(lambda: self._function(*self._inputs))
            except RuntimeError as error:
                self.failed, self._inputs = True, ()
                _log.warning("CUDA graphs are not used: recording failed (%s)", str(error).splitlines()[0])
                return self._function(*inputs)
        for recorded, given in zip(self._inputs, inputs, strict=True):
            recorded.copy_(given)
        result = self._replay()
        return None if result is None else result.clone()


class GraphedBlockLoop(BlockLoop):
    """A block loop whose steady blocks are replayed."""

    def __init__(self, dit: CausalDiT, schedule: Schedule, text: TextCache, record: Record | None = None) -> None:
        """``record`` is :class:`CudaRecorder`'s unless given."""
        super().__init__(dit, schedule, text)
        record = record or CudaRecorder()
        self._replayed_prefill = Replayed(super()._prefill, record)
        self._replayed_denoise = Replayed(super()._denoise, record)

    def set_text(self, text: TextCache) -> None:
        """Copy another prompt's keys and values to where recorded work reads them."""
        for old, new in zip((*self.text.keys, *self.text.values), (*text.keys, *text.values), strict=True):
            old.copy_(new)

    def _prefill(self, context: LatentTensor) -> None:
        if context.shape[1] < CONTEXT_LATENTS:
            super()._prefill(context)
        else:
            self._replayed_prefill(context)

    def _denoise(self, condition: LatentTensor, noise: torch.Tensor) -> LatentTensor:
        assert self.cache is not None, "the cache holds no context: call prefill before denoise"
        if self.cache.length < CONTEXT_LATENTS * self.cache.frame_tokens:
            return super()._denoise(condition, noise)
        latents = self._replayed_denoise(condition, noise)
        assert latents is not None, "denoising gives latents"
        return latents
