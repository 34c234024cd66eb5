"""Run stages over all clips, one stage after the other, so that every model is loaded once.

An engine (``engines/``) processes the clips of a stage; preparing, planning and recording are here, in one process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from inspatio.config import DEFAULT_PROFILE, PREVIEW_PROFILE
from inspatio.errors import UserError
from inspatio.export.result_file import write_result
from inspatio.locations import download_command
from inspatio.models.checkpoints import require
from inspatio.pipeline.disk import log_disk_use
from inspatio.pipeline.distributed import Worker, barrier, destroy_process_group
from inspatio.pipeline.engines.engine import Engine
from inspatio.pipeline.engines.local import LocalEngine
from inspatio.pipeline.job import RUN_SUBFOLDERS, WORK_SUBFOLDERS, Job
from inspatio.pipeline.log import facts, shortened
from inspatio.pipeline.loop import run_stage
from inspatio.pipeline.pace import Pace, Work
from inspatio.pipeline.plan import StagePlan, log_plan, plan_run, plan_stage, weights_required
from inspatio.pipeline.records import STAGES
from inspatio.pipeline.run_record import check_run, record_run
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.stages import make_stage
from inspatio.pipeline.workers import ends_with_starter, wait_for_workers, working_in
from inspatio.pipeline.workspace import PROBE, ClipState, Workspace
from inspatio.settings import StageName
from inspatio.storage import folder_lock, remove_temporary

_log = logging.getLogger(__name__)

READING = ".reading.lock"
"""The lock of a work folder that runs share while they read it, and that is held alone to replace what they read."""


def make_engine(job: Job, command_line: Sequence[str]) -> Engine:
    """What processes the clips of a job (--engine); its own processes get the ``command_line``."""
    match job.engine:
        case "local":
            return LocalEngine(job, command_line)
        case "ray":
            from inspatio.pipeline.engines.ray_cluster import RayEngine  # here: its extra may not be installed

            return RayEngine(job)


def run(job: Job, stages: Sequence[StageName], command_line: Sequence[str]) -> int:
    """Run some stages of a job, in order; workers get its ``command_line`` (command and options) too.

    Returns:
        The exit code: 0 all clips done, 1 some failed.

    Raises:
        UserError: the run cannot go on (see the message); what was finished is kept.
    """
    if job.dry_run:
        return _print_plan(job, stages)
    if job.worker_stage is not None:
        # A stage of the work folder must not see what an earlier run of this trajectory recorded.
        visible = job if STAGES[job.worker_stage].folder == "run" else replace(job, run_folder=None)
        with ends_with_starter():
            _work(visible, [job.worker_stage])
        destroy_process_group()
        return 0
    require(job.profile, weights_required(job, stages))
    if not job.worker.is_alone:
        return _run_together(job, _in_order(job, stages))
    in_work: list[StageName] = [name for name in stages if STAGES[name].folder == "work"]
    in_run: list[StageName] = [name for name in _in_order(job, stages) if STAGES[name].folder == "run"]
    with ExitStack() as locks:
        _lock_run_folder(job, in_run, locks)
        engine = locks.enter_context(make_engine(job, command_line))  # ends before the locks are dropped
        with ExitStack() as work_lock:
            workspace = _prepare_work_folder(job, in_run, work_lock)
            pace = _look_ahead(workspace, [*in_work, *in_run], engine)
            for name in in_work:
                _run(name, workspace, engine, pace)
            if in_run:
                # Before the work folder's lock is dropped: from then on another run may want to replace geometry.
                reading = folder_lock(job.work_folder, wait=True, notice=_log.info, name=READING, shared=True)
                locks.enter_context(reading)
        if in_run:
            record_run(workspace, in_run)
            workspace.save("run")
            for name in in_run:
                _run(name, workspace, engine, pace)
    workspace.check_folders()
    return _conclude(workspace, stages)


def _in_order(job: Job, stages: Sequence[StageName]) -> list[StageName]:
    """The stages that a run goes through: those whose results are trusted too, unless nothing follows them."""
    return [name for name in stages if STAGES[name].folder == "work" or name not in job.skip]


def _look_ahead(workspace: Workspace, stages: Sequence[StageName], engine: Engine) -> Pace:
    """Log the disk that the run needs; returns its pace, which knows the work of all stages."""
    built = [make_stage(name, workspace) for name in stages]
    todo = _todo(built, plan_run(built))
    log_disk_use(todo)
    return Pace({name: Work.of(*work, engine.processes(name) if work[1] else 1) for name, work in todo.items()})


def _todo(
    stages: Sequence[Stage], plans: Mapping[StageName, StagePlan]
) -> dict[StageName, tuple[Stage, list[ClipState]]]:
    """Each stage with the clips that it has to do."""
    return {
        stage.name: (stage, [s for s in stage.workspace.clips if plans[stage.name][s.id].status == "to do"])
        for stage in stages
    }


def _run_together(job: Job, stages: Sequence[StageName]) -> int:
    """Run a job that the user started with torchrun (perhaps on several machines): rank 0 prepares and merges.

    Both barriers of a stage are needed: no process may plan a stage before the results of the one before are merged,
    and they cannot be merged before every process has written its own.
    """
    workspace = None
    with ExitStack() as locks:
        if job.worker.is_main:
            alone = replace(job, worker=Worker())
            in_run: list[StageName] = [name for name in stages if STAGES[name].folder == "run"]
            _lock_run_folder(alone, in_run, locks)
            workspace = _prepare_work_folder(alone, in_run, locks)
            record_run(workspace, in_run)
            if workspace.run is not None:
                workspace.save("run")
        for name in stages:
            with ExitStack() as writing:
                if workspace is not None:
                    stage = make_stage(name, workspace)
                    _wait_for_readers(stage, plan_stage(stage), writing)
                barrier()
                _work(job, [name])
                barrier()
            if workspace is not None:
                workspace.fold(STAGES[name].folder)
                _end(make_stage(name, workspace))
    destroy_process_group()
    return _conclude(workspace, stages) if workspace is not None else 0


def _lock_run_folder(job: Job, stages: Sequence[StageName], locks: ExitStack) -> None:
    """Lock the run folder, if any stage writes there, and remove what a killed run left."""
    if stages:
        assert job.run_folder is not None, f"{stages} need a run folder"
        locks.enter_context(folder_lock(job.run_folder, wait=False, notice=_log.info))
        wait_for_workers(job.run_folder)
        for folder in (job.run_folder, *(job.run_folder / name for name in RUN_SUBFOLDERS)):
            remove_temporary(folder)


def _wait_for_readers(stage: Stage, plan: StagePlan, writing: ExitStack) -> None:
    """Wait until no other run reads the work folder, if the stage is going to replace geometry that is there.

    A run keeps :data:`READING` while it renders and generates, when it has dropped the folder's lock, so that runs of
    several trajectories go on side by side. It would otherwise record results of the new geometry as those of the old.
    """
    if any(plan[state.id].status == "to do" and stage.replaces(state) for state in stage.workspace.clips):
        work_folder = stage.job.work_folder
        writing.enter_context(folder_lock(work_folder, wait=True, notice=_log.info, name=READING))


def _prepare_work_folder(job: Job, in_run: Sequence[StageName], locks: ExitStack) -> Workspace:
    """Lock the work folder, remove what a killed run left, and record what is in the input folder.

    ``in_run`` are the stages of the run folder that are going to run there, if they may (:func:`check_run`).

    All trajectories share it: if another run is preparing it, waiting for that run saves doing the work twice.
    """
    locks.enter_context(folder_lock(job.work_folder, wait=True, notice=_log.info))
    wait_for_workers(job.work_folder)
    for folder in ("", *WORK_SUBFOLDERS):
        remove_temporary(job.work_folder / folder)
    workspace = Workspace.open(job)
    check_run(workspace, in_run)
    workspace.save("work")
    _introduce(job, workspace)
    return workspace


def _work(job: Job, stages: Sequence[StageName]) -> None:
    """Do this worker's part of stages that another process has prepared."""
    workspace = Workspace.open(job)
    for name in stages:
        stage = make_stage(name, workspace)
        with ExitStack() as locks:
            locks.enter_context(working_in(workspace.folder_of(name)))
            if STAGES[name].folder == "run":
                reading = folder_lock(job.work_folder, wait=True, notice=_log.info, name=READING, shared=True)
                locks.enter_context(reading)
            run_stage(stage, plan_stage(stage), Pace())


