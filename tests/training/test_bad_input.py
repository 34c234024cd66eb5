"""What goes wrong in training is said in one line, and leaves the last checkpoint whole."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from support.clips import encode
from support.training import SAMPLES, make_config, make_trainer, weights, write_network, write_run, write_shards

from inspatio.errors import MissingWeightsError, UsageError, UserError
from inspatio.render import WarpRenderer
from inspatio.training import checkpoint
from inspatio.training.config import load_config
from inspatio.training.data.clips import find_views
from inspatio.training.shards import INDEX_NAME, Shards

SIZE = (48, 80)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad")
    write_run(path)
    return path


def test_no_clips(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no video or image"):
        find_views(tmp_path, 9, SIZE, WarpRenderer(), seed=0)
    with pytest.raises(UserError, match="no training data"):
        Shards.open(tmp_path)


def test_a_clip_that_is_too_short_is_left_out_by_name(tmp_path: Path) -> None:
    encode(tmp_path / "short.mp4", 5, SIZE)
    (found,) = find_views(tmp_path, 9, SIZE, WarpRenderer(), seed=0).clips()
    assert isinstance(found, UserError)
    assert "short.mp4: too short: got 5 frames, expected 9" in str(found)


def test_a_triple_that_is_not_complete_is_left_out_by_name(tmp_path: Path) -> None:
    for name in ("source", "target", "mask"):
        (tmp_path / "one").mkdir(exist_ok=True)
        encode(tmp_path / "one" / f"{name}.mp4", 9, SIZE)
    (found,) = find_views(tmp_path, 9, SIZE, WarpRenderer(), seed=0).clips()
    assert isinstance(found, UserError)
    assert "got no render.mp4" in str(found)


def test_more_held_out_than_there_is(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"got {SAMPLES} samples, expected more than the {SAMPLES}"):
        make_trainer(make_config(folder, "teacher", data={"held_out": SAMPLES}), tmp_path)


def test_data_of_another_kind(folder: Path) -> None:
    with pytest.raises(UserError, match="got training data of frames, expected clips"):
        Shards.open(folder / "frames", "clips")


def test_a_shard_that_was_cut_short(tmp_path: Path) -> None:
    path = write_shards(tmp_path / "data")
    shard = path / "shard_00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"shard_00000.safetensors: missing or cut short"):
        Shards.open(path)


def test_an_index_that_was_cut_short(tmp_path: Path) -> None:
    path = write_shards(tmp_path / "data")
    (path / INDEX_NAME).write_text((path / INDEX_NAME).read_text()[:50])
    with pytest.raises(UserError, match="not valid JSON"):
        Shards.open(path)


def test_a_checkpoint_of_another_size(folder: Path, tmp_path: Path) -> None:
    path = write_network(tmp_path / "other")
    sizes = json.loads((path.parent / "config.json").read_text())
    (path.parent / "config.json").write_text(json.dumps({**sizes, "dim": 64}))
    with pytest.raises(MissingWeightsError, match=r"another shape|expected"):
        make_trainer(make_config(folder, "teacher", network={"initial": str(path)}), tmp_path / "run")


def test_going_on_with_another_config_names_the_keys(folder: Path, tmp_path: Path) -> None:
    make_trainer(make_config(folder, "teacher", steps=1), tmp_path).train()
    changed = make_config(folder, "teacher", steps=9, batch_size=4, loss={"shift": 3.0}, record={"log_every": 7})
    with pytest.raises(UsageError, match=r"got other values of batch_size, loss\.shift\. Use"):
        make_trainer(changed, tmp_path).resume()


def test_a_damaged_checkpoint(folder: Path, tmp_path: Path) -> None:
    config = make_config(folder, "teacher", steps=1)
    make_trainer(config, tmp_path).train()
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    (state,) = (latest / "state").glob("*.distcp")
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    with pytest.raises(UserError, match="state: cannot be read"):
        make_trainer(config, tmp_path).resume()


def test_a_full_disk_keeps_the_last_checkpoint(folder: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: both end a write with an error of the system."""
    config = make_config(folder, "teacher", steps=2)
    trainer = make_trainer(config, tmp_path)
    trainer.take_step()
    kept = checkpoint.save(tmp_path, trainer.stage, trainer.step, keep=2)
    expected = weights(trainer)
    trainer.take_step()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (20_000, 300_000):  # the weights do not fit; they do, and the state does not
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(UserError, match=r"larger than this system allows|disk is full"):
                checkpoint.save(tmp_path, trainer.stage, trainer.step, keep=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list((tmp_path / "checkpoints").iterdir()) == [kept]
    again = make_trainer(config, tmp_path)
    again.resume()
    assert again.step == 1
    assert all(torch.equal(value, expected[name]) for name, value in weights(again).items())


def test_a_loss_that_is_not_finite_stops_before_weights_are_spoilt(folder: Path, tmp_path: Path) -> None:
    data = write_shards(tmp_path / "data")
    trainer = make_trainer(make_config(folder, "teacher", data={"folder": str(data), "held_out": 1}), tmp_path / "run")
    trainer.take_step()
    kept = checkpoint.save(tmp_path / "run", trainer.stage, trainer.step, keep=2)
    before = weights(trainer)
    read = Shards.__getitem__

    class Spoilt(Shards):
        def __getitem__(self, index: int):
            sample = read(self, index)
            sample.tensors["target"][0, 0, 0, 0] = np.nan
            return sample

    trainer.shards.__class__ = Spoilt
    with pytest.raises(UserError, match=rf"step 1: loss.* not finite; samples clip\d \(number 2\).*{kept.name}"):
        trainer.take_step()
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())


def test_a_config_that_asks_for_what_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text, said in (
        ("stage: techer", "stage: got 'techer'"),
        ("stage: dmd\ndata: {folder: x}\nnetwork: {initial: y}", "got no network.teacher"),
        ("loss: {shfit: 5}", "loss.shfit: unknown key"),
        ("processes: {precision: bf16}", "bf16 without parallel fsdp"),
        ("[1, 2]", "got a list"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            load_config(path)
    with pytest.raises(UsageError, match="no such file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    "name", ["teacher", "init", "self_forcing", "dmd", "jdmd", "worldfm", "worldfm_dmd", "toy", "learned"]
)
def test_every_shipped_config_is_of_its_stage(name: str) -> None:
    config = load_config(Path("configs/train") / f"{name}.yaml")
    assert config.stage == {"toy": "init", "learned": "completion"}.get(name, name)
