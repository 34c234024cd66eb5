"""The loop that runs a stage over the clips that need it."""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from collections.abc import Iterator, Sequence

from inspatio.errors import ClipError, UserError
from inspatio.pipeline.distributed import ProcessGroup
from inspatio.pipeline.log import facts, progress_bar
from inspatio.pipeline.pace import Pace
from inspatio.pipeline.plan import StagePlan, log_plan
from inspatio.pipeline.records import STAGES, StageResult
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState
from inspatio.types import Progress

_log = logging.getLogger(__name__)


class ClipFailed(UserError):
    """Raised for the first failing clip under --fail_fast."""


class RepeatedBug(UserError):
    """Raised when the same unexpected exception has ended two clips in a row."""


def run_stage(stage: Stage, plans: StagePlan, pace: Pace) -> None:
    """Run a stage over this worker's share of the clips that ``plans`` (see ``plan.py``) say to do.

    A clip that fails is recorded with its reason and left out of the stages that follow; the others go on.

    Raises:
        ClipFailed: under --fail_fast, after the failing clip has been recorded.
        RepeatedBug: an unexpected exception that every clip is likely to meet.
        UserError: a condition that concerns every clip (missing weights, a full disk).
    """
    workspace = stage.workspace
    if workspace.job.worker.is_main:
        log_plan(stage.name, plans)
        for state in workspace.clips:
            if plans[state.id].status == "missing":
                option = STAGES[stage.name].skip_option
                fault = f"{option} trusts finished results, but {stage.name} has none. Run once without {option}."
                _fail(stage, state, fault)
    todo = [state for state in workspace.clips if plans[state.id].status == "to do"]
    if todo:
        stage.prepare(todo)
        _Loop(stage, stage.process_group(len(todo)), plans, pace).run(todo)


class _Loop:
    """Processes one worker's share of the clips, batch by batch."""

    def __init__(self, stage: Stage, group: ProcessGroup, plans: StagePlan, pace: Pace):
        self._stage = stage
        self._group = group
        self._plans = plans
        self._pace = pace
        self._last_bug: str | None = None

    def run(self, todo: Sequence[ClipState]) -> None:
        share, size = self._group.share(todo), self._stage.batch_size
        self._pace.start(self._stage, share)
        if size == 1:
            for state in share:
                described = f"{self._stage.name:>8}: {state.id} ({self._pace.place})"
                with progress_bar(state.facts.frame_count, described) as progress:
                    self._process([state], progress)
            return
        finished = 0
        with progress_bar(len(share), f"{self._stage.name:>8}", unit="clip") as progress:
            for batch in _batches(share, size):
                self._process(batch, lambda done, _, before=finished: progress(before + done, len(share)))
                finished += len(batch)

    def _process(self, batch: Sequence[ClipState], progress: Progress) -> None:
        name, started = self._stage.name, time.perf_counter()
        self._stage.workspace.check_folders()
        for state in batch:
            reason = self._plans[state.id].reason
            _log.debug("%8s: %s starts", name, state.id, extra=facts("start", stage=name, clip=state.id, reason=reason))
        results = self._attempt(batch, progress)
        took = time.perf_counter() - started
        self._pace.finished(self._stage, batch, took)
        seconds = f"{took:.1f} s" + (f" for {len(batch)} clips" if len(batch) > 1 else "")
        if not self._group.is_main:
            return
        for state, result in zip(batch, results, strict=True):
            if isinstance(result, StageResult):
                timed = result.model_copy(update={"seconds": round(took / len(batch), 3)})
                self._stage.workspace.finish(state.id, name, timed)
                reason = self._plans[state.id].reason
                done = facts("done", stage=name, clip=state.id, seconds=took, reason=reason)
                _log.info("%8s: %s done (%s%s)", name, state.id, seconds, self._pace.rest, extra=done)
            else:
                _fail(self._stage, state, str(result))

    def _attempt(self, batch: Sequence[ClipState], progress: Progress) -> Sequence[StageResult | ClipError]:
        try:
            results = self._stage.process(batch, progress)
        except ClipError as error:
            return [error] * len(batch)
        except UserError:
            raise
        except Exception as error:
            if self._group.size > 1:
                raise  # the other processes of the group would wait for this one forever: end the job
            return self._bug(batch, error)
        self._last_bug = None
        return results

    def _bug(self, batch: Sequence[ClipState], error: Exception) -> Sequence[ClipError]:
        """Record an unexpected exception for these clips; end the run if the clips before met the same one."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        bug = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        failure = ClipError(f"{type(error).__name__}: {error} (a bug in inspatio; the traceback is in the log)")
        if bug != self._last_bug:
            _log.error("%s", "".join(traceback.format_exception(error)))
            self._last_bug = bug
            return [failure] * len(batch)
        for state in batch:
            _fail(self._stage, state, str(failure))
        raise RepeatedBug(
            f"{self._stage.name}: the same bug ended two clips in a row: {bug}: {error}. "
            "The run ends here; finished clips are kept. Please report the traceback above."
        ) from error


def _fail(stage: Stage, state: ClipState, message: str) -> None:
    stage.workspace.fail(state.id, stage.name, message)
    failed = facts("failed", stage=stage.name, clip=state.id)
    _log.error("%8s: %s FAILED: %s", stage.name, state.id, message, extra=failed)
    if stage.job.fail_fast:
        raise ClipFailed(f"{state.id}: {message} (stopped by --fail_fast)")


def _batches(states: Sequence[ClipState], size: int) -> Iterator[list[ClipState]]:
    iterator = iter(states)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
