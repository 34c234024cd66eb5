"""Estimate WorldFM's peak memory on its device, before anything is loaded.

    peak = estimate_worldfm_memory(config, WorldFMConfig(), AutoencoderConfig(), (512, 512)).peak

As for InSpatio-World, the networks are built without storage (torch's meta device) and run once; the same is left out.
"""

from __future__ import annotations

import torch

from inspatio.config import GeneratorConfig
from inspatio.generation.inspatio_world.loading import precision_dtype
from inspatio.generation.inspatio_world.memory_estimate import (
    META,
    LiveBytes,
    MemoryEstimate,
    attended,
    module_bytes,
    transformer_bytes,
)
from inspatio.models.worldfm.autoencoder import SHRINK, AutoencoderConfig, ImageDecoder, ImageEncoder, working_dtype
from inspatio.models.worldfm.checkpoint import channels_last
from inspatio.models.worldfm.dit import LATENT_CHANNELS, WorldFM, WorldFMConfig


def estimate_worldfm_memory(
    config: GeneratorConfig, network_config: WorldFMConfig, autoencoder: AutoencoderConfig, size: tuple[int, int]
) -> MemoryEstimate:
    """What a profile's generator needs for frames of ``size`` (height, width).

    Raises:
        UsageError: the precision does not exist.
    """
    dtype = precision_dtype(config.precision)
    with META:
        network = WorldFM(network_config, attend=attended)
        encoder, decoder = ImageEncoder(autoencoder), ImageDecoder(autoencoder)
    network.place(META, dtype)
    for half in (encoder, decoder):
        channels_last(half.to(working_dtype(dtype)))
    count = config.frames_at_once
    pictures = torch.empty(count, 3, *size, device=META)
    latents = torch.empty(count, LATENT_CHANNELS, *(side // SHRINK for side in size), device=META)
    with torch.no_grad(), LiveBytes() as live:
        modulation = network.time_modulation(torch.tensor([config.steps[0]]))
        passing = {
            "encode": live.during(encoder, pictures),
            "denoise": live.during(network, latents, latents, latents, modulation),
            "decode": live.during(decoder, latents),
        }
    kept = {
        "transformer weights": transformer_bytes(network, config, dtype),
        "encoder weights": module_bytes(encoder),
        "decoder weights": module_bytes(decoder),
        "schedule": len(config.steps)
        * sum(each.numel() * each.element_size() for each in (modulation.layers, modulation.head)),
    }
    return MemoryEstimate(kept, passing, overlap=False)
