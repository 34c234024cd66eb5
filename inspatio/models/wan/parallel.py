"""Sequence parallelism: one clip on several processes, each with a part of the tokens (DeepSpeed Ulysses).

    group = clip_process_group(2)                     every process of the job calls it
    parallelize(dit, group)                           after offload, before compilation

All but self-attention treats tokens one by one, so a process works on its part of them. Around self-attention an
all-to-all turns "some tokens, all heads" into "all tokens, some heads" and back. The key-value cache is kept in the
second form: a process caches its heads only, and the context crosses the network once. Tokens are padded to a multiple
of the processes; padding never reaches the attention. Prompt keys and values are small and kept whole.

Every process runs the whole session with the same inputs (rendering, encoding and decoding are not shared out) and gets
the same frames. Source: DeepSpeed Ulysses (arXiv 2309.14509).
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from inspatio.errors import UsageError
from inspatio.models.wan.cache import LayerCache, Rotary
from inspatio.models.wan.dit import CachedAttention, CausalDiT

JOB_TIMEOUT = timedelta(hours=24)
"""How long a process waits for the others of its job. Shares of clips are unequal, and the default (10 minutes with
NCCL, 30 with gloo) would end the job while the longest clip is still being generated."""
CLIP_TIMEOUT = timedelta(hours=1)
"""How long the processes that share a clip wait for each other. They work in step, but one may have to compile first or
to wait for a slow disk, for longer than the default."""


def parallelize(dit: CausalDiT, group: dist.ProcessGroup) -> CausalDiT:
    """Share a network's tokens out over the processes of a group, in place; caches made from here on hold the
    process's own heads.

    Raises:
        UsageError: the heads cannot be shared equally.
    """
    sequence = Sequence(group)
    if dit.config.num_heads % sequence.size:
        raise UsageError(
            f"{sequence.size} processes cannot share {dit.config.num_heads} attention heads: expected a number of "
            "processes per clip that divides them. Start another number of processes"
        )
    dit.blocks.register_forward_pre_hook(sequence.split_inputs)
    dit.blocks.register_forward_hook(sequence.gather_output)
    for block in dit.blocks.children():
        block.cached_attention = UlyssesAttention(block.cached_attention, sequence)
    return dit


class Sequence:
    """How the tokens of the running pass are spread over a process group."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self._rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self.count = 0
        """Tokens of the running pass in all processes, without padding."""

    def split_inputs(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Forward pre-hook of the layers: keep this process's part of the tokens and of their positions."""
        x, modulation, rotary, text, cache = inputs
        self.count = x.shape[1]
        part = Rotary(self._part(rotary.cos, dim=0), self._part(rotary.sin, dim=0))
        return self._part(x, dim=1), modulation, part, text, cache

    def gather_output(self, module: nn.Module, inputs: tuple[Any, ...], x: torch.Tensor) -> torch.Tensor:
        """Forward hook of the layers: ``b n/size c`` parts -> all tokens ``b n c``."""
        parts = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(parts, x.contiguous(), group=self._group)
        return torch.cat(parts, dim=1)[:, : self.count]

    def to_heads(self, x: torch.Tensor) -> torch.Tensor:
        """``b n/size h d`` -> ``b n h/size d``; the padding at the end is cut off."""
        received = self._all_to_all(rearrange(x, "b n (p h) d -> p b n h d", p=self.size))
        return rearrange(received, "p b n h d -> b (p n) h d")[:, : self.count]

    def to_tokens(self, x: torch.Tensor) -> torch.Tensor:
        """``b n h/size d`` -> ``b n/size h d``, padded again."""
        received = self._all_to_all(rearrange(_padded(x, 1, self.size), "b (p n) h d -> p b n h d", p=self.size))
        return rearrange(received, "p b n h d -> b n (p h) d")

    def _part(self, x: torch.Tensor, dim: int) -> torch.Tensor:
        return _padded(x, dim, self.size).chunk(self.size, dim)[self._rank]

    def _all_to_all(self, parts: torch.Tensor) -> torch.Tensor:
        parts = parts.contiguous()
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts, group=self._group)
        return received


class UlyssesAttention(CachedAttention):
    """Cached self-attention over all tokens and this process's heads, for queries of this process's tokens."""

    def __init__(self, inner: CachedAttention, sequence: Sequence) -> None:
        super().__init__(inner.heads // sequence.size, inner.attend)
        self.sequence = sequence

    # Collectives stay outside compiled graphs: one break per layer.
    @torch.compiler.disable
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - what the decorator returns has no type
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: LayerCache
    ) -> torch.Tensor:
        q, k, v = (self.sequence.to_heads(x) for x in (q, k, v))
        return self.sequence.to_tokens(super().forward(q, k, v, cache))


def processes_per_clip(processes: int, clips: int, heads: int) -> int:
    """Choose how many processes share a clip, so that none is idle: 1 where there are clips enough.

    The largest number that divides both the processes and the attention heads and leaves a group for every clip.
    """
    most = max(1, processes // max(1, clips))
    return max(size for size in range(1, most + 1) if processes % size == 0 and heads % size == 0)


def init_process_group() -> None:
    """Make the default process group of a job under torchrun, unless there is one: gloo, and NCCL between GPUs."""
    if dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=JOB_TIMEOUT)
    else:
        dist.init_process_group("gloo", timeout=JOB_TIMEOUT)


def clip_process_group(size: int) -> dist.ProcessGroup:
    """Cut all processes into groups of ``size`` in the order of their ranks; return this process's own.

    Every process of the job has to call it, since making a group involves all of them.
    """
    init_process_group()
    world, rank = dist.get_world_size(), dist.get_rank()
    assert world % size == 0, f"{world} processes cannot be cut into groups of {size}"
    groups = [dist.new_group(list(range(first, first + size)), timeout=CLIP_TIMEOUT) for first in range(0, world, size)]
    own = groups[rank // size]
    assert isinstance(own, dist.ProcessGroup), "a process is a member of its own group"
    return own


def _padded(x: torch.Tensor, dim: int, multiple: int) -> torch.Tensor:
    missing = -x.shape[dim] % multiple
    return F.pad(x, [0, 0] * (x.ndim - 1 - dim) + [0, missing]) if missing else x
