"""The whole pipeline: plan, then stage by stage over all clips, so that every model is loaded once.

A stage with several GPUs or processes is run by torchrun as ``python -m inspatio <stage>``; its workers write
part manifests that are merged here. Everything else runs in this process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from inspatio.errors import UserError
from inspatio.models.checkpoints import require
from inspatio.pipeline.caption import CaptionStage
from inspatio.pipeline.distributed import LOCK_HELD, Worker, barrier, destroy_process_group
from inspatio.pipeline.generate import GenerateStage
from inspatio.pipeline.geometry import GeometryStage
from inspatio.pipeline.job import Job
from inspatio.pipeline.lock import folder_lock
from inspatio.pipeline.log import say
from inspatio.pipeline.render import RenderStage
from inspatio.pipeline.stage import Stage, StageName, run_stage, status
from inspatio.pipeline.workspace import PROBE, Workspace
from inspatio.storage import sweep

WORK_STAGES: tuple[StageName, ...] = ("caption", "geometry")
RUN_STAGES: tuple[StageName, ...] = ("render", "generate")
STAGES = (*WORK_STAGES, *RUN_STAGES)


def make_stage(name: StageName, workspace: Workspace) -> Stage:
    """A stage for the clips of a workspace."""
    match name:
        case "caption":
            return CaptionStage(workspace)
        case "geometry":
            return GeometryStage(workspace)
        case "render":
            return RenderStage(workspace)
        case "generate":
            return GenerateStage(workspace)


def run(job: Job, stages: Sequence[StageName], options: Sequence[str]) -> int:
    """Run some stages of a job, in order; ``options`` are its command line, repeated to workers.

    Returns:
        The exit code: 0 all clips done, 1 some failed.

    Raises:
        UserError: nothing can go on (see the message); what was finished is kept.
    """
    if job.dry_run:
        return _print_plan(job, stages)
    if LOCK_HELD in os.environ:
        _work(job, stages)
        destroy_process_group()
        return 0
    # A caption that the user gives needs no captioner; whether every clip has one is not known before it is opened.
    required = set(stages) - job.skip - ({"caption"} if job.caption is not None else set())
    require(job.profile, required)
    in_work: list[StageName] = [stage for stage in WORK_STAGES if stage in stages]
    in_run: list[StageName] = [stage for stage in RUN_STAGES if stage in stages and stage not in job.skip]
    if not job.worker.is_alone:
        return _run_together(job, [*in_work, *in_run])
    with ExitStack() as locks:
        _take_run_folder(job, in_run, locks)
        with ExitStack() as work_lock:
            workspace = _take_work_folder(job, work_lock)
            for stage in in_work:
                _run(stage, workspace, options)
        if in_run:
            workspace.begin_run()
            for stage in in_run:
                _run(stage, workspace, options)
    return _conclude(workspace, stages)


def _run_together(job: Job, stages: Sequence[StageName]) -> int:
    """A job that the user started with torchrun, on several machines say: the main process prepares and merges."""
    workspace = None
    with ExitStack() as locks:
        if job.worker.is_main:
            alone = replace(job, worker=Worker())
            _take_run_folder(alone, [stage for stage in stages if stage in RUN_STAGES], locks)
            workspace = _take_work_folder(alone, locks)
            workspace.begin_run()
        for stage in stages:
            barrier()
            _work(job, [stage])
            barrier()
            if workspace is not None:
                workspace.reload()
                _end(stage, workspace)
    destroy_process_group()
    return _conclude(workspace, stages) if workspace is not None else 0


def _take_run_folder(job: Job, stages: Sequence[StageName], locks: ExitStack) -> None:
    """Lock the run folder, if these stages write there, and clean it of what a killed run left."""
    if stages:
        assert job.run_folder is not None, f"{stages} need a run folder"
        locks.enter_context(folder_lock(job.run_folder, wait=False, notice=say))
        sweep(job.run_folder)


def _take_work_folder(job: Job, locks: ExitStack) -> Workspace:
    """Lock the work folder, clean it, and write down what is in the input folder.

    It is shared by all trajectories: another run may be preparing it, and waiting for it saves the work.
    """
    locks.enter_context(folder_lock(job.work_folder, wait=True, notice=say))
    sweep(job.work_folder, below=False)
    sweep(job.work_folder / "geometry")
    workspace = Workspace.open(job)
    workspace.save_sources()
    _introduce(job, workspace)
    return workspace


def _work(job: Job, stages: Sequence[StageName]) -> None:
    """A worker's part of stages that another process has prepared."""
    workspace = Workspace.open(job)
    for stage in stages:
        run_stage(make_stage(stage, workspace), workspace)


