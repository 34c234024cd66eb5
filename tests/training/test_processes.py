"""Two processes give what one gives, and notice when the other is gone: on the CPU with gloo."""

from __future__ import annotations

import os
from multiprocessing import set_forkserver_preload
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.training import CPU, make_config, make_trainer, weights, write_run
from torch.multiprocessing.spawn import start_processes

from inspatio.errors import UserError
from inspatio.training.config import TrainConfig
from inspatio.training.parallel import Processes

WAYS = ("fsdp", "ddp")


def config_for(folder: Path, parallel: str, steps: int = 2) -> TrainConfig:
    """Distribution matching: roll-outs, two trained networks and a frozen one; four samples to a step."""
    optimizer = {"average_from": 1, "clip": 0.01}
    return make_config(folder, "dmd", steps=steps, batch_size=4, processes={"parallel": parallel}, optimizer=optimizer)


def join(folder: str, name: str, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store_{name}", rank=rank, world_size=2)


def work(rank: int, folder: str) -> None:
    join(folder, "work", rank)
    path = Path(folder)
    for parallel in WAYS:
        config = config_for(path, parallel)
        trainer = make_trainer(config, path / parallel, Processes(config.processes, CPU, rank, 2))
        exits: list[int] = []
        rolled = trainer.stage.roll_out  # type: ignore[attr-defined]

        def roll_out(clip, draws, exits=exits, rolled=rolled):
            path = rolled(clip, draws)
            exits.append(round(1000 * path.exits[0].level))
            return path

        trainer.stage.roll_out = roll_out  # type: ignore[attr-defined]
        trainer.train()
        torch.save((weights(trainer), exits), path / f"{parallel}_{rank}.pt")
    save_half(path, rank)
    dist.destroy_process_group()


def save_half(folder: Path, rank: int) -> None:
    """What a network of bf16 passes is made of, during its passes and outside, after a step."""
    processes = {"parallel": "fsdp", "precision": "bf16"}
    config = make_config(folder, "teacher", steps=1, processes=processes)
    trainer = make_trainer(config, folder / "half", Processes(config.processes, CPU, rank, 2))
    losses = trainer.take_step()
    student = trainer.stage.student
    inside = student.run(lambda dit: {name: str(each.dtype) for name, each in dit.named_parameters()})
    outside = {name: str(each.dtype) for name, each in student.parameters.items()}
    torch.save((losses, inside, outside), folder / f"half_{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    write_run(path)
    set_forkserver_preload(["torch", "support.training"])
    start_processes(work, (str(path),), nprocs=2, start_method="forkserver")
    return path


@pytest.mark.parametrize("parallel", WAYS)
def test_two_processes_give_the_weights_of_one(folder: Path, tmp_path: Path, parallel: str) -> None:
    """Weights after two steps, fake scores included, and what each process left the schedule at."""
    (one, exits), (other, other_exits) = (
        torch.load(folder / f"{parallel}_{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert exits == other_exits
    alone = make_trainer(config_for(folder, "none"), tmp_path / "alone")
    before = weights(alone)
    alone.train()
    expected = weights(alone)
    for name, value in expected.items():
        assert torch.equal(one[name], other[name]), name
        # AdamW divides by the gradient's own size, so that rounding in a sum can move a weight by the rate.
        torch.testing.assert_close(one[name], value, atol=2e-5, rtol=1e-4)
    assert max(float((expected[name] - before[name]).abs().max()) for name in expected) > 5e-4


def test_half_precision_keeps_what_is_trained_and_what_belongs_to_the_time_in_float32(folder: Path) -> None:
    losses, inside, outside = torch.load(folder / "half_0.pt", weights_only=True)
    assert set(outside.values()) == {"torch.float32"}
    exact = {name for name, kind in inside.items() if kind == "torch.float32"}
    assert exact == {name for name in inside if name.startswith("time_") or name.endswith("modulation")}
    assert set(inside.values()) == {"torch.float32", "torch.bfloat16"}
    assert 0 < losses["loss"] < 10
    assert 0 < losses["student_gradient_norm"] < 100


def test_shards_of_two_processes_go_on_in_one(folder: Path, tmp_path: Path) -> None:
    """A checkpoint does not remember over how many processes its run was spread."""
    config = config_for(folder, "none", steps=3)
    later = make_trainer(config, folder / "fsdp")
    later.resume()
    assert later.step == 2
    alone = make_trainer(config, tmp_path / "alone")
    for trainer in (later, alone):
        while trainer.step < 3:
            trainer.take_step()
    expected = weights(alone)
    for name, value in weights(later).items():
        torch.testing.assert_close(value, expected[name], atol=5e-5, rtol=1e-4)


def lose(rank: int, folder: str) -> None:
    join(folder, "lose", rank)
    path = Path(folder)
    config = config_for(path, "ddp", steps=4)
    trainer = make_trainer(config, path / "lost", Processes(config.processes, CPU, rank, 2))
    trainer.take_step()
    if rank == 1:
        os._exit(0)
    try:
        trainer.take_step()
    except UserError as error:
        (path / "said.txt").write_text(str(error))
    os._exit(0)


def test_a_process_that_dies_is_noticed_by_the_other(folder: Path) -> None:
    start_processes(lose, (str(folder),), nprocs=2, start_method="forkserver")
    assert "a process of this job has ended" in (folder / "said.txt").read_text()