def _run(name: StageName, workspace: Workspace, engine: Engine, pace: Pace) -> None:
    """Plan one stage, wait for what it needs, run it and what follows for all clips."""
    stage = make_stage(name, workspace)
    plan = plan_stage(stage)
    with ExitStack() as writing:
        _wait_for_readers(stage, plan, writing)
        engine.run(stage, plan, pace)
    workspace.fold(STAGES[name].folder)
    _end(stage)


def _end(stage: Stage) -> None:
    """Do what a stage does once for all clips that it has finished."""
    stage.conclude([state for state in stage.workspace.clips if not state.error])


def _introduce(job: Job, workspace: Workspace) -> None:
    """Log what is run, and the clips that cannot be opened."""
    height, width = job.profile.size
    target = f" -> {job.run_folder}" if job.run_folder else ""
    clips = f"{job.input} ({len(workspace.clips)} clips)"
    chosen = "" if job.profile_name or job.config_path else " (chosen by the weights that are there)"
    _log.info(
        "inspatio: profile %s%s at %dx%d, %s%s",
        job.profile.name,
        chosen,
        width,
        height,
        clips,
        target,
        extra=facts("run"),
    )
    if chosen and job.profile.name == PREVIEW_PROFILE:
        _log.info(
            "  a preview without any network: profile %s needs a GPU, and weights that are not there", DEFAULT_PROFILE
        )
        _log.info("  to get them: %s   (says sizes and licences first)", download_command("--profile", DEFAULT_PROFILE))
    reasons: dict[str, list[str]] = {}
    for each in workspace.inputs.left_out:
        reasons.setdefault(each.reason, []).append(each.path.name)
    for reason, names in reasons.items():
        _log.info("%8s: left out, %s: %s", "note", reason, shortened(names))
    for state in workspace.clips:
        if state.error and state.error.stage == PROBE:
            failed = facts("failed", stage=PROBE, clip=state.id)
            _log.error("%8s: %s FAILED: %s", PROBE, state.id, state.error.message, extra=failed)
            if job.fail_fast:
                raise UserError(f"{state.id}: {state.error.message} (stopped by --fail_fast)")


