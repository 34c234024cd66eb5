"""WorldFM's checkpoints: published names strictly, the known other spellings, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.networks import seeded
from support.paths import GOLDEN

from inspatio.errors import MissingWeightsError, UsageError
from inspatio.models.worldfm.autoencoder import AutoencoderConfig, ImageDecoder, ImageEncoder
from inspatio.models.worldfm.checkpoint import (
    OPTIONAL,
    load_decoder,
    load_encoder,
    load_network,
    parse_autoencoder_config,
    parse_config,
    read_config,
)
from inspatio.models.worldfm.dit import WorldFM, WorldFMConfig

PUBLISHED = json.loads((GOLDEN / "checkpoint_keys.json").read_text())
SMALL: dict[str, Any] = {"hidden_size": 32, "depth": 2, "num_heads": 2}
CPU: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """What the published file holds, at a small width, with the parts that nothing reads."""
    made = dict(seeded(WorldFM(WorldFMConfig(**SMALL))).state_dict())
    made |= {"pos_embed": torch.zeros(1, 4, 32), "y_embedder.y_embedding": torch.zeros(3, 8)}
    made |= {f"blocks.{i}.cross_attn.proj.bias": torch.zeros(32) for i in range(2)}
    return made


def save(folder: Path, state: Any, config: dict[str, Any] | None = SMALL) -> Path:
    path = folder / "worldfm_2-step.pth"
    torch.save(state, path)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", ["worldfm_1-step.pth", "worldfm_2-step.pth"])
def test_full_size_names_are_the_published(name: str) -> None:
    with torch.device("meta"):
        own = {key: list(value.shape) for key, value in WorldFM(WorldFMConfig()).state_dict().items()}
    published = PUBLISHED[name]
    assert own.items() <= published.items()
    assert all(OPTIONAL.match(key) for key in published.keys() - own.keys())
    assert not any(OPTIONAL.match(key) for key in own)


def test_full_size_autoencoder_names_are_the_published() -> None:
    with torch.device("meta"):
        halves = ImageEncoder(AutoencoderConfig()), ImageDecoder(AutoencoderConfig())
    own = {key: list(value.shape) for half in halves for key, value in half.state_dict().items()}
    assert own == PUBLISHED["vae/diffusion_pytorch_model.safetensors"]


def test_a_saved_state_dict_loads_plain_and_nested(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    plain = load_network(save(tmp_path, state), **CPU)
    (tmp_path / "nested").mkdir()  # the other file is mapped
    nested = load_network(save(tmp_path / "nested", {"state_dict": state, "epoch": 3}), **CPU)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, state[key])
        assert torch.equal(value, nested.state_dict()[key])


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_any_other_difference_is_an_error(tmp_path: Path, state: dict[str, torch.Tensor], change: str) -> None:
    if change == "missing":
        del state["blocks.1.attn.qkv.weight"]
    elif change == "extra":
        state["blocks.1.attn.q_norm.weight"] = torch.ones(16)
    else:
        state["t_block.1.bias"] = torch.zeros(5)
    with pytest.raises(MissingWeightsError, match="keys do not match"):
        load_network(save(tmp_path, state), **CPU)


def test_diffusers_names(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """The same weights as a PixArtTransformer2DModel folder spells them."""
    pairs = (
        ("x_embedder.proj.", "pos_embed.proj."),
        ("t_embedder.mlp.0.", "adaln_single.emb.timestep_embedder.linear_1."),
        ("t_embedder.mlp.2.", "adaln_single.emb.timestep_embedder.linear_2."),
        ("t_block.1.", "adaln_single.linear."),
        ("final_layer.scale_shift_table", "scale_shift_table"),
        ("final_layer.linear.", "proj_out."),
        (".attn.proj.", ".attn1.to_out.0."),
        (".mlp.fc1.", ".ff.net.0.proj."),
        (".mlp.fc2.", ".ff.net.2."),
        (".cross_attn.proj.", ".attn2.to_out.0."),
    )
    spelled: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if key == "pos_embed" or key.startswith("y_embedder"):
            continue
        for own, other in pairs:
            key = key.replace(own, other)
        key = key.replace("blocks.", "transformer_blocks.") if key.startswith("blocks.") else key
        if ".attn.qkv." in key:
            for name, part in zip("qkv", value.chunk(3), strict=True):
                spelled[key.replace(".attn.qkv.", f".attn1.to_{name}.")] = part.clone()
        else:
            spelled[key] = value
    save_file(spelled, tmp_path / "diffusion_pytorch_model.safetensors")
    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "patch_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    loaded = load_network(tmp_path, **CPU)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state[key]), key
    del spelled["transformer_blocks.0.attn1.to_k.weight"]
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()  # it is mapped
    save_file(spelled, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(MissingWeightsError, match=r"1 missing \(blocks\.0\.attn\.qkv\.weight\)"):
        load_network(tmp_path, **CPU)


def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    victim = tmp_path / "victim"

    class Code:
        def __reduce__(self):
            return (victim.touch, ())

    path = tmp_path / "worldfm_1-step.pth"
    path.write_bytes(pickle.dumps({"state_dict": Code()}, protocol=2))
    with pytest.raises(MissingWeightsError, match="refused"):
        load_network(path, **CPU)
    assert not victim.exists()


def test_sizes_come_from_the_config_or_the_published_width(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(MissingWeightsError, match="a network of width 32"):
        read_config(save(tmp_path, state, config=None))
    published = {"x_embedder.proj.weight": torch.zeros(1152, 4, 2, 2)}
    assert read_config(save(tmp_path, published, config=None)) == WorldFMConfig()


@pytest.mark.parametrize(
    "changes",
    [{"depth": 0}, {"num_heads": "2"}, {"hidden_size": 33}, {"qk_norm": True}, {"camera_encoding": "rope"}],
)
def test_configs_of_other_networks_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        parse_config(SMALL | changes)


def test_the_published_class_gives_positions_by_its_input(tmp_path: Path) -> None:
    """An image size of 1024: twice the tokens, positions twice as close."""
    published = SMALL | {"input_size": 128, "pe_interpolation": 2.0}
    assert parse_config(published).position_range == parse_config(SMALL).position_range == 32.0
    diffusers = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2}
    for size, scale, reach in ((64, None, 32.0), (128, None, 32.0), (32, None, 16.0), (64, 2.0, 16.0)):
        made = parse_config(diffusers | {"sample_size": size, "interpolation_scale": scale})
        assert made.position_range == reach


def test_autoencoder_halves_load_apart(tmp_path: Path) -> None:
    config = AutoencoderConfig((8, 8, 16, 16), layers_per_block=1, norm_num_groups=4)
    encoder, decoder = seeded(ImageEncoder(config)), seeded(ImageDecoder(config))
    save_file({**encoder.state_dict(), **decoder.state_dict()}, tmp_path / "diffusion_pytorch_model.safetensors")
    values = {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4}
    (tmp_path / "config.json").write_text(json.dumps(values))
    images = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        latents = load_encoder(tmp_path, **CPU)(images)
        assert latents.shape == (1, 4, 4, 6)
        torch.testing.assert_close(latents, encoder(images))
        torch.testing.assert_close(load_decoder(tmp_path, **CPU)(latents), decoder(latents))
        noise = torch.ones_like(latents)
        spread = (encoder(images, noise) - latents) / config.scaling_factor
        torch.testing.assert_close(spread, (0.5 * encoder.distribution(images)[1]).exp())


def test_autoencoders_of_other_kinds_are_refused() -> None:
    for values in ({"latent_channels": 16}, {"shift_factor": 0.1}, {"block_out_channels": 8}, {"scaling_factor": 0}):
        with pytest.raises(UsageError):
            parse_autoencoder_config(values)
