"""The interface of a stage, and the loop that runs a stage over the clips that need it."""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from inspatio.errors import ClipError, MissingWeightsError, UserError
from inspatio.pipeline.distributed import ProcessGroup
from inspatio.pipeline.log import facts, progress_bar
from inspatio.pipeline.manifest import STAGES, StageName, StageResult, fingerprint
from inspatio.pipeline.result_files import find_damage
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.types import Progress

_log = logging.getLogger(__name__)


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

    @abstractmethod
    def result(self, state: ClipState) -> StageResult | None:
        """The clip's recorded result of this stage, or None if there is none or its files are gone."""

    def damage(self, state: ClipState) -> str | None:
        """What is wrong with the files of the clip's recorded result, or None."""
        block: StageResult | None = getattr(state, STAGES[self.name].field)
        return find_damage(self.workspace.folder_of(self.name), block.files) if block and block.files else None

    @abstractmethod
    def process(self, states: Sequence[ClipState], progress: Progress) -> list[StageResult | ClipError]:
        """Make the results of up to ``batch_size`` clips, in order; ``fingerprint`` is that of ``inputs``.

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


Status = Literal["fresh", "trusted", "to do", "missing", "failed"]


def status(stage: Stage, state: ClipState) -> Status:
    """What running the stage would do with a clip."""
    job = stage.job
    if state.error:
        return "failed"
    result = None if stage.damage(state) else stage.result(state)
    if stage.name in job.skip:
        return "trusted" if result else "missing"
    if result and not job.force:
        try:
            if result.fingerprint == fingerprint(stage.inputs(state)):
                return "fresh"
        except (ClipError, MissingWeightsError):
            return "to do"  # an input is damaged or missing, which processing the clip will report
    return "to do"


def statuses(stage: Stage) -> dict[str, Status]:
    """The status of every clip, by clip id."""
    return {state.id: status(stage, state) for state in stage.workspace.clips}


def log_damage(stage: Stage, states: Sequence[ClipState]) -> None:
    """Log which results are made again because a file of theirs is damaged or missing."""
    for state in states:
        if fault := stage.damage(state):
            _log.warning("%8s: %s: %s; it is made again", stage.name, state.id, fault)


class ClipFailed(UserError):
    """Raised for the first failing clip under --fail_fast."""


class RepeatedBug(UserError):
    """Raised when the same unexpected exception has ended two clips in a row."""


def run_stage(stage: Stage, plan: Mapping[str, Status]) -> None:
    """Run a stage over this worker's share of the clips that ``plan`` (see :func:`statuses`) says to do.

    A clip that fails is recorded with its reason and left out of the stages that follow; the others go on.

    Raises:
        ClipFailed: under --fail_fast, after the failing clip has been recorded.
        RepeatedBug: an unexpected exception that every clip is likely to meet.
        UserError: a condition that concerns every clip (missing weights, a full disk).
    """
    workspace = stage.workspace
    done = sum(found in ("fresh", "trusted") for found in plan.values())
    if done and workspace.job.worker.is_main:
        _log.info("%8s: %d of %d clips are finished already", stage.name, done, len(plan))
    for state in workspace.clips:
        if plan[state.id] == "missing" and workspace.job.worker.is_main:
            option = STAGES[stage.name].skip_option
            _fail(
                stage, state, f"{option} trusts finished results, but {stage.name} has none. Run once without {option}."
            )
    todo = [state for state in workspace.clips if plan[state.id] == "to do"]
    if todo:
        if workspace.job.worker.is_main:
            log_damage(stage, todo)
        stage.prepare(todo)
        _Loop(stage, stage.process_group(len(todo))).run(todo)


class _Loop:
    """Processes one worker's share of the clips, batch by batch."""

    def __init__(self, stage: Stage, group: ProcessGroup):
        self._stage = stage
        self._group = group
        self._last_bug: str | None = None

    def run(self, todo: Sequence[ClipState]) -> None:
        share, size = self._group.share(todo), self._stage.batch_size
        pace = _Pace(share)
        if size == 1:
            for state in share:
                described = f"{self._stage.name:>8}: {state.id} ({pace.place})"
                with progress_bar(state.video.frame_count, described) as progress:
                    self._process([state], progress, pace)
            return
        finished = 0
        with progress_bar(len(share), f"{self._stage.name:>8}", unit="clip") as progress:
            for batch in _batches(share, size):
                self._process(batch, lambda done, _, before=finished: progress(before + done, len(share)), pace)
                finished += len(batch)

    def _process(self, batch: Sequence[ClipState], progress: Progress, pace: _Pace) -> None:
        name, started = self._stage.name, time.perf_counter()
        for state in batch:
            _log.debug("%8s: %s starts", name, state.id, extra=facts("start", stage=name, clip=state.id))
        results = self._attempt(batch, progress)
        took = time.perf_counter() - started
        pace.finished(batch)
        seconds = f"{took:.1f} s" + (f" for {len(batch)} clips" if len(batch) > 1 else "")
        if not self._group.is_main:
            return
        for state, result in zip(batch, results, strict=True):
            if isinstance(result, StageResult):
                self._stage.workspace.finish(state.id, name, result)
                done = facts("done", stage=name, clip=state.id, seconds=took)
                _log.info("%8s: %s done (%s%s)", name, state.id, seconds, pace.rest, extra=done)
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


class _Pace:
    """Where a stage is among its clips, and about how long the rest of the stage takes, told by frames per second."""

    def __init__(self, clips: Sequence[ClipState]):
        self._clips, self._frames = len(clips), sum(state.video.frame_count for state in clips)
        self._clips_done = self._frames_done = 0
        self._started = time.monotonic()

    def finished(self, clips: Sequence[ClipState]) -> None:
        self._clips_done += len(clips)
        self._frames_done += sum(state.video.frame_count for state in clips)

    @property
    def place(self) -> str:
        """Such as "clip 2 of 14, about 6 min left"; without a time before the first clip is done."""
        return f"clip {self._clips_done + 1} of {self._clips}{self._left}"

    @property
    def rest(self) -> str:
        """Such as "; 2 of 14 clips, about 6 min left"; empty after the last one."""
        last = self._clips_done == self._clips
        return "" if last else f"; {self._clips_done} of {self._clips} clips{self._left}"

    @property
    def _left(self) -> str:
        if not self._frames_done:
            return ""
        spent = time.monotonic() - self._started
        return f", about {duration(spent * (self._frames - self._frames_done) / self._frames_done)} left"


def duration(seconds: float) -> str:
    """A time for people, in the unit that gives one or two digits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


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
