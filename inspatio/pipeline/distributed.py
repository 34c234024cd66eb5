"""Which of the job's processes this one is, and waiting for the others.

Under torchrun the environment says it (RANK, WORLD_SIZE, LOCAL_RANK); otherwise this process is rank 0 of 1. Sharing
clips out needs no communication: every process computes the same shares.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class ProcessGroup:
    """The ``size`` processes that work on the same items together: group ``number`` of ``count``."""

    number: int
    count: int
    size: int
    is_main: bool
    """Whether this process is the first of its group, which alone writes results."""

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This group's items; every item belongs to exactly one group."""
        return list(items[self.number :: self.count])


@dataclass(frozen=True)
class Worker:
    """This process among the ``world_size`` of a job; ``local_rank`` is its number on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Worker:
        """Read torchrun's variables; rank 0 of 1 without them."""
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        )

    def group(self, size: int = 1) -> ProcessGroup:
        """This worker's group, where consecutive ranks form groups of ``size``."""
        assert self.world_size % size == 0, f"{self.world_size} workers cannot form groups of {size}"
        return ProcessGroup(
            number=self.rank // size, count=self.world_size // size, size=size, is_main=self.rank % size == 0
        )

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1


def barrier() -> None:
    """Wait until every process of the job has called this, however long that takes."""
    import torch.distributed as dist  # here, so that the command line does not wait for it

    from inspatio.models.wan.parallel import init_process_group

    init_process_group()
    dist.barrier()


def destroy_process_group() -> None:
    """Leave the process group of this job, if there is one."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
