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

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This worker's part of the items: every item has exactly one worker."""
        return list(items[self.rank :: self.world_size])
