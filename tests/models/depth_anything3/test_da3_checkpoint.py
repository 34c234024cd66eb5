"""Model folders: published names map one to one to the networks; other folders are refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from support.paths import GOLDEN
from tiny import da3

from inspatio.errors import MissingWeightsError
from inspatio.models.depth_anything3.checkpoint import MODELS, WEIGHTS_FILE, module_name, open_folder
from inspatio.models.depth_anything3.network import DepthNetwork

PUBLISHED = json.loads((GOLDEN / "checkpoint_keys.json").read_text())
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    da3.write(folder, seed=0)
    return folder


@pytest.mark.parametrize("name", ["da3nested-giant-large", "da3-base", "da3metric-large"])
def test_published_checkpoints_fit(name: str) -> None:
    """Every published parameter is one of the network's, in its shape, or one of those left out on purpose."""
    keys = {key.removeprefix("model."): shape for key, shape in PUBLISHED[f"DA3 {name}: model.safetensors"].items()}
    model = MODELS[name]
    branches = ("da3.", "da3_metric.") if len(model.networks) == 2 else ("",)
    used = 0
    for branch, config in zip(branches, model.networks, strict=True):
        with torch.device("meta"):
            expected = {key: list(value.shape) for key, value in DepthNetwork(config).state_dict().items()}
        part = {key.removeprefix(branch): shape for key, shape in keys.items() if key.startswith(branch)}
        given = {module_name(key): shape for key, shape in part.items() if module_name(key)}
        assert given == expected
        used += len(part)
        left_out = {key.split(".")[0] for key in part if module_name(key) is None and "_aux" not in key}
        assert left_out <= {"gs_head", "cam_enc"}
    assert used == len(keys)


@pytest.mark.parametrize("name", da3.FOLDERS)
def test_tiny_folders_load(name: str, folders: Path) -> None:
    folder = open_folder(folders / name)
    networks = folder.load(CPU, torch.float32)
    assert [network.config for network in networks] == list(folder.model.networks)
    assert not any(parameter.is_meta for network in networks for parameter in network.parameters())


def test_half_precision_is_for_the_backbone_only(folders: Path) -> None:
    (network,) = open_folder(folders / "DA3-any-view").load(CPU, torch.bfloat16)
    assert {value.dtype for value in network.backbone.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in network.head.parameters()} == {torch.float32}


def test_tiny_names_are_the_published_ones() -> None:
    """So that the tiny folders prove something about the full-size ones."""
    for config in (network for model in MODELS.values() for network in model.networks):
        with torch.device("meta"):
            names = DepthNetwork(config).state_dict()
        assert {module_name(da3.published_name(name)) for name in names} == set(names)
    with torch.device("meta"):
        base = DepthNetwork(MODELS["da3-base"].networks[0]).state_dict()
    published = PUBLISHED["DA3 da3-base: model.safetensors"]
    assert {f"model.{da3.published_name(name)}" for name in base} <= set(published)


def copy(folders: Path, target: Path, name: str = "DA3") -> Path:
    shutil.copytree(folders / name, target / name)
    return target / name


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"no such folder.*download"):
        open_folder(tmp_path / "DA3")


def test_no_config(tmp_path: Path, folders: Path) -> None:
    folder = copy(folders, tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(MissingWeightsError, match=r"no config\.json"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"model_name": "da3-enormous"}', "'da3-enormous'; expected one of da3nested-giant-large"),
        ('{"model_type": "florence2"}', "model_name is missing"),
        ("[]", "expected an object"),
        ("not json", "not valid JSON"),
        ('{"model_name": ["da3-base"]}', "expected one of"),
    ],
)
def test_config_of_something_else(content: str, says: str, tmp_path: Path, folders: Path) -> None:
    folder = copy(folders, tmp_path)
    (folder / "config.json").write_text(content)
    with pytest.raises(MissingWeightsError, match=says):
        open_folder(folder)


def test_no_weights(tmp_path: Path, folders: Path) -> None:
    folder = copy(folders, tmp_path)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(MissingWeightsError, match=WEIGHTS_FILE):
        open_folder(folder).load(CPU, torch.float32)


def test_weights_cut_short(tmp_path: Path, folders: Path) -> None:
    folder = copy(folders, tmp_path)
    whole = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MissingWeightsError, match="cut short"):
        open_folder(folder).load(CPU, torch.float32)


@pytest.mark.parametrize(
    ("config", "weights"), [("DA3", "DA3-any-view"), ("DA3-any-view", "DA3"), ("DA3-metric", "DA3-any-view")]
)
def test_weights_of_another_model(config: str, weights: str, tmp_path: Path, folders: Path) -> None:
    folder = copy(folders, tmp_path, config)
    shutil.copy(folders / weights / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    with pytest.raises(MissingWeightsError, match=r"config\.json and weights|missing|unexpected"):
        open_folder(folder).load(CPU, torch.float32)
