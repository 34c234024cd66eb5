"""The causal DiT: published names, strict loading, and the laws of its passes. Its numbers are in test_parity.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.paths import GOLDEN

from inspatio.errors import MissingWeightsError, UsageError
from inspatio.generation.inspatio_world.block_loop import Schedule
from inspatio.models.wan.cache import KVCache, LayerCache, Rotary, apply_rotary
from inspatio.models.wan.checkpoint import PUBLISHED as PUBLISHED_SIZES
from inspatio.models.wan.checkpoint import parse_config, published_name
from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.weights import load_state, load_strict

PUBLISHED = json.loads((GOLDEN / "checkpoint_keys.json").read_text())
TINY = DiTConfig(dim=48, ffn_dim=80, num_heads=4, num_layers=3, freq_dim=32, text_dim=24, text_len=8)
SIZE = (4, 6)


def network(config: DiTConfig = TINY) -> CausalDiT:
    dit = CausalDiT(config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in dit.named_parameters():
        spread = 0.5 if name.endswith("modulation") else parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        offset = 1.0 if name.endswith("weight") and parameter.ndim == 1 else 0.0
        parameter.data = offset + spread * torch.randn(parameter.shape, generator=generator)
    return dit.requires_grad_(False)


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("file", "width"), [("InSpatio-World-1.3B.safetensors", 1536), ("14B (same layout, no model. prefix)", 5120)]
)
def test_published_names_and_shapes(file: str, width: int) -> None:
    with torch.device("meta"):
        expected = {key: list(value.shape) for key, value in CausalDiT(PUBLISHED_SIZES[width]).state_dict().items()}
    assert {published_name(key): shape for key, shape in PUBLISHED[file].items()} == expected


def test_image_conditioning_of_the_14b_base_is_skipped() -> None:
    for key in (
        "img_emb.proj.0.weight",
        "blocks.3.cross_attn.k_img.bias",
        "model.blocks.0.cross_attn.norm_k_img.weight",
    ):
        assert published_name(key) is None
    assert published_name("model.blocks.0.cross_attn.k.bias") == "blocks.0.cross_attn.k.bias"


def test_loads_strictly_from_a_file(tmp_path: Path) -> None:
    original = network()
    state = {f"model.{key}": value for key, value in original.state_dict().items()}
    path = tmp_path / "dit.safetensors"
    save_file(state, path)
    with torch.device("meta"):
        loaded = CausalDiT(TINY)
    load_strict(loaded, load_state(path), source=path, rename=published_name)
    loaded.place(torch.device("cpu"), torch.bfloat16)
    assert loaded.dtype == loaded.get_parameter("blocks.0.ffn.0.weight").dtype == torch.bfloat16
    assert loaded.get_parameter("time_projection.1.weight").dtype == torch.float32
    assert loaded.head.modulation.dtype == torch.float32

    wider = DiTConfig(dim=64, ffn_dim=80, num_heads=4, num_layers=3, freq_dim=32, text_dim=24, text_len=8)
    with torch.device("meta"):
        other = CausalDiT(wider)
    with pytest.raises(MissingWeightsError, match="expected 64x64"):
        load_strict(other, load_state(path), source=path, rename=published_name)


def test_config_of_another_network() -> None:
    with pytest.raises(UsageError, match="ffn_dim"):
        parse_config({"dim": 48, "num_heads": 4, "num_layers": 2})
    with pytest.raises(UsageError, match="patch_size"):
        parse_config({"dim": 48, "ffn_dim": 64, "num_heads": 4, "num_layers": 2, "patch_size": [1, 4, 4]})
    with pytest.raises(UsageError, match="multiple of the heads"):
        parse_config({"dim": 50, "ffn_dim": 64, "num_heads": 4, "num_layers": 2})


@torch.inference_mode()
def test_denoising_reads_the_context_only_up_to_its_length() -> None:
    """What an earlier, longer context left in the buffers is not seen."""
    dit = network()
    text = dit.encode_text(random(1, 8, 24))
    cache = dit.make_cache(*SIZE)
    noisy, condition = random(1, 3, 16, *SIZE, seed=2), random(1, 3, 20, *SIZE, seed=3)
    zero, late = dit.time_modulation(0.0), dit.time_modulation(625.0)
    buffers = [key.data_ptr() for key in cache.keys]

    dit.prefill(random(1, 3, 16, *SIZE, seed=4), zero, text, cache)
    first = dit.denoise(noisy, condition, late, text, cache)
    dit.prefill(random(1, 6, 16, *SIZE, seed=5), zero, text, cache)
    longer = dit.denoise(noisy, condition, late, text, cache)
    dit.prefill(random(1, 3, 16, *SIZE, seed=4), zero, text, cache)
    assert torch.equal(dit.denoise(noisy, condition, late, text, cache), first)
    assert not torch.allclose(longer, first)
    assert [key.data_ptr() for key in cache.keys] == buffers


@torch.inference_mode()
def test_denoising_leaves_the_context_alone() -> None:
    dit = network()
    text = dit.encode_text(random(1, 8, 24))
    cache = dit.make_cache(*SIZE)
    dit.prefill(random(1, 6, 16, *SIZE), dit.time_modulation(0.0), text, cache)
    before = [keys[:, : cache.length].clone() for keys in cache.keys]
    dit.denoise(random(1, 3, 16, *SIZE), random(1, 3, 20, *SIZE), dit.time_modulation(1000.0), text, cache)
    assert all(torch.equal(keys[:, : cache.length], old) for keys, old in zip(cache.keys, before, strict=True))


@torch.inference_mode()
def test_a_batch_is_its_clips_one_by_one() -> None:
    dit = network()
    embeddings, context = random(2, 8, 24), random(2, 3, 16, *SIZE)
    noisy, condition = random(2, 3, 16, *SIZE, seed=2), random(2, 3, 20, *SIZE, seed=3)

    def run(clips: slice) -> torch.Tensor:
        text = dit.encode_text(embeddings[clips])
        cache = dit.make_cache(*SIZE, batch=embeddings[clips].shape[0])
        dit.prefill(context[clips], dit.time_modulation(0.0), text, cache)
        return dit.denoise(noisy[clips], condition[clips], dit.time_modulation(500.0), text, cache)

    torch.testing.assert_close(run(slice(0, 2)), torch.cat((run(slice(0, 1)), run(slice(1, 2)))))


def test_denoising_needs_a_context() -> None:
    dit = network()
    with pytest.raises(AssertionError, match="prefill"):
        dit.denoise(
            random(1, 3, 16, *SIZE),
            random(1, 3, 20, *SIZE),
            dit.time_modulation(500.0),
            dit.encode_text(random(1, 8, 24)),
            dit.make_cache(*SIZE),
        )


def test_a_batch_of_times_is_its_times_one_by_one() -> None:
    dit = network()
    text, latents = dit.encode_text(random(2, 8, 24)), random(2, 3, 16, *SIZE)
    noisy, condition = random(2, 3, 16, *SIZE, seed=2), random(2, 3, 20, *SIZE, seed=3)
    cache = dit.make_cache(*SIZE, batch=2)
    dit.prefill(latents, dit.time_modulation(torch.zeros(2)), text, cache)
    together = dit.denoise(noisy, condition, dit.time_modulation(torch.tensor([900.0, 300.0])), text, cache)
    dit.prefill(latents, dit.time_modulation(0.0), text, cache)
    for sample, time in enumerate((900.0, 300.0)):
        alone = dit.denoise(noisy, condition, dit.time_modulation(time), text, cache)
        torch.testing.assert_close(together[sample], alone[sample], rtol=0, atol=1e-5)


def two_passes(dit: CausalDiT, cache: KVCache, schedule: Schedule | None = None) -> torch.Tensor:
    """A block's flow, its context prefilled."""
    text = dit.encode_text(random(1, 8, 24))
    clean, late = dit.time_modulation(0.0), dit.time_modulation(625.0)
    if schedule is not None:
        clean, late = schedule.context, schedule.steps[0]
    dit.prefill(random(1, 6, 16, *SIZE, seed=4), clean, text, cache)
    return dit.denoise(random(1, 3, 16, *SIZE, seed=2), random(1, 3, 20, *SIZE, seed=3), late, text, cache)


