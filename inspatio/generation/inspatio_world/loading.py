"""From a profile's generator block to a :class:`CausalGenerator`: which files, in which precision, on which device.

    describe_causal(config)                                   what results depend on, without loading anything
    load_causal(config, size, device, prompts=..., renderer=...)

The network's size is that of a published checkpoint, or what a ``config.json`` says, and the checkpoint must fit it.
Weights go from the mapped file to the device one tensor at a time. The two autoencoders are chosen apart from each
other (``wan`` or ``taehv``), since they share one latent space.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from inspatio.config import GeneratorConfig
from inspatio.errors import MissingWeightsError, UsageError
from inspatio.generation.inspatio_world.session import CausalGenerator, CausalOptions, Prompts
from inspatio.models.attention import attend_from_environment
from inspatio.models.checkpoints import WAN_TEXT_ENCODER, WAN_VAE, how_to_get
from inspatio.models.wan import taehv
from inspatio.models.wan import vae as wan_vae
from inspatio.models.wan.autoencoder import VideoDecoder, VideoEncoder
from inspatio.models.wan.dit import PUBLISHED, CausalDiT, DiTConfig, published_name
from inspatio.models.wan.exchange import Exchange
from inspatio.models.wan.offload import offload_layers
from inspatio.models.wan.optimize import compile_layers, quantise_fp8
from inspatio.models.weights import load_state, load_strict, weights_fingerprint
from inspatio.render.live import Renderer

VERSION = 1
"""Raised when the same weights and inputs would give other frames."""

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp8": torch.bfloat16}
CODECS = ("wan", "taehv")


def describe_causal(config: GeneratorConfig) -> dict[str, Any]:
    """What a causal generator's results depend on besides scene, render, prompt and seed (JSON values).

    Raises:
        MissingWeightsError: a checkpoint is not there.
    """
    return {
        "backend": "causal",
        "version": VERSION,
        "weights": weights_fingerprint(Path(config.checkpoint_path)),
        "text_encoder": weights_fingerprint(Path(config.wan_path) / WAN_TEXT_ENCODER),
        "encoder": [config.encoder, weights_fingerprint(codec_path(config, config.encoder))],
        "decoder": [config.decoder, weights_fingerprint(codec_path(config, config.decoder))],
        "precision": config.precision,
        "steps": list(config.steps),
        "shift": config.shift,
    }


def load_causal(
    config: GeneratorConfig,
    size: tuple[int, int],
    device: torch.device,
    *,
    prompts: Prompts,
    renderer: Renderer,
    exchange: Exchange | None = None,
) -> CausalGenerator:
    """Load a profile's networks.

    Args:
        config: the profile's generator block.
        size: the working frame (height, width).
        device: where it runs.
        prompts: gives a prompt's embeddings ``1 m c``.
        renderer: for sessions without render files.
        exchange: shares each block between processes.

    Raises:
        MissingWeightsError: a file is missing, damaged, another model's, or of another size than its config.
        UsageError: the config asks for what there is not, or for what the device cannot do.
    """
    dtype = precision_dtype(config.precision)
    dit = load_dit(config, torch.device("cpu") if config.offload else device, dtype, exchange)
    encoder = load_encoder(config, device, dtype)
    decoder = load_decoder(config, device, dtype)
    return assemble(config, size, device, dit, encoder, decoder, prompts=prompts, renderer=renderer)


def assemble(
    config: GeneratorConfig,
    size: tuple[int, int],
    device: torch.device,
    dit: CausalDiT,
    encoder: VideoEncoder[Any],
    decoder: VideoDecoder[Any],
    *,
    prompts: Prompts,
    renderer: Renderer,
    fingerprint: dict[str, Any] | None = None,
) -> CausalGenerator:
    """A generator of networks that are there, with the config's offload, 8-bit products and compilation applied."""
    if config.offload:
        if config.precision == "fp8":
            raise UsageError("precision fp8 and offload cannot go together: use bf16 with offload, or fp8 without")
        offload_layers(dit, device)
    elif config.precision == "fp8":
        quantise_fp8(dit, device)
    if config.compile_dit:
        compile_layers(dit)
    options = CausalOptions(
        size=size,
        steps=tuple(config.steps),
        shift=config.shift,
        overlap=not config.offload,
        spare=config.offload,
        fingerprint=describe_causal(config) if fingerprint is None else fingerprint,
    )
    return CausalGenerator(dit, encoder, decoder, prompts, renderer, options)


def load_dit(
    config: GeneratorConfig, device: torch.device, dtype: torch.dtype, exchange: Exchange | None = None
) -> CausalDiT:
    """The transformer of a profile, its weights read strictly."""
    path = Path(config.checkpoint_path)
    state = load_state(path)
    dit = empty_dit(read_dit_config(config), exchange)
    load_strict(dit, state, source=path, rename=published_name)
    return dit.place(device, dtype)


def empty_dit(config: DiTConfig, exchange: Exchange | None = None) -> CausalDiT:
    """A transformer without storage, with the attention backend that the environment asks for."""
    attend = attend_from_environment()
    with torch.device("meta"):
        return CausalDiT(config, attend, exchange)


def read_dit_config(config: GeneratorConfig) -> DiTConfig:
    """The network's size: from ``config.json`` beside its checkpoint, else by the width of a published checkpoint, else
    from the Wan folder's ``config.json`` (whose base model need not be the one that the checkpoint was trained from).

    Raises:
        MissingWeightsError: the checkpoint is not there, or nothing says its size.
        UsageError: a config.json describes another kind of network.
    """
    checkpoint = Path(config.checkpoint_path)
    own = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "config.json"
    if own.is_file():
        return _read_json(own)
    names = {published_name(key): value for key, value in load_state(checkpoint).items()}
    first = names.get("patch_embedding.weight")
    if first is not None and len(first) in PUBLISHED:
        return PUBLISHED[len(first)]
    shared = Path(config.wan_path) / "config.json"
    if shared.is_file():
        return _read_json(shared)
    raise MissingWeightsError(
        f"no config.json beside {checkpoint} nor in {config.wan_path}: the network's size is read from it; "
        f"{how_to_get('Wan2.1-T2V-1.3B')}"
    )


def _read_json(path: Path) -> DiTConfig:
    try:
        return DiTConfig.from_wan(json.loads(path.read_text(encoding="utf-8")))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except ValueError as error:
        raise MissingWeightsError(f"{path}: not JSON ({error}); get it again") from error


def load_encoder(config: GeneratorConfig, device: torch.device, dtype: torch.dtype) -> VideoEncoder[Any]:
    """The video encoder of a profile."""
    path = codec_path(config, config.encoder)
    module = wan_vae if config.encoder == "wan" else taehv
    return module.load_encoder(path, device=device, dtype=dtype)


def load_decoder(config: GeneratorConfig, device: torch.device, dtype: torch.dtype) -> VideoDecoder[Any]:
    """The video decoder of a profile."""
    path = codec_path(config, config.decoder)
    module = wan_vae if config.decoder == "wan" else taehv
    return module.load_decoder(path, device=device, dtype=dtype)


def codec_path(config: GeneratorConfig, name: str) -> Path:
    """Where an autoencoder's weights are looked for.

    Raises:
        UsageError: there is no such autoencoder.
    """
    if name not in CODECS:
        raise UsageError(f"encoder or decoder {name!r} is not known; expected one of {', '.join(CODECS)}")
    return Path(config.wan_path) / WAN_VAE if name == "wan" else Path(config.tae_checkpoint_path)


def precision_dtype(precision: str) -> torch.dtype:
    """What the networks compute in.

    Raises:
        UsageError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is not known; expected one of {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]
