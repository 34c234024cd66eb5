"""Loading a profile's networks, and the ways of running them that must not change what they compute."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.networks import TINY, embed, make_dit, seeded
from support.scenes import NOISE_SIZE, noise_scene, sideways, targets
from torch._dynamo.utils import counters

from inspatio.config import GeneratorConfig
from inspatio.errors import MissingWeightsError, UsageError
from inspatio.generation.inspatio_world import loading
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.inspatio_world.cuda_graphs import GraphedBlockLoop, Work
from inspatio.generation.inspatio_world.loading import compiles, describe_causal, load_causal
from inspatio.models.checkpoints import WAN_TEXT_ENCODER, WAN_VAE
from inspatio.models.wan.checkpoint import PUBLISHED, read_config
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.offload import offload_blocks
from inspatio.models.wan.optimize import (
    Float8Linear,
    compile_blocks,
    fuse_gelu,
    join_projections,
    quantize_fp8,
    round_products,
    to_fp8,
    why_no_fp8,
)
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.models.weights import load_state
from inspatio.render.splat import WarpRenderer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GeneratorConfig:
    """A checkpoints folder in the published layout."""
    root = tmp_path_factory.mktemp("checkpoints")
    wan = root / "Wan"
    wan.mkdir()
    save_file({f"model.{key}": value for key, value in make_dit().state_dict().items()}, root / "world.safetensors")
    (wan / "config.json").write_text(json.dumps({**asdict(TINY), "in_dim": 16, "model_type": "t2v"}))
    torch.save({"embedding": torch.zeros(1)}, wan / WAN_TEXT_ENCODER)
    for path, parts in (
        (wan / WAN_VAE, (WanEncoder(8), WanDecoder(8))),
        (root / "tae.pth", (TaeEncoder(8), TaeDecoder(8))),
    ):
        for part in parts:
            seeded(part)
        torch.save({key: value for part in parts for key, value in part.state_dict().items()}, path)
    return GeneratorConfig(
        checkpoint_path=str(root / "world.safetensors"),
        wan_path=str(wan),
        tae_checkpoint_path=str(root / "tae.pth"),
        precision="fp32",
        steps=(1000, 500),
    )


def first_block(config: GeneratorConfig) -> np.ndarray:
    generator = load_causal(config, NOISE_SIZE, CPU, prompts=embed, renderer=WarpRenderer())
    json.dumps(describe_causal(config))
    return generator.start(noise_scene(9), seed=1).step(targets(noise_scene(9), sideways(9))).frames.numpy()


@pytest.mark.parametrize(("encoder", "decoder"), [("wan", "wan"), ("wan", "taehv"), ("taehv", "taehv")])
def test_runs_with_either_autoencoder_on_either_side(config: GeneratorConfig, encoder: str, decoder: str) -> None:
    frames = first_block(replace(config, encoder=encoder, decoder=decoder))
    assert frames.shape == (9, *NOISE_SIZE, 3)
    assert frames.std() > 1


@pytest.mark.parametrize("name", ["wan", "taehv"])
def test_offload_changes_nothing(config: GeneratorConfig, name: str) -> None:
    """Nor do layers, caches and states that come and go, over several blocks."""

    def frames(config: GeneratorConfig) -> np.ndarray:
        generator = load_causal(config, NOISE_SIZE, CPU, prompts=embed, renderer=WarpRenderer())
        session = generator.start(noise_scene(33), seed=1)
        return np.concatenate(
            [session.step(targets(noise_scene(33), sideways(count))).frames.numpy() for count in (9, 12, 12)]
        )

    config = replace(config, encoder=name, decoder=name)
    assert np.array_equal(frames(replace(config, offload=True)), frames(config))


def test_without_a_working_compiler_layers_run_uncompiled_and_that_is_said(
    config: GeneratorConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "why_not_compiled", lambda _: "no C compiler")
    counters.clear()
    with caplog.at_level(logging.WARNING):
        first_block(replace(config, compile_dit=True))
    assert not counters["stats"], "a layer was compiled"
    assert "no C compiler" in caplog.text


def test_bf16_is_near_fp32(config: GeneratorConfig) -> None:
    exact, rounded = (first_block(replace(config, precision=name)).astype(int) for name in ("fp32", "bf16"))
    assert np.abs(exact - rounded).mean() < 4


def test_fingerprint_follows_the_files_and_the_options(config: GeneratorConfig, tmp_path: Path) -> None:
    whole = describe_causal(config)
    assert describe_causal(replace(config, compile_dit=True, offload=True)) == whole
    assert describe_causal(replace(config, decoder="taehv")) != whole
    assert describe_causal(replace(config, shift=3.0)) != whole
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    assert describe_causal(replace(config, checkpoint_path=str(other))) != whole


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"checkpoint_path": "nowhere/world.safetensors"}, MissingWeightsError, "no such file"),
        ({"tae_checkpoint_path": "nowhere.pth", "decoder": "taehv"}, MissingWeightsError, "no such file"),
        ({"precision": "fp4"}, UsageError, "expected bf16, fp32 or fp8"),
        ({"precision": "fp8"}, UsageError, "needs an NVIDIA GPU"),
        ({"precision": "fp8", "offload": True}, UsageError, "cannot go together"),
        ({"steps": [250, 500]}, UsageError, "denoising steps"),
    ],
)
def test_what_cannot_be_loaded(
    config: GeneratorConfig, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        first_block(replace(config, **change))


def test_config_that_does_not_fit_the_file(config: GeneratorConfig, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**asdict(TINY), "ffn_dim": 96}))
    checkpoint = tmp_path / "world.safetensors"
    checkpoint.write_bytes(Path(config.checkpoint_path).read_bytes())
    with pytest.raises(MissingWeightsError, match="expected 96x48"):
        first_block(replace(config, checkpoint_path=str(checkpoint)))


@pytest.mark.parametrize(
    ("text", "error"), [(None, MissingWeightsError), ("{", MissingWeightsError), ("{}", UsageError)]
)
def test_config_that_is_none(config: GeneratorConfig, tmp_path: Path, text: str | None, error: type[Exception]) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(error, match=r"config\.json"):
        first_block(replace(config, wan_path=str(tmp_path)))


@pytest.mark.parametrize("width", [1536, 5120])
def test_a_published_checkpoint_says_its_own_size(config: GeneratorConfig, tmp_path: Path, width: int) -> None:
    checkpoint = tmp_path / "world.safetensors"
    save_file({"model.patch_embedding.weight": torch.zeros(width, 36, 1, 2, 2, dtype=torch.bfloat16)}, checkpoint)
    found = read_config(checkpoint, Path(config.wan_path))
    assert found == PUBLISHED[width]
    assert found.head_size == 128


def two_blocks(dit: CausalDiT, size: tuple[int, int] = (4, 6)) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        loop = BlockLoop(
            dit,
            Schedule.make(dit, (1000, 500), 5.0),
            dit.encode_text(embed("a room")),
        )
        parts = [torch.randn(1, 3, 36, *size, generator=random) for _ in range(2)]
        noise = torch.randn(2, 2, 1, 3, 16, *size, generator=random)
        steps = [loop.step(part[:, :, :16], part[:, :, 16:], noise[block]) for block, part in enumerate(parts)]
        return torch.cat(steps)


def five_blocks(make_loop: Callable[..., BlockLoop]) -> tuple[torch.Tensor, BlockLoop]:
    """Five blocks, of which the last two have another prompt."""
    random, dit = torch.Generator().manual_seed(3), make_dit()
    with torch.inference_mode():
        loop = make_loop(dit, Schedule.make(dit, (1000, 500), 5.0), dit.encode_text(embed("a room")))
        made = []
        for block in range(5):
            if block == 3:
                loop.set_text(dit.encode_text(embed("another room, brightly lit")))
            part = torch.randn(1, 3, 36, 4, 6, generator=random)
            noise = torch.randn(2, 1, 3, 16, 4, 6, generator=random)
            made.append(loop.step(part[:, :, :16], part[:, :, 16:], noise))
        return torch.stack(made), loop


def test_replayed_blocks_are_the_plain_ones() -> None:
    """With a recording that calls the recorded work again, on the buffers that were recorded."""
    recorded: list[int] = []

    def record(work: Work) -> Work:
        recorded.append(1)
        return work

    expected, _ = five_blocks(BlockLoop)
    got, _ = five_blocks(lambda *given: GraphedBlockLoop(*given, record=record))
    assert torch.equal(got, expected)
    assert len(recorded) == 2, "prefill and denoising are recorded once each"


def test_recording_that_fails_leaves_the_plain_blocks(caplog: pytest.LogCaptureFixture) -> None:
    def record(work: Work) -> Work:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    expected, _ = five_blocks(BlockLoop)
    got, _ = five_blocks(lambda *given: GraphedBlockLoop(*given, record=record))
    assert torch.equal(got, expected)
    assert [message.count("\n") for message in caplog.messages] == [0, 0]
    assert "not permitted when stream is capturing" in caplog.text


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_that_visit_the_device_in_turn(layers: int) -> None:
    """Whether their number is odd or even; the second block finds the layers where the first one left them."""
    expected = two_blocks(make_dit(replace(TINY, num_layers=layers)))
    dit = make_dit(replace(TINY, num_layers=layers))
    offload_blocks(dit, CPU)
    assert torch.equal(two_blocks(dit), expected)


def test_a_pass_that_failed_leaves_every_layer_its_own_weights() -> None:
    dit, expected = make_dit(), make_dit()
    offload_blocks(dit, CPU)
    kept = iter(dit.blocks)  # as a traceback keeps it
    next(kept)
    for block, own in zip(dit.blocks, expected.blocks, strict=True):
        assert torch.equal(block.get_parameter("ffn.0.weight"), own.get_parameter("ffn.0.weight"))
    del kept
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in dit.state_dict().items())


def test_layers_are_compiled_once_for_all() -> None:
    """Prefill and denoising, each with a context of one block and of two: four graphs for each frame size, without a
    break in any, and none more for a second clip."""
    torch.compiler.reset()
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, _: object) -> Any:
        graphs.append(graph)
        return graph.forward

    config = replace(TINY, num_layers=5)
    expected = two_blocks(make_dit(config))
    dit = join_projections(make_dit(config))
    compile_blocks(dit, backend=count)
    counters.clear()
    torch.testing.assert_close(two_blocks(dit), expected)
    two_blocks(dit)
    assert len(graphs) == 4
    assert not counters["graph_break"]
    for number, size in enumerate([(4, 4), (6, 6)], start=2):
        two_blocks(dit, size)
        assert len(graphs) == 4 * number, "a frame size runs uncompiled"
    torch.compiler.reset()


def test_joined_projections_keep_names_values_and_results(tmp_path: Path) -> None:
    expected, dit = make_dit(), join_projections(make_dit())
    assert all(block.self_attn.joined_weight is not None for block in dit.blocks.children())
    torch.testing.assert_close(two_blocks(dit), two_blocks(expected))
    save_file(dit.state_dict(), tmp_path / "saved.safetensors")
    saved = load_state(tmp_path / "saved.safetensors")
    assert saved.keys() == expected.state_dict().keys()
    assert all(torch.equal(saved[name], value) for name, value in expected.state_dict().items())
    other = make_dit()
    for parameter in other.parameters():
        parameter.data = parameter.data * 0.5
    dit.load_state_dict(other.state_dict())  # the joined weights follow what is loaded
    torch.testing.assert_close(two_blocks(dit), two_blocks(other))


def test_fused_gelu_is_the_activation_of_the_product_before_it() -> None:
    """On a CPU the fused form is the exact one, on a GPU the network's own (tanh)."""
    dit = fuse_gelu(make_dit())
    assert dit.state_dict().keys() == make_dit().state_dict().keys()
    x = torch.randn(2, 5, TINY.dim, generator=torch.Generator().manual_seed(0))
    for fused, plain in zip(dit.blocks.children(), make_dit().blocks.children(), strict=True):
        expected = plain.ffn[2](torch.nn.functional.gelu(plain.ffn[0](x)))
        torch.testing.assert_close(fused.ffn(x), expected)


