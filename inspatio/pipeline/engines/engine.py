"""The interface of an engine: where the clips of a stage are processed."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

import inspatio
from inspatio.pipeline.job import Job
from inspatio.pipeline.pace import Pace
from inspatio.pipeline.plan import StagePlan
from inspatio.pipeline.stage import Stage
from inspatio.settings import StageName


class Engine(ABC):
    """Processes the clips of one stage after the other; a context manager, at whose end nothing of it goes on.

    Results do not depend on the engine. Only the process that has the engine writes manifests.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    @abstractmethod
    def processes(self, stage: StageName) -> int:
        """How many processes share the clips of a stage, for estimates; asked only where there are clips to do."""

    @abstractmethod
    def run(self, stage: Stage, plan: StagePlan, pace: Pace) -> None:
        """Process the clips that a plan says to do, as :func:`inspatio.pipeline.loop.run_stage` does.

        Raises:
            UserError: the stage cannot go on; what was finished is kept.
        """

    def close(self) -> None:  # noqa: B027  not every engine has something to end
        """End the processes that it has started, and remove what they leave."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def same_code() -> dict[str, str]:
    """The variables by which another process imports this one's package, even where its folder has another."""
    here = str(Path(inspatio.__file__).resolve().parents[1])
    search_path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([here, *([search_path] if search_path else [])]), "PYTHONSAFEPATH": "1"}
