"""The loop that runs a stage over the clips that need it, and what is recorded and logged of each of them."""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from inspatio.errors import ClipError, UserError
from inspatio.pipeline.log import facts, progress_bar
from inspatio.pipeline.pace import Pace
from inspatio.pipeline.plan import StagePlan, log_plan
from inspatio.pipeline.records import STAGES, StageResult
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState
from inspatio.types import Progress

_log = logging.getLogger(__name__)

Item = TypeVar("Item")


class ClipFailed(UserError):
    """Raised for the first failing clip under --fail_fast."""


class RepeatedBug(UserError):
    """Raised when the same unexpected exception has ended two clips in a row."""


@dataclass(frozen=True)
class Bug:
    """An unexpected exception that a clip has met; unlike the exception it can go from process to process."""

    place: str
    """Its type and the line that raised it, by which two are the same."""
    message: str
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> Bug:
        last = traceback.extract_tb(error.__traceback__)[-1]
        name = type(error).__name__
        text = "".join(traceback.format_exception(error))
        return cls(f"{name} at {last.filename}:{last.lineno}", f"{name}: {error}", text)


Outcome: TypeAlias = StageResult | ClipError | Bug
"""What comes of one clip in one stage."""


def run_stage(stage: Stage, plans: StagePlan, pace: Pace) -> None:
    """Run a stage in this process, over its share of the clips that ``plans`` (see ``plan.py``) say to do.

    A clip that fails is recorded with its reason and left out of the stages that follow; the others go on.

    Raises:
        ClipFailed: under --fail_fast, after the failing clip has been recorded.
        RepeatedBug: an unexpected exception that every clip is likely to meet.
        UserError: a condition that concerns every clip (missing weights, a full disk).
    """
    todo = begin_stage(stage, plans)
    if not todo:
        return
    stage.prepare(todo)
    group = stage.process_group(len(todo))
    share = group.share(todo)
    recorder = Recorder(stage, plans, pace)
    pace.start(stage, share)
    # The other processes of a group would wait for this one forever, so that an unexpected exception ends the job.
    catch_bugs, is_main = group.size == 1, group.is_main

    def process(batch: Sequence[ClipState], progress: Progress) -> None:
        recorder.starts(batch)
        started = time.perf_counter()
        outcomes = attempt(stage, batch, progress, catch_bugs=catch_bugs)
        recorder.finished(batch, outcomes, time.perf_counter() - started, write=is_main)

    if stage.batch_size == 1:
        for state in share:
            with progress_bar(state.facts.frame_count, f"{stage.name:>8}: {state.id} ({pace.place})") as progress:
                process([state], progress)
        return
    finished = 0
    with progress_bar(len(share), f"{stage.name:>8}", unit="clip") as progress:
        for batch in batches(share, stage.batch_size):
            process(batch, lambda done, _, before=finished: progress(before + done, len(share)))
            finished += len(batch)


def begin_stage(stage: Stage, plans: StagePlan) -> list[ClipState]:
    """Log what a stage is going to do, and record what it cannot; returns the clips to do."""
    if stage.job.worker.is_main:
        log_plan(stage.name, plans)
        for state in stage.workspace.clips:
            if plans[state.id].status == "missing":
                option = STAGES[stage.name].skip_option
                fault = f"{option} trusts finished results, but {stage.name} has none. Run once without {option}."
                _fail(stage, state, fault)
    return [state for state in stage.workspace.clips if plans[state.id].status == "to do"]


def attempt(
    stage: Stage, batch: Sequence[ClipState], progress: Progress, *, catch_bugs: bool = True
) -> Sequence[Outcome]:
    """Process some clips; what happens to them alone is their outcome, not an exception.

    Raises:
        UserError: a condition that concerns every clip.
    """
    try:
        return stage.process(batch, progress)
    except ClipError as error:
        return [error] * len(batch)
    except UserError:
        raise
    except Exception as error:
        if not catch_bugs:
            raise
        return [Bug.of(error)] * len(batch)


class Recorder:
    """Records and logs what comes of the clips of a stage, wherever they are processed."""

    def __init__(self, stage: Stage, plans: StagePlan, pace: Pace) -> None:
        self._stage = stage
        self._plans = plans
        self._pace = pace
        self._last_bug: str | None = None

    def starts(self, batch: Sequence[ClipState]) -> None:
        """Say that clips are going to be processed.

        Raises:
            UserError: the folder in which they are to be recorded is gone.
        """
        name = self._stage.name
        self._stage.workspace.check_folders()
        for state in batch:
            reason = self._plans[state.id].reason
            _log.debug("%8s: %s starts", name, state.id, extra=facts("start", stage=name, clip=state.id, reason=reason))

    def finished(
        self, batch: Sequence[ClipState], outcomes: Sequence[Outcome], seconds: float, *, write: bool = True
    ) -> None:
        """Record what has come of clips that took ``seconds`` together; one process of a group does (``write``).

        Raises:
            ClipFailed: under --fail_fast, after the failing clip has been recorded.
            RepeatedBug: the clips before met the same unexpected exception.
        """
        name = self._stage.name
        self._pace.finished(self._stage, batch, seconds)
        took = f"{seconds:.1f} s" + (f" for {len(batch)} clips" if len(batch) > 1 else "")
        if not write:
            return
        for state, outcome in zip(batch, self._without_bugs(batch, outcomes), strict=True):
            if isinstance(outcome, StageResult):
                timed = outcome.model_copy(update={"seconds": round(seconds / len(batch), 3)})
                self._stage.workspace.finish(state.id, name, timed)
                reason = self._plans[state.id].reason
                done = facts("done", stage=name, clip=state.id, seconds=seconds, reason=reason)
                _log.info("%8s: %s done (%s%s)", name, state.id, took, self._pace.rest, extra=done)
            else:
                _fail(self._stage, state, str(outcome))

    def _without_bugs(self, batch: Sequence[ClipState], outcomes: Sequence[Outcome]) -> list[StageResult | ClipError]:
        """The outcomes with bugs as errors of their clips; ends the run if the clips before met the same bug."""
        bug = next((outcome for outcome in outcomes if isinstance(outcome, Bug)), None)
        if bug is None:
            self._last_bug = None
            return [outcome for outcome in outcomes if not isinstance(outcome, Bug)]
        failure = ClipError(f"{bug.message} (a bug in inspatio; the traceback is in the log)")
        if bug.place != self._last_bug:
            _log.error("%s", bug.traceback)
            self._last_bug = bug.place
            return [failure] * len(batch)
        for state in batch:
            _fail(self._stage, state, str(failure))
        raise RepeatedBug(
            f"{self._stage.name}: the same bug ended two clips in a row: {bug.place}: {bug.message}. "
            "The run ends here; finished clips are kept. Please report the traceback above."
        )


def _fail(stage: Stage, state: ClipState, message: str) -> None:
    stage.workspace.fail(state.id, stage.name, message)
    failed = facts("failed", stage=stage.name, clip=state.id)
    _log.error("%8s: %s FAILED: %s", stage.name, state.id, message, extra=failed)
    if stage.job.fail_fast:
        raise ClipFailed(f"{state.id}: {message} (stopped by --fail_fast)")


def batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Split a sequence into lists of ``size``, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