def test_8_bit_products_follow_their_rounding() -> None:
    """The product of the rounded factors, scaled back, and near the exact one; nothing else changes."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48).bfloat16()
    x = torch.randn(2, 9, 64).bfloat16() * torch.logspace(-3, 3, 9)[:, None].bfloat16()
    with torch.no_grad():
        rows, row_scale = to_fp8(x.flatten(0, 1))
        columns, column_scale = to_fp8(linear.weight)
        rounded = (rows.float() * row_scale) @ (columns.float() * column_scale).t() + linear.bias.float()
        got, exact = Float8Linear(linear)(x).float().flatten(0, 1), linear(x).float().flatten(0, 1)
    torch.testing.assert_close(got, rounded, rtol=1e-2, atol=1e-2 * float(rounded.abs().min(dim=1).values.max()))
    # Each token has a scale of its own, so that small ones are as exact as large ones.
    assert float(((got - exact).norm(dim=1) / exact.norm(dim=1)).max()) < 0.05

    dit = make_dit(replace(TINY, dim=64, ffn_dim=96)).place(CPU, torch.bfloat16)
    before = {name: type(module) for name, module in dit.named_modules()}
    for block in dit.blocks.children():
        round_products(block)
    changed = {name for name, module in dit.named_modules() if type(module) is not before[name]}
    names = ("self_attn.q", "self_attn.k", "self_attn.v", "cross_attn.q", "ffn.0", "ffn.2")
    assert changed == {f"blocks.{layer}.{name}" for layer in range(TINY.num_layers) for name in names}


def test_an_8_bit_network_is_near_the_exact_one() -> None:
    config = replace(TINY, dim=64, ffn_dim=96)
    dit = make_dit(config).place(CPU, torch.bfloat16)
    exact = two_blocks(dit)
    for block in dit.blocks.children():
        round_products(block)
    rounded = two_blocks(dit)
    assert not torch.equal(rounded, exact)
    assert float((rounded - exact).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize(
    ("given", "device", "frames", "expected"),
    [
        ({}, "cpu", 10**6, False),
        ({}, "cuda", 100, False),
        ({}, "cuda", 20_000, True),
        ({"precision": "fp8"}, "cuda", 100, True),
        ({"compile_dit": False}, "cuda", 10**6, False),
        ({"compile_dit": True}, "cpu", 0, True),
    ],
)
def test_compiles_where_it_pays(given: dict[str, Any], device: str, frames: int, expected: bool) -> None:
    assert compiles(GeneratorConfig(**given), torch.device(device), frames) is expected


def test_fp8_says_why_not() -> None:
    assert "NVIDIA" in (why_no_fp8(CPU) or "")
    with pytest.raises(UsageError, match="use precision bf16"):
        quantize_fp8(make_dit(), CPU)
