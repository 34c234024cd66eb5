"""Which of several processes this one is.

Under torchrun, RANK, WORLD_SIZE and LOCAL_RANK say it; alone, this process is number 0 of 1. Nothing here makes a
process group: sharing clips out needs none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

LOCK_HELD = "INSPATIO_LOCK_HELD"
"""Set in the environment of workers that a run starts: it has prepared and locked the folders on their behalf."""


@dataclass(frozen=True)
class Crew:
    """The ``size`` workers that do the same items together: crew ``number`` of ``count``. Only its lead records."""

    number: int
    count: int
    size: int
    is_lead: bool

    def share(self, items: Sequence[Item]) -> list[Item]:
        """The crew's part of the items: every item has exactly one crew."""
        return list(items[self.number :: self.count])


@dataclass(frozen=True)
class Worker:
    """This process among the ``world_size`` of a job; ``local_rank`` is its number on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Worker:
        """As torchrun says, or the only one."""
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        )

    def crew(self, size: int = 1) -> Crew:
        """This worker's crew, where all workers form crews of ``size`` in the order of their ranks."""
        assert self.world_size % size == 0, f"{self.world_size} workers cannot form crews of {size}"
        return Crew(number=self.rank // size, count=self.world_size // size, size=size, is_lead=self.rank % size == 0)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1


def barrier() -> None:
    """Wait until all processes of the job are here."""
    import torch.distributed as dist  # here, so that the command line does not wait for it

    from inspatio.models.wan.parallel import init_process_group

    init_process_group()
    dist.barrier()


def destroy_process_group() -> None:
    """Leave the process group, where one was made."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
