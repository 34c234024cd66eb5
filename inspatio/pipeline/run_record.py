"""One run folder holds the results of one trajectory and one set of options; its manifest has both by value.

A run with others is refused with every difference named, unless --force asks to replace the results. A trajectory that
was edited in place is no refusal: who tunes a path by hand expects the next run to follow it, so that run says what
changed in the file and makes the results again. New clips, prompts and sources are no difference.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from inspatio import factory
from inspatio.errors import UserError
from inspatio.pipeline.job import Job
from inspatio.pipeline.log import shortened
from inspatio.pipeline.manifest import relative
from inspatio.pipeline.reasons import option_changes
from inspatio.pipeline.records import STAGES, TrajectoryRecord
from inspatio.pipeline.scenes import trajectory_inputs
from inspatio.pipeline.workspace import Workspace
from inspatio.settings import StageName

MAX_TEXT = 10_000
"""Characters of a trajectory that are recorded; of a longer one only the number of lines is."""
MAX_LINE = 40
"""Characters of a line that a message shows."""

_log = logging.getLogger(__name__)


def check_run(workspace: Workspace, stages: Sequence[StageName]) -> None:
    """Check that these stages do not replace or mix results of other options or another trajectory.

    Raises:
        UserError: they would, and --force is not given; or they would read renders of others.
    """
    job, run = workspace.job, workspace.run
    if run is None or run.made_with is None or not stages:
        return
    now = run_options(job)
    finished = {name: [clip.id for clip in run.clips if getattr(clip, STAGES[name].field)] for name in STAGES}
    # The results of stages after the last one are neither read nor replaced.
    concerned: list[StageName] = [name for name in now if finished[name] and _place(name) <= _place(stages[-1])]
    found = {name: option_changes(name, run.made_with.get(name, {}), now[name]) for name in concerned}
    if "render" in concerned and run.trajectory is not None:
        path = trajectory_record(job, run.folder)
        difference = _difference(run.trajectory, path)
        if difference and path.file == run.trajectory.file and "render" in stages:
            clips = finished["render"]
            _log.warning("%8s: %s; made again: %s", "render", difference, shortened(clips))
        elif difference:
            found["render"].append(difference)
    differences = "; ".join(each for several in found.values() for each in several)
    fault = f"{run.folder}: holds results that were made otherwise: {differences}."
    if found.get("render") and "render" not in stages:
        raise UserError(f"{fault} Run the render stage first, or give what it was given.")
    if differences and not job.force:
        raise UserError(
            f"{fault} Choose another --output_folder, or replace them with --force "
            "(and --skip_step1 --skip_step2 to keep captions and geometry)."
        )


def record_run(workspace: Workspace, stages: Sequence[StageName]) -> None:
    """Record what these stages make their results with; the manifest is written with its next record."""
    job, run = workspace.job, workspace.run
    if run is None or not stages:
        return
    made_with: dict[StageName, dict[str, Any]] = {**(run.made_with or {})}
    made_with |= {name: options for name, options in run_options(job).items() if name in stages}
    trajectory = trajectory_record(job, run.folder) if "render" in stages else run.trajectory
    run.describe_run(made_with, trajectory)


def run_options(job: Job) -> dict[StageName, dict[str, Any]]:
    """The options that results in the run folder depend on, by stage and name, as JSON values."""
    view = {name: value for name, value in trajectory_inputs(job).items() if name != "trajectory"}
    return {
        "render": {**view, "turn": job.turn, "backend": job.profile.render.backend},
        "generate": {**factory.generator_settings(job.profile.generator), "seed": job.seed},
    }


def trajectory_record(job: Job, folder: Path) -> TrajectoryRecord:
    """The job's trajectory, as the manifest in ``folder`` keeps it."""
    named = job.named
    assert named is not None, "a run without a trajectory"
    try:
        text = named.files[0].read_text(encoding="utf-8") if named.is_file else named.text
    except UnicodeDecodeError:  # arrays, or a binary glTF
        text = ""
    return TrajectoryRecord(
        file=relative(named.files[0], folder) if named.is_file else named.text,
        fingerprint=trajectory_inputs(job)["trajectory"],
        line_count=len(text.splitlines()),
        text=text if 0 < len(text) <= MAX_TEXT else None,
    )


def _place(stage: StageName) -> int:
    return list(STAGES).index(stage)


def _difference(old: TrajectoryRecord, new: TrajectoryRecord) -> str | None:
    """What differs between two trajectories in words; None where they are equal."""
    if old.fingerprint == new.fingerprint:
        return None
    names = dict.fromkeys(Path(each.file).name for each in (old, new))
    shown = f"trajectory {' and '.join(names)}"
    if old.text is None or new.text is None:
        if old.line_count != new.line_count:
            return f"{shown}: {old.line_count} lines there, {new.line_count} lines here"
        return f"{shown}: other numbers"
    lines = list(enumerate(zip_longest(old.text.splitlines(), new.text.splitlines()), 1))
    different = [(number, before, after) for number, (before, after) in lines if before != after]
    if not different:
        return f"{shown}: other line ends"
    # Numbers tell more than remarks do.
    different = [each for each in different if _numbers(each[1]) != _numbers(each[2])] or different
    number, before, after = different[0]
    more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
    return f"{shown}: line {number} is {_shown(before)} there, {_shown(after)} here{more}"


def _numbers(line: str | None) -> list[str]:
    return (line or "").partition("#")[0].split()


def _shown(line: str | None) -> str:
    if line is None:
        return "missing"
    return repr(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}...")
