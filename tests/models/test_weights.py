"""Checkpoints: strictly the right keys, no second copy, and nothing in a file is ever run."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from inspatio.errors import MissingWeightsError
from inspatio.models.weights import find_files, load_state, load_strict, weights_fingerprint


def layers(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2, bias=False))


def on_meta(width: int = 4) -> nn.Module:
    with torch.device("meta"):
        return layers(width)


def save(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


class Malice:
    """Creates a file when unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.bin"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    source = layers()
    path = save(tmp_path / name, dict(source.state_dict()))
    loaded = on_meta()
    load_strict(loaded, load_state(path), source=path)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), loaded.parameters(), strict=True))
    assert not any(p.requires_grad for p in loaded.parameters())
    x = torch.randn(5, 3)
    assert torch.equal(source(x), loaded(x))


@pytest.mark.parametrize("name", ["big.safetensors", "big.pth"])
def test_weights_stay_in_the_file(name: str, tmp_path: Path) -> None:
    """Neither reading nor assigning takes memory for the values: the module uses the map itself."""
    path = save(tmp_path / name, {"weight": torch.ones(4096, 4096)})

    def anonymous() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

    before = anonymous()
    with torch.device("meta"):
        module = nn.Linear(4096, 4096, bias=False)
    load_strict(module, load_state(path), source=path)
    assert module.weight.sum() == 4096**2
    assert anonymous() - before < 16e6  # the values are 67 MB


def test_dtype_conversion_leaves_integers_alone(tmp_path: Path) -> None:
    with torch.device("meta"):
        module = nn.BatchNorm1d(3)
    state = dict(nn.BatchNorm1d(3).state_dict())
    load_strict(module, state, source=tmp_path, dtype=torch.bfloat16)
    assert module.weight.dtype == torch.bfloat16
    assert module.num_batches_tracked is not None
    assert module.num_batches_tracked.dtype == torch.int64


def test_rename_and_deliberate_omission() -> None:
    state = {f"model.{key}": value for key, value in layers().state_dict().items()} | {"unused": torch.ones(1)}
    network = on_meta()
    load_strict(
        network,
        state,
        source=Path("x"),
        rename=lambda key: key.removeprefix("model.") if key.startswith("model.") else None,
    )
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[f"model.{name}"]), name


def test_missing_and_unexpected_keys_are_named() -> None:
    state = dict(layers().state_dict())
    del state["0.bias"]
    state["2.weight"] = torch.ones(1)
    with pytest.raises(MissingWeightsError, match=r"wan\.pth.*1 missing \(0\.bias\); 1 unexpected \(2\.weight\)"):
        load_strict(on_meta(), state, source=Path("wan.pth"))


def test_many_keys_are_counted() -> None:
    state = {f"blocks.{i}": torch.ones(1) for i in range(9)}
    with pytest.raises(
        MissingWeightsError, match=r"3 missing .*9 unexpected \(.*blocks\.3, \.\.\. and 5 more\)"
    ) as info:
        load_strict(on_meta(), state, source=Path("taehv/taew2_1.pth"))
    assert "another model" in str(info.value)
    assert "scripts/download.sh taehv" in str(info.value)
    assert "\n" not in str(info.value)


