"""Assemble WorldFM's generator from a profile: which files, in which precision, on which device.

describe_worldfm(config)                                  what results depend on, without loading anything
load_worldfm(config, size, device, renderer=...)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch.distributed import ProcessGroup

from inspatio.config import GeneratorConfig
from inspatio.errors import UsageError
from inspatio.generation.inspatio_world.loading import compiles_here, precision_dtype, prepare_convolutions
from inspatio.generation.worldfm.session import WorldFMGenerator, WorldFMOptions
from inspatio.models.attention import attend_from_environment
from inspatio.models.wan.offload import offload_blocks
from inspatio.models.wan.optimize import compile_blocks, quantize_fp8
from inspatio.models.weights import weights_fingerprint
from inspatio.models.worldfm.autoencoder import working_dtype
from inspatio.models.worldfm.checkpoint import load_decoder, load_encoder, load_network
from inspatio.render.renderer import Renderer

VERSION = 3
"""Raised when the same weights and inputs would give other frames."""

_PUBLISHED_NAME = re.compile(r"worldfm_(\d+)-step")


def describe_worldfm(config: GeneratorConfig) -> dict[str, Any]:
    """Describe what WorldFM's results depend on besides scene, renderer and seed (JSON values).

    Raises:
        MissingWeightsError: a checkpoint is not there.
    """
    return {
        "backend": config.backend,
        "version": VERSION,
        "precision": config.precision,
        "steps": list(config.steps),
        "frame_noise": config.frame_noise,
        "weights": weights_fingerprint(Path(config.checkpoint_path)),
        "autoencoder": weights_fingerprint(Path(config.image_vae_path)),
    }


def load_worldfm(
    config: GeneratorConfig,
    size: tuple[int, int],
    device: torch.device,
    *,
    renderer: Renderer,
    group: ProcessGroup | None = None,
    frames: int = 0,
) -> WorldFMGenerator:
    """Load a profile's networks.

    Args:
        config: the profile's generator block.
        size: the working frame (height, width).
        device: where it runs.
        renderer: draws clips as the target cameras see them.
        group: the processes that share each clip's frames.
        frames: how many frames it will be asked for, as far as that is known.

    Raises:
        MissingWeightsError: a file is missing, damaged, another model's, or of another size than its config.
        UsageError: the checkpoint is for another number of steps, or the device cannot do what the config asks for.
    """
    checkpoint = Path(config.checkpoint_path)
    check_step_count(checkpoint, config.steps)
    dtype, home = precision_dtype(config.precision), torch.device("cpu") if config.offload else device
    prepare_convolutions(config, device)
    network = load_network(checkpoint, device=home, dtype=dtype, attend=attend_from_environment())
    encoder = load_encoder(Path(config.image_vae_path), device=device, dtype=working_dtype(dtype))
    decoder = load_decoder(Path(config.image_vae_path), device=device, dtype=working_dtype(dtype))
    if config.precision == "fp8":
        quantize_fp8(network, device)
    if config.offload:
        offload_blocks(network, device)
    if compiles_here(config, device, frames):
        compile_blocks(network)
    options = WorldFMOptions(
        size=size,
        steps=config.steps,
        noise=config.frame_noise,
        frames_at_once=config.frames_at_once,
    )
    return WorldFMGenerator(network, encoder, decoder, renderer, options, group)


def check_step_count(checkpoint: Path, steps: tuple[int, ...]) -> None:
    """Refuse a published checkpoint that was distilled for another number of steps; the file's name tells.

    Raises:
        UsageError: the name says another number.
    """
    named = _PUBLISHED_NAME.search(checkpoint.name)
    if named and int(named[1]) != len(steps):
        raise UsageError(
            f"{checkpoint}: was distilled for {named[1]} step{'s' * (named[1] != '1')}, got {len(steps)} "
            f"({', '.join(map(str, steps))}). Use --profile worldfm for the 2-step weights, worldfm_1step for the other"
        )
