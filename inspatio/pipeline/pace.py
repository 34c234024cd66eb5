"""About how long the rest of a run takes, from the seconds that finished clips took.

Each stage counts its work in units (frames, or clips where frames do not matter), and each result keeps the seconds
it took. A stage that has not begun is reckoned by recorded results of the same kind: those of the work folder, and of
the run folders in it that were written last. Where there are none, only the rest of the running stage is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inspatio.errors import ClipError, MissingWeightsError, UserError
from inspatio.pipeline.manifest import MANIFEST_NAME, Manifest
from inspatio.pipeline.records import STAGES, StageResult
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState
from inspatio.settings import StageName

_SAME_KIND = ("backend", "size", "generator.backend", "generator.name", "generator.size", "generator.precision")
"""The inputs by which two results of a stage take about the same time for a frame: implementation, size, precision."""
_RUNS_READ = 3


@dataclass
class Work:
    """What a stage has to do in a run, or in this process's share of it."""

    clips: int
    units: int
    seconds_per_unit: float | None
    """As measured before; None where nothing like it was."""

    @classmethod
    def of(cls, stage: Stage, states: Sequence[ClipState], processes: int = 1) -> Work:
        """The work of a stage on these clips, shared by so many processes."""
        rate = _recorded_rate(stage, states[0]) if states else None
        shared = None if rate is None else rate / max(1, min(processes, len(states)))
        return cls(len(states), sum(map(stage.units, states)), shared)


class Pace:
    """Where a run is among its clips, and about how long the rest takes.

    ``ahead`` is the work of all stages of the run in their order; None in a process that knows one stage only.
    """

    def __init__(self, ahead: Mapping[StageName, Work] | None = None):
        self._ahead = None if ahead is None else dict(ahead)
        self._now = Work(0, 0, None)
        self._clips_done = self._units_done = 0
        self._seconds = 0.0
        self._processes = 1

    def start(self, stage: Stage, clips: Sequence[ClipState], processes: int = 1) -> None:
        """Begin a stage, of which so many processes do these clips."""
        for name in STAGES:
            (self._ahead or {}).pop(name, None)
            if name == stage.name:
                break
        self._now = Work.of(stage, clips, processes)
        self._processes = max(1, min(processes, len(clips)))
        self._clips_done = self._units_done = 0
        self._seconds = 0.0

    def finished(self, stage: Stage, clips: Sequence[ClipState], seconds: float) -> None:
        """Count clips that are done or have failed, and the seconds they took together."""
        self._clips_done += len(clips)
        self._units_done += sum(map(stage.units, clips))
        self._seconds += seconds / self._processes

    @property
    def place(self) -> str:
        """Such as "clip 2 of 14, about 6 min left"; without a time where nothing has been measured."""
        return ", ".join([f"clip {self._clips_done + 1} of {self._now.clips}", *self._left()])

    @property
    def rest(self) -> str:
        """Such as "; 2 of 14 clips, about 6 min left"; empty after the last clip of the last stage."""
        if self._clips_done < self._now.clips:
            return "; " + ", ".join([f"{self._clips_done} of {self._now.clips} clips", *self._left()])
        is_last = not any(work.units for work in (self._ahead or {}).values())
        return "" if is_last else "".join(f"; {text}" for text in self._left())

    def _left(self) -> list[str]:
        """The time left in words, or nothing where it cannot be told or is nothing."""
        rate = self._seconds / self._units_done if self._units_done else self._now.seconds_per_unit
        seconds = (rate or 0.0) * (self._now.units - self._units_done)
        later = [work for work in (self._ahead or {}).values() if work.units]
        rates = [work.seconds_per_unit for work in later]
        is_whole = self._ahead is not None and rate is not None and None not in rates
        if is_whole:
            seconds += sum(work.units * (work.seconds_per_unit or 0.0) for work in later)
        return [f"about {duration(seconds)} left{'' if is_whole else ' of this stage'}"] if seconds >= 0.5 else []


def duration(seconds: float) -> str:
    """A time for people, in the unit that gives one or two digits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _recorded_rate(stage: Stage, state: ClipState) -> float | None:
    """Seconds per unit of recorded results of the kind that the stage would make of a clip."""
    try:
        kind = _kind(stage.made_from(state)["inputs"])
    except (ClipError, MissingWeightsError):  # processing the clip will report it
        return None
    alike = [
        (result.seconds, getattr(result, "frame_count", 1))
        for result in _recorded(stage)
        if result.seconds is not None and _kind(result.inputs or {}) == kind
    ]
    units = sum(count for _, count in alike)
    return sum(seconds for seconds, _ in alike) / units if units else None


def _kind(inputs: Mapping[str, Any]) -> list[Any]:
    return [inputs.get(key) for key in _SAME_KIND]


def _recorded(stage: Stage) -> Iterator[StageResult]:
    """Results of a stage in the manifests of this run and of the latest runs in the same work folder."""
    field, folder = STAGES[stage.name].field, STAGES[stage.name].folder
    own = stage.workspace.folder_of(stage.name)
    yield from (getattr(state, field) for state in stage.workspace.clips if getattr(state, field))
    if folder == "work":
        return
    others = [path for path in stage.workspace.work.folder.glob(f"*/{MANIFEST_NAME}") if path.parent != own]
    for path in sorted(others, key=lambda path: path.stat().st_mtime_ns)[-_RUNS_READ:]:
        try:
            clips = Manifest.read_clips(path.parent)
        except UserError:
            continue  # another run's damaged manifest is no matter of this one
        yield from (getattr(clip, field) for clip in clips if getattr(clip, field))
