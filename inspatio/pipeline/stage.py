"""The interface of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from inspatio.errors import ClipError
from inspatio.pipeline.distributed import ProcessGroup
from inspatio.pipeline.fingerprints import fingerprint
from inspatio.pipeline.reasons import flatten
from inspatio.pipeline.records import STAGES, StageResult
from inspatio.pipeline.result_files import find_damage
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.settings import StageName
from inspatio.types import Progress


class Stage(ABC):
    """One step of the pipeline for one job. Constructing it is cheap: models load when the first clip needs them."""

    name: ClassVar[StageName]
    batch_size: int = 1
    """How many clips are processed at once."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.job = workspace.job

    @abstractmethod
    def inputs(self, state: ClipState) -> dict[str, Any]:
        """Everything that this clip's result is made from, as JSON values: the stage's version, the fingerprints of
        earlier results, options, weights."""

    def made_from(self, state: ClipState) -> dict[str, Any]:
        """The fields of a result that say what it is made from: ``fingerprint`` and ``inputs``.

        Ask before anything is read: where a file changes meanwhile, the result then counts as out of date.
        """
        inputs = self.inputs(state)
        return {"fingerprint": fingerprint(inputs), "inputs": flatten(inputs)}

    def expected(self, state: ClipState) -> StageResult | None:
        """What later stages need to know of the result before it is made, to tell what they will do; None: cannot be
        told."""
        return StageResult(**self.made_from(state))

    @abstractmethod
    def result(self, state: ClipState) -> StageResult | None:
        """The clip's recorded result of this stage, or None if there is none or its files are gone."""

    def units(self, state: ClipState) -> int:
        """How much work the clip is for this stage, as its ``progress`` counts it; for estimates only."""
        return state.facts.frame_count

    def damage(self, state: ClipState) -> str | None:
        """What is wrong with the files of the clip's recorded result, or None."""
        block = self.recorded(state)
        return find_damage(self.workspace.folder_of(self.name), block.files) if block and block.files else None

    def recorded(self, state: ClipState) -> StageResult | None:
        """The clip's recorded result of this stage, whether or not its files are there."""
        return getattr(state, STAGES[self.name].field)

    @abstractmethod
    def process(self, states: Sequence[ClipState], progress: Progress) -> list[StageResult | ClipError]:
        """Make the results of up to ``batch_size`` clips, in order.

        ``progress`` counts frames, or clips where ``batch_size`` is more than 1.
        """

    def prepare(self, states: Sequence[ClipState]) -> None:  # noqa: B027  most stages have nothing to prepare
        """Do what is needed once before these clips are shared out among the workers and processed."""

    def conclude(self, states: Sequence[ClipState]) -> None:  # noqa: B027  most stages have nothing to add
        """Do what follows for all finished clips at the end, including those that an earlier run finished."""

    def replaces(self, state: ClipState) -> bool:
        """Whether processing the clip would replace files in the work folder that another run may be reading."""
        return False

    def process_group(self, clips: int) -> ProcessGroup:
        """The processes that share one clip with this one; by default each clip has one process."""
        return self.job.worker.group()