def _conclude(workspace: Workspace, stages: Sequence[StageName]) -> int:
    """Log results and notes of all clips; returns the exit code."""
    good = [state for state in workspace.clips if not state.error]
    notes: dict[str, list[str]] = {}
    for state in good:
        blocks = [state.geometry if "geometry" in stages or "render" in stages else None]
        blocks += [state.render if "render" in stages else None]
        blocks += [state.output if "generate" in stages else None]
        for note in [note for block in blocks if block for note in block.notes]:
            notes.setdefault(note, []).append(state.id)
        if "generate" in stages and state.output and workspace.run:
            result = workspace.run.folder / state.output.video
            _log.info("%8s: %s", "result", result, extra=facts("result", stage="generate", clip=state.id))
            if workspace.job.result is not None:
                write_result(result, workspace.job.result)
    for note, clip_ids in notes.items():
        _log.info("%8s: %s: %s", "note", shortened(clip_ids), note)
    for state in workspace.failed:
        if state.error:
            _log.error("%8s: %s (%s): %s", "failed", state.id, state.error.stage, state.error.message)
    _log.info("inspatio: %d of %d clips done", len(good), len(workspace.clips), extra=facts("finished"))
    return 1 if workspace.failed else 0


def _print_plan(job: Job, stages: Sequence[StageName]) -> int:
    """Log what each stage would do with every clip, and why (--dry_run). Writes nothing.

    Raises:
        UserError: what would end the run itself before it begins.
    """
    workspace = Workspace.open(job)
    _introduce(job, workspace)
    built = [make_stage(name, workspace) for name in _in_order(job, stages)]
    plans = plan_run(built)
    for name, plan in plans.items():
        log_plan(name, plan, is_first_look=True)
    log_disk_use(_todo(built, plans), always=True)
    in_run: list[StageName] = [name for name in plans if STAGES[name].folder == "run"]
    check_run(workspace, in_run)
    require(job.profile, weights_required(job, stages))
    stopped = any(plan.status in ("missing", "failed") for each in plans.values() for plan in each.values())
    return 1 if stopped else 0
