"""What a stage is, and the one loop that runs every stage over the clips: skip what is fresh, record what is
finished or failed, go on.
"""

from __future__ import annotations

import itertools
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from inspatio.errors import ClipError, MissingWeightsError, UserError
from inspatio.pipeline.distributed import Crew
from inspatio.pipeline.log import bar, say
from inspatio.pipeline.manifest import fingerprint
from inspatio.pipeline.workspace import Block, ClipState, Workspace

StageName = Literal["caption", "geometry", "render", "generate"]

Report = Callable[[int, int], None]
"""Called with (frames done, frames in all) of the clip at hand."""


class Stage(ABC):
    """One step of the pipeline for one job. Making it is cheap: models load when the first clip needs them."""

    name: ClassVar[StageName]
    in_work: ClassVar[bool]
    """Whether its block belongs to the work folder (independent of the trajectory) or to the run folder."""
    batch_size: int = 1

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.job = workspace.job

    @abstractmethod
    def inputs(self, state: ClipState) -> dict[str, Any]:
        """Everything this clip's block is made from, as JSON values: the stage's version, earlier blocks'
        fingerprints, options, weights."""

    @abstractmethod
    def block(self, state: ClipState) -> Block | None:
        """The clip's block of this stage, where its files are there too."""

    @abstractmethod
    def process(self, states: Sequence[ClipState], report: Report) -> list[Block | ClipError]:
        """The blocks of up to ``batch_size`` clips; their ``fingerprint`` is that of ``inputs``."""

    def prepare(self, states: Sequence[ClipState]) -> None:  # noqa: B027  most stages have nothing to prepare
        """What is done once for all clips to do, before they are shared out."""

    def conclude(self, states: Sequence[ClipState]) -> None:  # noqa: B027  most stages have nothing to add
        """What is done for all finished clips at the end, also for those that were finished before."""

    def crew(self, clips: int) -> Crew:
        """Who works with this process on the same clip; by default everybody works alone."""
        return self.job.worker.crew()


Status = Literal["fresh", "trusted", "to do", "missing", "failed"]


def status(stage: Stage, state: ClipState, workspace: Workspace) -> Status:
    """What running the stage would do with a clip."""
    job = workspace.job
    if state.error:
        return "failed"
    block = stage.block(state)
    if stage.name in job.skip:
        return "trusted" if block else "missing"
    if block and not job.force:
        try:
            if block.fingerprint == fingerprint(stage.inputs(state)):
                return "fresh"
        except (ClipError, MissingWeightsError):
            return "to do"  # what it is made from is broken or not there, which processing it will say
    return "to do"


SKIP_OPTIONS = {"caption": "--skip_step1", "geometry": "--skip_step2", "generate": "--skip_step3"}


class ClipFailed(UserError):
    """Raised for the first failing clip under --fail_fast."""


def run_stage(stage: Stage, workspace: Workspace) -> None:
    """Run a stage over this worker's share of the clips that need it.

    A clip that fails is recorded with its reason and left out of the stages that follow; the others go on.

    Raises:
        ClipFailed: under --fail_fast, after the failing clip has been recorded.
        UserError: something that concerns every clip (missing weights, a full disk).
    """
    todo, done = [], 0
    for state in workspace.clips:
        match status(stage, state, workspace):
            case "to do":
                todo.append(state)
            case "fresh" | "trusted":
                done += 1
            case "missing":
                option = SKIP_OPTIONS[stage.name]
                message = (
                    f"{option} trusts what is there, but there is no {stage.name} result; run once without {option}"
                )
                _fail(stage, state, message, workspace)
            case "failed":
                pass
    if done and workspace.job.worker.is_main:
        say(f"{stage.name:>8}: {done} of {len(workspace.clips)} clips are finished already")
    if todo:
        stage.prepare(todo)
        _process(stage, workspace, todo)


def _process(stage: Stage, workspace: Workspace, todo: Sequence[ClipState]) -> None:
    """This worker's share of what is to do."""
    crew = stage.crew(len(todo))
    for batch in _batches(crew.share(todo), stage.batch_size):
        begun = time.perf_counter()
        names = ", ".join(state.id for state in batch)
        with bar(sum(state.video.frame_count for state in batch), f"{stage.name:>8}: {names}") as progress:

            def report(done: int, total: int) -> None:
                progress.total = total
                progress.update(done - progress.n)

            results = _attempt(stage, batch, report, crew)
        if not crew.is_lead:
            continue
        for state, result in zip(batch, results, strict=True):
            if isinstance(result, ClipError):
                _fail(stage, state, str(result), workspace)
            else:
                workspace.finish(state.id, result)
                say(f"{stage.name:>8}: {state.id} done ({time.perf_counter() - begun:.1f} s)")


def _attempt(stage: Stage, batch: Sequence[ClipState], report: Report, crew: Crew) -> Sequence[Block | ClipError]:
    try:
        return stage.process(batch, report)
    except ClipError as error:
        return [error] * len(batch)
    except UserError:
        raise
    except Exception as error:
        if crew.size > 1:
            raise  # the others of the crew would wait for this one for ever: the job ends, and says so
        say(traceback.format_exc())
        return [ClipError(f"{type(error).__name__}: {error} (a bug: please report the traceback above)")] * len(batch)


def _fail(stage: Stage, state: ClipState, message: str, workspace: Workspace) -> None:
    workspace.fail(state.id, stage.name, message, in_work=stage.in_work)
    say(f"{stage.name:>8}: {state.id} FAILED: {message}")
    if workspace.job.fail_fast:
        raise ClipFailed(f"{state.id}: {message} (stopped by --fail_fast)")


def _batches(states: Sequence[ClipState], size: int) -> Iterator[list[ClipState]]:
    iterator = iter(states)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
