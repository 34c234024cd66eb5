"""Every stage trains, goes on exactly where it stopped, and computes the same however its work is spread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.training import make_config, make_trainer, weights, write_run

STAGES = ("teacher", "init", "self_forcing", "dmd", "jdmd", "worldfm", "worldfm_dmd")


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
