"""The estimate of WorldFM's memory: exact for weights, near what a run holds, and what options change."""

from __future__ import annotations

from dataclasses import replace

import torch

from inspatio.config import GeneratorConfig
from inspatio.generation.inspatio_world.memory_estimate import LiveBytes
from inspatio.generation.worldfm.memory_estimate import estimate_worldfm_memory
from inspatio.models.worldfm.autoencoder import AutoencoderConfig, ImageDecoder
from inspatio.models.worldfm.dit import WorldFM, WorldFMConfig

SMALL = WorldFMConfig(hidden_size=64, depth=2, num_heads=2)
AUTOENCODER = AutoencoderConfig((16, 16, 32, 32), layers_per_block=1, norm_num_groups=8)
CONFIG = GeneratorConfig(backend="worldfm", steps=(999, 200))


def test_weights_are_exact_and_the_decoder_holds_what_was_said() -> None:
    config = replace(CONFIG, precision="fp32")
    estimate = estimate_worldfm_memory(config, SMALL, AUTOENCODER, (64, 96))
    with torch.device("meta"):
        assert estimate.kept["transformer weights"] == 4 * sum(p.numel() for p in WorldFM(SMALL).parameters())
    decoder = ImageDecoder(AUTOENCODER)
    with torch.no_grad(), LiveBytes() as live:
        real = live.during(decoder, torch.zeros(1, 4, 8, 12))
    assert 0.8 * estimate.passing["decode"] <= real <= 1.5 * estimate.passing["decode"]


def test_what_options_change() -> None:
    def peak(**changes) -> int:
        config = replace(CONFIG, **changes)
        return estimate_worldfm_memory(config, WorldFMConfig(depth=6), AutoencoderConfig(), (512, 512)).peak

    plain = peak()
    assert peak(offload=True) < plain < peak(precision="fp32")
    assert peak(precision="fp8") < plain
    assert plain < peak(frames_at_once=2)