def _run(name: StageName, workspace: Workspace, options: Sequence[str]) -> None:
    """One stage, here or in workers."""
    job = workspace.job
    gpus = job.gpus[name]
    processes = max(len(gpus), job.processes if name == "generate" else 1)
    todo = [state for state in workspace.clips if status(make_stage(name, workspace), state, workspace) == "to do"]
    if processes == 1 or not todo:
        run_stage(make_stage(name, workspace), workspace)
        _end(name, workspace)
        return
    say(f"{name:>8}: {processes} processes on GPUs {', '.join(gpus)}")
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    command += [f"--master_port={job.master_port}", "-m", "inspatio", name, *options]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpus), LOCK_HELD: "1"}
    code = subprocess.run(command, env=environment, check=False).returncode
    workspace.reload()
    if code != 0:
        raise UserError(
            f"{name}: a worker ended with exit code {code} (see above); finished clips are kept, run again to go on"
        )
    _end(name, workspace)


def _end(name: StageName, workspace: Workspace) -> None:
    """What a stage does once for all clips that it has finished."""
    make_stage(name, workspace).conclude([state for state in workspace.clips if not state.error])


def _introduce(job: Job, workspace: Workspace) -> None:
    height, width = job.profile.size
    target = f" -> {job.run_folder}" if job.run_folder else ""
    say(f"inspatio: profile {job.profile.name} at {width}x{height}, {job.input} ({len(workspace.clips)} clips){target}")
    for state in workspace.clips:
        if state.error and state.error.stage == PROBE:
            say(f"   probe: {state.id} FAILED: {state.error.message}")
            if job.fail_fast:
                raise UserError(f"{state.id}: {state.error.message} (stopped by --fail_fast)")


def _conclude(workspace: Workspace, stages: Sequence[StageName]) -> int:
    """The closing lines, and the exit code."""
    good = [state for state in workspace.clips if not state.error]
    for state in good:
        if "geometry" in stages or "render" in stages:
            for note in state.geometry.notes if state.geometry else []:
                say(f"    note: {state.id}: {note}")
        if "generate" in stages and state.output and workspace.run:
            say(f"  result: {workspace.run.folder / state.output.video}")
            for note in state.output.notes:
                say(f"    note: {state.id}: {note}")
    for state in workspace.failed:
        if state.error:
            say(f"  failed: {state.id} ({state.error.stage}): {state.error.message}")
    say(f"inspatio: {len(good)} of {len(workspace.clips)} clips done")
    return 1 if workspace.failed else 0


def _print_plan(job: Job, stages: Sequence[StageName]) -> int:
    """--dry_run: every clip and what each stage would do with it. Writes nothing."""
    workspace = Workspace.open(job, dry=True)
    _introduce(job, workspace)
    width = max(len(state.id) for state in workspace.clips)
    say("  ".join([f"{'clip':{width}}", *(f"{stage:>8}" for stage in stages)]))
    for state in workspace.clips:
        cells, stale = [], False
        for name in stages:
            stage = make_stage(name, workspace)
            cell = "skipped" if name == "generate" and name in job.skip else status(stage, state, workspace)
            # A stage after one that will run has other inputs than the ones it was made from.
            if stale and cell == "fresh" and name in RUN_STAGES:
                cell = "to do"
            stale = stale or (cell == "to do" and name != "caption")
            cells.append(f"{cell:>8}")
        say("  ".join([f"{state.id:{width}}", *cells]))
    return 1 if workspace.failed else 0
