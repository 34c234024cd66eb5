"""Checkpoints of a training run: weights that inference takes as they are, and all that training goes on from.

    <run>/checkpoints/step_00001000/
        student/model.safetensors, config.json    the published layout: --checkpoint_path of `inspatio run`
        average/...                               the moving average of the student, where there is one
        <fake>/...                                the fake scores
        state/                                    float32 weights, AdamW's moments and averages of every role
                                                  (torch.distributed.checkpoint: any number of processes can go on)
        progress.json                             step, config, and which roles are averaged

There are no random states and no place in the data among them: both follow from the step (``draws.py``). A checkpoint
is written under a temporary name by all processes and renamed when it is whole.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save as save_state

from inspatio.errors import UsageError, UserError
from inspatio.models.wan.dit import CausalDiT
from inspatio.storage import explain, part_path, remove_temporary, sync, write_json
from inspatio.training.config import as_json, differing_keys
from inspatio.training.roles import Role
from inspatio.training.stages.base import Stage
from inspatio.training.tensors import write_tensors

VERSION = 1
FOLDER = "checkpoints"
PROGRESS_NAME, STATE_NAME, WEIGHTS_NAME, CONFIG_NAME = "progress.json", "state", "model.safetensors", "config.json"
_STEP = re.compile(r"step_(\d+)")


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run; None where there is none."""
    found = [path for path in (run / FOLDER).glob("step_*") if _STEP.fullmatch(path.name)]
    return max(found, key=step_of, default=None)


def step_of(path: Path) -> int:
    """How many steps a checkpoint was made after."""
    return int(path.name.removeprefix("step_"))


def save(run: Path, stage: Stage, step: int, keep: int) -> Path:
    """Write a checkpoint after so many steps; every process calls it. Keeps the latest ``keep`` ones.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    processes = stage.processes
    path = run / FOLDER / f"step_{step:08d}"
    part = Path(processes.agree(str(part_path(path))))

    def begin() -> None:
        remove_temporary(path.parent)
        part.mkdir(parents=True)

    def finish() -> None:
        config = as_json(stage.config)
        averaged = [role.name for role in stage.roles.values() if role.average is not None]
        progress = {"version": VERSION, "step": step, "averaged": averaged, "config": config}
        write_json(part / PROGRESS_NAME, progress)
        for file in part.rglob("*"):
            sync(file)
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
        sync(path.parent)
        for old in sorted(path.parent.glob("step_*"))[:-keep]:
            shutil.rmtree(old)

    try:
        _on_main(stage, path, begin)
        for role in stage.roles.values():
            _write_published(part / role.name, role, stage)
            if role.average is not None:
                with role.averaged():
                    _write_published(part / "average", role, stage)
        _write_state(stage, part / STATE_NAME, path)
        _on_main(stage, path, finish)
    except BaseException:
        if processes.is_main:
            shutil.rmtree(part, ignore_errors=True)
        raise
    return path


def restore(path: Path, stage: Stage) -> int:
    """Go on from a checkpoint: fill the stage's roles, and return how many steps were made.

    Raises:
        UsageError: it is of a run with another config; the message names the keys that differ.
        UserError: it is damaged.
    """
    again = "Delete this checkpoint to go on from the one before"
    try:
        progress = json.loads((path / PROGRESS_NAME).read_text(encoding="utf-8"))
        step, averaged, config = progress["step"], progress["averaged"], progress["config"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path / PROGRESS_NAME}: cannot be read ({error}). {again}") from error
    if differing := differing_keys(config, as_json(stage.config)):
        raise UsageError(
            f"{path.parents[1]}: holds a run with another config: got other values of {', '.join(differing)}. "
            "Use the config it was begun with, or another --output_folder"
        )
    for name in averaged:
        stage.roles[name].start_average(stage.config.optimizer.average)
    state = _state(stage)
    try:
        with _for_one_process():
            load(state, checkpoint_id=path / STATE_NAME)
    except (CheckpointException, OSError, RuntimeError, ValueError, EOFError) as error:
        raise UserError(f"{path / STATE_NAME}: cannot be read ({_cause(error)}). {again}") from error
    return step


@contextmanager
def _for_one_process() -> Iterator[None]:
    """Leave out torch's warning that a checkpoint of one process is one of one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _state(stage: Stage) -> dict[str, Any]:
    """All tensors of a stage that a checkpoint keeps, by name; reading a checkpoint writes into them."""
    state: dict[str, Any] = {}
    for role in stage.roles.values():
        for name, parameter in role.parameters.items():
            state[f"{role.name}/weights/{name}"] = parameter.detach()
            for key, moment in role.moments(parameter).items():
                state[f"{role.name}/{key}/{name}"] = moment
            if role.average is not None:
                state[f"{role.name}/average/{name}"] = role.average.values[name]
    return state


def _write_state(stage: Stage, folder: Path, path: Path) -> None:
    """Write what training goes on from, all processes together; one that fails fails in all of them."""
    try:
        with _for_one_process():
            save_state(_state(stage), checkpoint_id=folder)
    except CheckpointException as error:
        for inner, _ in error.failures.values():
            if isinstance(inner, OSError):
                raise explain(inner, path) from error
        raise


def _write_published(folder: Path, role: Role[Any], stage: Stage) -> None:
    """Write a role's weights in the published layout; every process takes part in bringing them together."""
    tensors = role.state()

    def write() -> None:
        folder.mkdir(exist_ok=True)
        # InSpatio-World's published names have a prefix.
        prefix = "model." if isinstance(role.network, CausalDiT) else ""
        write_tensors(folder / WEIGHTS_NAME, {f"{prefix}{name}": value for name, value in tensors.items()})
        write_json(folder / CONFIG_NAME, dataclasses.asdict(role.network.config))

    _on_main(stage, folder, write)


def _on_main(stage: Stage, path: Path, work: Callable[[], None]) -> None:
    """Do what the main process alone does while the others wait, and fail in all of them where it fails."""
    error: UserError | None = None
    if stage.processes.is_main:
        try:
            work()
        except OSError as cause:
            error = explain(cause, path)
        except UserError as cause:
            error = cause
    message = stage.processes.agree(str(error) if error else None)
    if message is not None:
        raise error or UserError(message)


def _cause(error: BaseException) -> str:
    """The first line of what went wrong, in whichever process it did."""
    failures = getattr(error, "failures", None)
    inner = next(iter(failures.values()))[0] if failures else error
    return (str(inner).splitlines() or [type(inner).__name__])[0]