def uncached_pass(dit: CausalDiT, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The same as one pass over context and block with a mask, each token with its own time's modulation."""

    class Everything(LayerCache):
        def append(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return keys, values

    tokens = SIZE[0] * SIZE[1] // 4
    is_block = torch.arange(9 * tokens) >= 6 * tokens
    hidden = is_block[None, :] & ~is_block[:, None]

    def masked(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        logits = torch.einsum("bnhd,bmhd->bhnm", query, key) * query.shape[-1] ** -0.5
        return torch.einsum("bhnm,bmhd->bnhd", logits.masked_fill(hidden, float("-inf")).softmax(dim=-1), value)

    def per_token(clean: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
        return torch.where(is_block[:, None], late[..., None, None, :], clean[..., None, None, :])

    text, everything = dit.encode_text(random(1, 8, 24)), Everything()
    clean, late = dit.time_modulation(0.0), dit.time_modulation(625.0)
    context, zeros = random(1, 6, 16, *SIZE, seed=4), torch.zeros(1, 6, 20, *SIZE)
    block = torch.cat((random(1, 3, 16, *SIZE, seed=2), random(1, 3, 20, *SIZE, seed=3)), dim=2)
    latents = torch.cat((torch.cat((context, zeros), dim=2), block), dim=1)
    x = dit.patch_embedding(latents.transpose(1, 2)).flatten(2).transpose(1, 2)
    rotary = Rotary.grid(9, SIZE[0] // 2, SIZE[1] // 2, dit.config.head_size, torch.device("cpu"))
    for index, layer in enumerate(dit.blocks):
        monkeypatch.setattr(layer.cached_attention, "attend", masked)
        x = layer(x, per_token(clean.layers[index], late.layers[index]), rotary, text.layer(index), everything)
    patches = dit.head(x, per_token(clean.head, late.head))[:, 6 * tokens :]
    return patches.unflatten(1, (3, SIZE[0] // 2, SIZE[1] // 2)).unflatten(-1, (2, 2, 16))


def test_gradients_reach_every_parameter_through_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functional cache gives the in-place one's result, and the gradients of a pass without a cache."""
    dit = network()
    with torch.no_grad():
        expected = two_passes(dit, dit.make_cache(*SIZE))
    dit.requires_grad_(True)
    flow = two_passes(dit, dit.make_functional_cache(*SIZE))
    torch.testing.assert_close(flow, expected, rtol=0, atol=1e-6)
    flow.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in dit.named_parameters()}
    missing = [name for name, gradient in gradients.items() if gradient is None or not gradient.abs().sum() > 0]
    assert not missing
    dit.zero_grad()
    uncached_pass(dit, monkeypatch).square().mean().backward()
    for name, parameter in dit.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_schedule_serves_training() -> None:
    """Also one that was made while the caller was in inference mode."""
    dit = network()
    with torch.inference_mode():
        schedule = Schedule.make(dit, (1000,), 5.0)
    dit.requires_grad_(True)
    two_passes(dit, dit.make_functional_cache(*SIZE), schedule).sum().backward()
    assert dit.get_parameter("blocks.0.ffn.0.weight").grad is not None


def test_size_that_cannot_be_cut_into_patches() -> None:
    with pytest.raises(UsageError, match="multiples of 16 pixels"):
        network().make_cache(5, 6)


def test_rotary_keeps_lengths_and_depends_on_distance_alone() -> None:
    table = Rotary.grid(4, 1, 1, 24, torch.device("cpu"))
    assert table.cos.shape == (4, 1, 24)
    query, key = random(1, 1, 1, 24).expand(1, 4, 1, 24), random(1, 1, 1, 24, seed=2).expand(1, 4, 1, 24)
    turned_query, turned_key = apply_rotary(query, table), apply_rotary(key, table)
    torch.testing.assert_close(turned_query.norm(dim=-1), query.norm(dim=-1))
    scores = torch.einsum("bnhd,bmhd->nm", turned_query, turned_key)
    torch.testing.assert_close(scores[0, 1], scores[2, 3])
    assert not torch.isclose(scores[0, 1], scores[0, 2])


def test_rotary_pairs_of_the_published_head() -> None:
    """128 channels: 22 pairs turn with the frame, 21 with the row, 21 with the column."""
    table = Rotary.grid(2, 2, 2, 128, torch.device("cpu"))
    angle = torch.atan2(table.sin, table.cos)[:, 0, 1::2]
    moved = [(angle[token] != 0).nonzero().flatten().tolist() for token in (4, 2, 1)]
    assert moved == [list(range(22)), list(range(22, 43)), list(range(43, 64))]