def test_widths_of_another_config_are_named() -> None:
    with pytest.raises(MissingWeightsError, match=r"3 of another shape \(0\.weight is 4x3, expected 8x3") as info:
        load_strict(on_meta(8), dict(layers(4).state_dict()), source=Path("net.safetensors"))
    assert "config for another size" in str(info.value)


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("checkpoints/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth", "scripts/download.sh Wan2.1-T2V-1.3B"),
        ("checkpoints/InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors", "scripts/download.sh InSpatio-World-1.3B"),
        ("elsewhere/mine.pth", "scripts/download.sh --help"),
    ],
)
def test_missing_file_says_which_where_and_how_to_get_it(path: str, command: str, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError) as info:
        load_state(tmp_path / path)
    message = str(info.value)
    assert str(tmp_path / path) in message
    assert command in message


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_every_truncation_is_told(name: str, tmp_path: Path) -> None:
    whole = save(tmp_path / name, dict(layers(64).state_dict())).read_bytes()
    cut = tmp_path / "taehv" / name
    cut.parent.mkdir()
    for size in (0, 3, 9, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        with pytest.raises(MissingWeightsError, match=r"cut short|not a torch file") as info:
            load_state(cut)
        assert "scripts/download.sh taehv" in str(info.value)


def test_truncated_torch_file_without_archive(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(dict(layers().state_dict()), path, _use_new_zipfile_serialization=False)
    assert load_state(path).keys() == layers().state_dict().keys()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MissingWeightsError, match="cut short"):
        load_state(path)


@pytest.mark.parametrize("name", ["page.safetensors", "page.pth"])
def test_a_web_page_is_no_checkpoint(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("<!DOCTYPE html><html>404: not found</html>")
    with pytest.raises(MissingWeightsError, match=r"not a (safetensors|torch) file"):
        load_state(path)


@pytest.mark.parametrize("style", ["archive", "stream", "plain pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(style: str, tmp_path: Path) -> None:
    proof = tmp_path / "it_ran"
    path = tmp_path / "evil.pth"
    state = {"0.weight": torch.ones(1), "payload": Malice(proof)}
    if style == "plain pickle":
        path.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=style == "archive")
    with pytest.raises(MissingWeightsError, match="nothing in it was run"):
        load_state(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Malice(proof)))  # the trap works: it is the loader that did not step into it
    assert proof.exists()


@pytest.mark.parametrize("value", [[torch.ones(1)], {"generator": {"weight": torch.ones(1)}}])
def test_other_containers_are_refused(value: object, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(MissingWeightsError, match="expected a plain dict of tensors"):
        load_state(tmp_path / "x.pth")


def shard(folder: Path) -> dict[str, torch.Tensor]:
    state = dict(layers().state_dict())
    names = {key: f"part-{i}.safetensors" for i, key in enumerate(state)}
    for key, name in names.items():
        save(folder / name, {key: state[key]})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return state


def test_shards(tmp_path: Path) -> None:
    state = shard(tmp_path)
    loaded = load_state(tmp_path)
    assert loaded.keys() == state.keys()
    (tmp_path / "part-1.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match=r"1 of 3 shards are missing \(part-1\.safetensors\)"):
        load_state(tmp_path)


def test_an_index_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    save(tmp_path / "secret.safetensors", {"a": torch.ones(1)})
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(MissingWeightsError, match="shards are missing"):
        load_state(inside)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="no weights in this folder"):
        find_files(tmp_path)
    only = save(tmp_path / "model.safetensors", {"a": torch.ones(1)})
    save(tmp_path / "pytorch_model.bin", {"a": torch.ones(1)})
    assert find_files(tmp_path) == [only]
    save(tmp_path / "other.safetensors", {"a": torch.ones(1)})
    with pytest.raises(MissingWeightsError, match="2 checkpoints in this folder"):
        find_files(tmp_path)


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", {"a": torch.zeros(1_000_000)})
    first = weights_fingerprint(path)
    assert weights_fingerprint(path) == first
    os.utime(path, (0, 0))
    assert weights_fingerprint(path) == first
    save(path, {"b": torch.zeros(1_000_000)})
    assert weights_fingerprint(path) != first
    save(path, {"a": torch.full((1_000_000,), 1e-3)})
    assert weights_fingerprint(path) != first
    save(path, {"a": torch.zeros(1_000_001)})
    assert weights_fingerprint(path) != first


@pytest.mark.parametrize("index", ["[]", '{"a": 1}', "[" * 50_000, '{"weight_map": [1]}', '{"weight_map": {"a": 1}}'])
def test_a_damaged_index_of_shards_is_one_line(index: str, tmp_path: Path) -> None:
    """A list or a missing table used to end in a TypeError, deep nesting in a RecursionError."""
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(MissingWeightsError, match=r"index\.json: ") as info:
        load_state(tmp_path)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b.safetensors", "\ud800.safetensors", "..", ""])
def test_an_index_with_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    """A name that is too long used to end in an OSError."""
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(MissingWeightsError, match="1 of 1 shards are missing"):
        load_state(tmp_path)


@pytest.mark.parametrize("header", ["[" * 50_000, '{"a": {"data_offsets": [0, "9"]}}', '{"a": {"data_offsets": [0]}}'])
def test_a_damaged_safetensors_header_is_one_line(header: str, tmp_path: Path) -> None:
    """Deep nesting used to end in a RecursionError, offsets that are text in a TypeError."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(MissingWeightsError, match="not a safetensors file"):
        load_state(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A few kilobytes that unpack to gigabytes used to cost minutes and all of the memory before they were refused."""
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb/data.pkl", "w") as entry:
        for _ in range(64):
            entry.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 17
    tracemalloc.start()
    with pytest.raises(MissingWeightsError, match=r"declares 67108864 bytes in a file of \d+ \(1 compressed\)"):
        load_state(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_an_archive_whose_entries_overlap_is_refused(tmp_path: Path) -> None:
    """Many directory entries for the same bytes: a bomb without compression."""
    path = tmp_path / "overlap.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", bytes(100_000))
        archive.filelist *= 20
    with pytest.raises(MissingWeightsError, match="declares 2000000 bytes in a file of"):
        load_state(path)


def test_names_of_tensors_are_text(tmp_path: Path) -> None:
    torch.save({1: torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(MissingWeightsError, match="expected text"):
        load_state(tmp_path / "x.pth")
