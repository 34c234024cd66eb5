"""Every stage trains, goes on exactly where it stopped, and computes the same however its work is spread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.training import CPU, make_config, make_trainer, random, weights, write_run

from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.models.wan.checkpoint import load_dit
from inspatio.training import checkpoint
from inspatio.training.augment import augment
from inspatio.training.draws import HELD_OUT, Draws
from inspatio.training.log import read_log
from inspatio.training.stages.initial import InitialStage, euler_path
from inspatio.training.video import read_clip

STAGES = ("teacher", "init", "self_forcing", "dmd", "jdmd", "worldfm", "worldfm_dmd", "completion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training")
    write_run(path)
    return path


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(folder: Path, tmp_path: Path, stage: str) -> None:
    """Four steps at once, and two, a checkpoint and two: weights, averages and fake scores are the same."""
    whole = make_trainer(make_config(folder, stage, steps=4), tmp_path / "whole")
    before = weights(whole)
    whole.train()
    make_trainer(make_config(folder, stage, steps=2), tmp_path / "parts").train()
    second = make_trainer(make_config(folder, stage, steps=4), tmp_path / "parts")
    second.resume()
    assert second.step == 2
    second.train()
    once, twice = weights(whole), weights(second)
    assert all(torch.equal(once[name], twice[name]) for name in once)
    changed = {name for name in once if not torch.equal(once[name], before[name])}
    unused = {name for name in once if name.startswith("student") and name not in changed}
    assert unused == set()
    one, two = (trainer.stage.student.average for trainer in (whole, second))
    assert one is not None
    assert two is not None
    assert all(torch.equal(one.values[name], two.values[name]) for name in one.values)


def test_inference_takes_a_checkpoint_as_it_is(folder: Path, tmp_path: Path) -> None:
    """Low-rank additions and recomputed layers leave no trace in it, and it generates what training measures."""
    changes = {"network": {"lora_rank": 2, "recompute": True}, "optimizer": {"average": 0.0}}
    trainer = make_trainer(make_config(folder, "self_forcing", steps=2, **changes), tmp_path)
    trainer.train()
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    file = latest / "student" / "model.safetensors"
    dit = load_dit(file, tmp_path, device=CPU, dtype=torch.float32)
    sample, draws = trainer.shards[0], Draws(0, HELD_OUT, 0)
    expected = trainer.stage.generate(sample, draws)
    clip = read_clip(sample, dit.config.text_len)
    assert clip.source is not None
    with torch.inference_mode():
        loop = BlockLoop(dit, Schedule.make(dit, (1000, 500), 5.0), dit.encode_text(clip.text))
        noise = [draws.noise((2, 1, 3, *clip.target.shape[2:]), f"block {index}") for index in range(2)]
        parts = [slice(0, 3), slice(3, 6)]
        made = [loop.step(clip.source[:, p], clip.condition[:, p], n) for p, n in zip(parts, noise, strict=True)]
    torch.testing.assert_close(torch.cat(made, dim=1), expected, atol=1e-4, rtol=1e-4)
    events = [line["event"] for line in read_log(tmp_path)]
    assert events == ["held_out", "train", "train", "held_out"]


@pytest.mark.parametrize("target", ["trajectories", "consistency"])
def test_a_student_that_is_its_teacher_has_little_to_learn_from_it(folder: Path, target: str, tmp_path: Path) -> None:
    """Both targets come from the teacher: to a student with its weights they are nearer than to one without."""
    errors = []
    for student in ("teacher", "world"):
        network = {"initial": str(folder / student / "model.safetensors")}
        loss = {"target": target, "guidance": 1.0, "teacher_steps": 12, "steps": [100]}
        stage = make_trainer(make_config(folder, "init", network=network, loss=loss), tmp_path / student).stage
        assert isinstance(stage, InitialStage)
        trainer_sample = make_trainer(make_config(folder, "init"), tmp_path / "data").shards[0]
        errors.append(stage.accumulate(trainer_sample, Draws(0, 0, 0))["loss"])
        assert any(p.grad is not None and p.grad.any() for p in stage.student.parameters.values())
    if target == "trajectories":  # near the path's end one step lands where the path does
        assert errors[0] < 0.2 * errors[1]
    else:
        assert all(0 < error < float("inf") for error in errors)


def test_a_path_along_a_straight_flow_ends_at_the_clip() -> None:
    clean, noise = random(1, 3, 16, 4, 6, seed=1), random(1, 3, 16, 4, 6, seed=2)
    states = euler_path(lambda x, level: noise - clean, noise, [1.0, 0.9, 0.4, 0.0])
    torch.testing.assert_close(states[-1], clean)
    torch.testing.assert_close(states[2], 0.6 * clean + 0.4 * noise)


def test_drop_outs_leave_out_what_they_say(folder: Path, tmp_path: Path) -> None:
    def augmented(**data: float):
        config = make_config(folder, "teacher", data={"text_drop": 0, "reference_drop": 0, "render_drop": 0, **data})
        clip = read_clip(trainer.shards[0], 8)
        return clip, augment(clip, config.data, Draws(0, 0, 0))

    trainer = make_trainer(make_config(folder, "teacher"), tmp_path)
    clip, same = augmented()
    assert same.source is not None
    assert torch.equal(same.condition, clip.condition)
    assert augmented(reference_drop=1)[1].source is None
    assert torch.equal(augmented(text_drop=1)[1].text, clip.no_text)
    nothing = augmented(render_drop=1)[1].condition
    assert (nothing[:, :, :4] == -1).all()
    assert not nothing[:, :, 4:].any()
    holes = augmented(hole_share=1)[1].condition
    cut = (holes != clip.condition).any(dim=2)
    assert 0 < cut.float().mean() < 1
    assert torch.equal(holes.movedim(2, -1)[cut], nothing.movedim(2, -1)[cut])
    noisy = augmented(render_noise=0.3)[1].condition - clip.condition
    assert not noisy[:, :, :4].any()
    assert float(noisy[:, :, 4:].std()) == pytest.approx(0.3, rel=0.05)
