"""Tiny checkpoints: the published files and names, the same for the same seed, and loadable by everything."""

from __future__ import annotations

import json
import re
from pathlib import Path

import make_tiny_checkpoints
import pytest
import torch
from safetensors import safe_open
from support.paths import GOLDEN
from tiny import wan

from inspatio.config import AutoencoderName
from inspatio.models.wan.checkpoint import load_decoder, load_dit, load_encoder
from inspatio.models.weights import load_state, weights_fingerprint

KEYS = json.loads((GOLDEN / "checkpoint_keys.json").read_text())
FILES = {
    "InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors": "InSpatio-World-1.3B.safetensors",
    "Wan2.1-T2V-1.3B/Wan2.1_VAE.pth": "Wan2.1_VAE.pth",
    "Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth": "models_t5_umt5-xxl-enc-bf16.pth",
    "taehv/taew2_1.pth": "taew2_1.pth",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    assert make_tiny_checkpoints.main([str(folder), "--only", "wan"]) == 0
    return folder


def layer_zero(names: list[str]) -> set[str]:
    """Names but for the layers after the first; their number is what differs between sizes."""
    return {name for name in names if (m := re.search(r"blocks\.(\d+)\.", name)) is None or m[1] == "0"}


@pytest.mark.parametrize("path", FILES)
def test_names_and_ranks_are_the_published(checkpoints: Path, path: str) -> None:
    state, published = load_state(checkpoints / path), KEYS[FILES[path]]
    assert layer_zero(list(state)) == layer_zero(list(published))
    assert all(state[name].ndim == len(published[name]) for name in layer_zero(list(state)))


def test_base_model_has_no_prefix_and_no_condition(checkpoints: Path) -> None:
    with safe_open(checkpoints / "Wan2.1-T2V-1.3B" / "diffusion_pytorch_model.safetensors", "pt") as handle:
        names = set(handle.keys())
        assert handle.get_slice("patch_embedding.weight").get_shape()[1] == 16
    world = load_state(checkpoints / "InSpatio-World-1.3B" / "InSpatio-World-1.3B.safetensors")
    assert {f"model.{name}" for name in names} == set(world)


def test_everything_loads(checkpoints: Path) -> None:
    world = checkpoints / "InSpatio-World-1.3B" / "InSpatio-World-1.3B.safetensors"
    dit = load_dit(world, checkpoints / "Wan2.1-T2V-1.3B", device=torch.device("cpu"), dtype=torch.float32)
    assert len(dit.blocks) == wan.TRANSFORMER.num_layers
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    files: dict[AutoencoderName, str] = {"wan": "Wan2.1-T2V-1.3B/Wan2.1_VAE.pth", "taehv": "taehv/taew2_1.pth"}
    for name, file in files.items():
        encoder, decoder = load_encoder(name, checkpoints / file), load_decoder(name, checkpoints / file)
        with torch.inference_mode():
            latents = encoder.encode(video, encoder.start())
            frames = decoder.decode(latents, decoder.start())
        assert 0.05 < latents.std() < 5
        assert 0.05 < frames.std() < 1


def test_a_seed_says_everything(checkpoints: Path, tmp_path: Path) -> None:
    wan.write(tmp_path / "same", 0)
    wan.write(tmp_path / "other", 1)
    for path in FILES:
        first = load_state(checkpoints / path)
        same, other = load_state(tmp_path / "same" / path), load_state(tmp_path / "other" / path)
        assert all(torch.equal(value, same[name]) for name, value in first.items())
        assert not all(torch.equal(value, other[name]) for name, value in first.items())
    tokenizer = Path("Wan2.1-T2V-1.3B/google/umt5-xxl/tokenizer.json")
    assert (checkpoints / tokenizer).read_text() == (tmp_path / "same" / tokenizer).read_text()
    path = "InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors"
    assert weights_fingerprint(checkpoints / path) == weights_fingerprint(tmp_path / "same" / path)
    assert weights_fingerprint(checkpoints / path) != weights_fingerprint(tmp_path / "other" / path)


def test_worldfm_folders_have_the_published_names(tmp_path: Path) -> None:
    assert make_tiny_checkpoints.main([str(tmp_path), "--only", "worldfm"]) == 0
    folder = tmp_path / "WorldFM"
    for name in ("worldfm_1-step.pth", "worldfm_2-step.pth"):
        state = load_state(folder / name)
        assert layer_zero(list(state)) == layer_zero(list(KEYS[name]))
        assert all(state[key].ndim == len(KEYS[name][key]) for key in layer_zero(list(state)))
    # The published stages have two layers each, these have one.
    autoencoder = set(load_state(folder / "vae" / "diffusion_pytorch_model.safetensors"))
    assert autoencoder < KEYS["vae/diffusion_pytorch_model.safetensors"].keys()
