"""The memory estimate: what is kept is exact, what passes is what a real run holds, and it does not grow."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from inspatio.config import AutoencoderName, GeneratorConfig, Precision
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.inspatio_world.memory_estimate import META, LiveBytes, estimate_memory
from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.models.wan.vae_layers import Working

TINY = DiTConfig(dim=48, ffn_dim=96, num_heads=4, num_layers=2, text_dim=32, text_len=16)
SIZE = (48, 80)
WIDTHS = (8, 8)
PUBLISHED = DiTConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
FEWER_LAYERS = replace(PUBLISHED, num_layers=4)


def as_on_a_gpu(half: Any) -> Any:
    """Have a half of the Wan VAE keep its tails on the host and work in the passes that it has on GPUs."""
    if isinstance(half, (WanEncoder, WanDecoder)):
        half.working = Working.on(META)
    return half


def tensors(*values: torch.Tensor) -> int:
    return sum(value.numel() * value.element_size() for value in values)


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"), [("wan", WanEncoder, WanDecoder), ("taehv", TaeEncoder, TaeDecoder)]
)
def test_what_is_kept_is_exact(name: AutoencoderName, encoder, decoder) -> None:
    """Against real networks on the CPU that have run for three blocks."""
    config = GeneratorConfig(encoder=name, decoder=name, precision="bf16")
    kept = estimate_memory(config, TINY, SIZE, widths=WIDTHS).kept
    dtype = torch.bfloat16
    dit = CausalDiT(TINY, attend=lambda q, k, v: torch.zeros_like(q)).place(torch.device("cpu"), dtype)
    encoder, decoder = as_on_a_gpu(encoder(8).to(dtype)), as_on_a_gpu(decoder(8).to(dtype))
    source, render, going = encoder.start(), encoder.start(), decoder.start()
    with torch.inference_mode():
        text = dit.encode_text(torch.zeros(1, 16, 32))
        loop = BlockLoop(dit, Schedule.make(dit, [1000, 500], 5.0), text)
        for frames in (9, 12, 12):
            video = torch.zeros(1, 3, frames, *SIZE, dtype=dtype)
            encoder.encode(video, source)
            latents = encoder.encode(video, render)
            loop.step(latents, torch.zeros(1, 3, 20, 6, 10, dtype=dtype), torch.zeros(2, *latents.shape))
            decoder.decode(latents, going)
    cache = loop.cache
    assert cache is not None
    assert kept["transformer weights"] == tensors(*dit.parameters())
    assert kept["encoder weights"] == tensors(*encoder.parameters())
    assert kept["decoder weights"] == tensors(*decoder.parameters())
    assert kept["context keys and values"] == tensors(*cache.keys, *cache.values, cache.rotary.cos, cache.rotary.sin)
    assert kept["prompt keys and values"] == tensors(*text.keys, *text.values)
    assert kept["encoder states (source and render)"] == source.bytes + render.bytes
    assert kept["decoder state"] == going.bytes


@pytest.mark.parametrize("model", [WanDecoder, TaeDecoder])
def test_what_passes_is_what_a_real_run_holds(model) -> None:
    """Loosely: kernels on the CPU make temporary tensors of their own that the meta device does not."""
    name = "wan" if model is WanDecoder else "taehv"
    estimate = estimate_memory(GeneratorConfig(encoder=name, decoder=name), TINY, (64, 96), widths=WIDTHS)
    decoder = as_on_a_gpu(model(8).bfloat16())
    state = decoder.start()
    latents = torch.zeros(1, 3, 16, 8, 12, dtype=torch.bfloat16)
    with torch.no_grad(), LiveBytes() as live:
        live.during(decoder.decode, latents, state)
        real = live.during(decoder.decode, latents, state)
        assert live.during(decoder.decode, latents, state) == real  # nothing piles up
    assert 0.8 * estimate.passing["decode"] <= real <= 1.5 * estimate.passing["decode"]


def test_live_bytes_counts_what_is_alive() -> None:
    def work() -> None:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b * 2
        b.add_(c[:500].sum())

    with LiveBytes() as live:
        assert 8000 <= live.during(work) <= 8100
        assert live.now == 0


@cache
def published_peak(name: AutoencoderName = "taehv", offload: bool = False, precision: Precision = "bf16") -> int:
    config = GeneratorConfig(encoder=name, decoder=name, offload=offload, precision=precision)
    return estimate_memory(config, FEWER_LAYERS, (480, 832)).peak


def test_offload_fp8_and_small_autoencoders_take_less() -> None:
    assert published_peak() < published_peak("wan")
    for name in ("wan", "taehv"):
        assert published_peak(name, offload=True) < published_peak(name)
    assert published_peak(precision="fp8") < published_peak()


def test_a_portrait_frame_takes_what_a_wide_one_does() -> None:
    config = GeneratorConfig(encoder="taehv", decoder="taehv")
    assert estimate_memory(config, FEWER_LAYERS, (832, 480)).peak == pytest.approx(published_peak(), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "offload", "most"), [("taehv", False, 6.5), ("taehv", True, 4.2), ("wan", False, 8.0), ("wan", True, 4.2)]
)
def test_targets_at_832x480(codec, offload: bool, most: float) -> None:
    """What README promises, in GiB allocated; the CUDA context and the libraries' workspaces come to that.

    It holds the estimate to the promise; no GPU has measured either.
    """
    config = GeneratorConfig(encoder=codec, decoder=codec, offload=offload)
    assert estimate_memory(config, PUBLISHED, (480, 832)).peak < most * 2**30
