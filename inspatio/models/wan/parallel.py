"""One clip on several processes: each has a part of the tokens, and for attention a part of the heads (Ulysses).

Everything but self-attention treats tokens one by one, so a process works on its part of them. Around the attention
function an all-to-all turns "some tokens, all heads" into "all tokens, some heads" and back. The key-value cache is
kept in the second form: a process caches its heads only, and the context crosses the network once. Tokens are padded to
a multiple of the processes; padding never reaches the attention. Prompt keys and values are small and kept whole.

    group = Ulysses(dist.new_group([0, 1]))           or Ulysses() for all processes
    dit = CausalDiT(config, exchange=group)

Every process runs the whole session with the same inputs (rendering, encoding and decoding are not shared out) and gets
the same frames. Source: DeepSpeed Ulysses (arXiv 2309.14509).
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from einops import rearrange
from torch.nn import functional


class Ulysses:
    """The exchange of one group of processes; implements :class:`exchange.Exchange`."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self._size = dist.get_world_size(group)
        self._rank = dist.get_rank(group)

    @property
    def size(self) -> int:
        """How many processes share the tokens."""
        return self._size

    def split(self, tokens: torch.Tensor, dim: int) -> torch.Tensor:
        """All tokens -> this process's part of them, padded with zeros to a part of equal size."""
        return _padded(tokens, dim, self._size).chunk(self._size, dim)[self._rank]

    def join(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """``b n/size c`` parts -> all ``count`` tokens ``b n c``."""
        parts = [torch.empty_like(tokens) for _ in range(self._size)]
        dist.all_gather(parts, tokens.contiguous(), group=self._group)
        return torch.cat(parts, dim=1)[:, :count]

    def to_heads(self, x: torch.Tensor, count: int) -> torch.Tensor:
        """``b n/size h d`` -> ``b n h/size d`` with ``n = count``: the padding at the end is cut off."""
        received = self._all_to_all(rearrange(x, "b n (p h) d -> p b n h d", p=self._size))
        return rearrange(received, "p b n h d -> b (p n) h d")[:, :count]

    def to_tokens(self, x: torch.Tensor) -> torch.Tensor:
        """``b n h/size d`` -> ``b n/size h d``, padded again."""
        received = self._all_to_all(rearrange(_padded(x, 1, self._size), "b (p n) h d -> p b n h d", p=self._size))
        return rearrange(received, "p b n h d -> b n (p h) d")

    def _all_to_all(self, parts: torch.Tensor) -> torch.Tensor:
        parts = parts.contiguous()
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts, group=self._group)
        return received


def processes_per_clip(processes: int, clips: int, heads: int) -> int:
    """How many processes share a clip, so that none is idle: 1 where there are clips enough.

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
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")


def own_group(size: int) -> Ulysses:
    """This process's group, where all processes are cut into groups of ``size`` in the order of their ranks.

    Every process of the job has to call it, since making a group involves all of them.
    """
    init_process_group()
    world, rank = dist.get_world_size(), dist.get_rank()
    assert world % size == 0, f"{world} processes cannot be cut into groups of {size}"
    groups = [dist.new_group(list(range(first, first + size))) for first in range(0, world, size)]
    own = groups[rank // size]
    assert isinstance(own, dist.ProcessGroup), "a process is a member of its own group"
    return Ulysses(own)


def _padded(x: torch.Tensor, dim: int, multiple: int) -> torch.Tensor:
    missing = -x.shape[dim] % multiple
    return functional.pad(x, [0, 0] * (x.ndim - 1 - dim) + [0, missing]) if missing else x
