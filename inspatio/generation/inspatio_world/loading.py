"""Assemble InSpatio-World's generator from a profile: which files, in which precision, on which device.

    describe_causal(config)                                   what results depend on, without loading anything
    load_causal(config, size, device, prompts=..., renderer=...)

The two autoencoders are chosen separately (``wan`` or ``taehv``), since they share one latent space, which ``linear``
does not. Checkpoints are read by ``models/wan/checkpoint.py``; what is applied to the finished transformer, and in
which order, stands in :func:`assemble`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from inspatio.config import AutoencoderName, GeneratorConfig
from inspatio.generation.inspatio_world.session import CausalGenerator, CausalOptions, Prompts
from inspatio.models.attention import attend_from_environment, backend_from_environment
from inspatio.models.checkpoints import WAN_TEXT_ENCODER, WAN_VAE
from inspatio.models.compilation import why_not_compiled
from inspatio.models.cudnn import fault_in_half
from inspatio.models.wan.autoencoder import VideoDecoder, VideoEncoder
from inspatio.models.wan.checkpoint import load_decoder, load_dit, load_encoder
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.offload import offload_blocks
from inspatio.models.wan.optimize import compile_blocks, fuse_gelu, join_projections, quantize_fp8, round_attention
from inspatio.models.wan.parallel import parallelize
from inspatio.models.weights import weights_fingerprint
from inspatio.render.renderer import Renderer
from inspatio.settings import result_settings

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_log = logging.getLogger(__name__)

VERSION, TAEHV_VERSION = 1, 2
"""Raised when the same weights and inputs would give other frames; TAEHV has looked ahead in render files since 2."""
LATENTS_VERSION = 1
"""Raised when the same frames would be encoded to other latents."""

COMPILATION_PAYS = 10_000
"""Frames from which compiling pays by default. Predicted, not measured: a minute of compilation (a quarter of that from
the cache of an earlier run) against 40 ms that it saves on a block of 12 frames."""

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp8": torch.bfloat16}


def describe_causal(config: GeneratorConfig) -> dict[str, Any]:
    """Describe what a causal generator's results depend on besides scene, render, prompt and seed (JSON values).

    Raises:
        MissingWeightsError: a checkpoint is not there.
    """
    settings = result_settings(config)
    del settings["frame_noise"], settings["faithful"]  # WorldFM's alone; the wrapper's, which factory.py describes
    return {
        **settings,
        "version": TAEHV_VERSION if config.encoder == "taehv" else VERSION,
        "weights": weights_fingerprint(Path(config.checkpoint_path)),
        "text_encoder": weights_fingerprint(Path(config.wan_path) / WAN_TEXT_ENCODER),
        "encoder": [config.encoder, weights_fingerprint(autoencoder_path(config, config.encoder))],
        "decoder": [config.decoder, weights_fingerprint(autoencoder_path(config, config.decoder))],
    }


def describe_source_latents(config: GeneratorConfig, device: torch.device) -> dict[str, Any]:
    """Describe what a source's latents depend on besides its frames (JSON values): the same gives the same bits.

    Raises:
        MissingWeightsError: the encoder's checkpoint is not there.
    """
    return {
        "version": LATENTS_VERSION,
        "encoder": [config.encoder, weights_fingerprint(autoencoder_path(config, config.encoder))],
        "dtype": str(precision_dtype(config.precision)),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
    }


def load_causal(
    config: GeneratorConfig,
    size: tuple[int, int],
    device: torch.device,
    *,
    prompts: Prompts,
    renderer: Renderer,
    group: ProcessGroup | None = None,
    frames: int = 0,
) -> CausalGenerator:
    """Load a profile's networks.

    Args:
        config: the profile's generator block.
        size: the working frame (height, width).
        device: where it runs.
        prompts: gives a prompt's embeddings ``1 m c``.
        renderer: for sessions without render files.
        group: the processes that share each block; None: this one alone.
        frames: how many frames it will be asked for, as far as that is known.

    Raises:
        MissingWeightsError: a file is missing, damaged, another model's, or of another size than its config.
        UsageError: the config asks for what does not exist, or for what the device cannot do.
    """
    dtype = precision_dtype(config.precision)
    dit = load_dit(
        Path(config.checkpoint_path),
        Path(config.wan_path),
        device=torch.device("cpu") if config.offload else device,
        dtype=dtype,
        attend=attend_from_environment(),
    )
    encoder = load_encoder(config.encoder, autoencoder_path(config, config.encoder), device=device, dtype=dtype)
    decoder = load_decoder(config.decoder, autoencoder_path(config, config.decoder), device=device, dtype=dtype)
    return assemble(
        config, size, device, dit, encoder, decoder, prompts=prompts, renderer=renderer, group=group, frames=frames
    )


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
    group: ProcessGroup | None = None,
    frames: int = 0,
) -> CausalGenerator:
    """Make a generator of loaded networks; what makes them fit, share or run faster is applied here, in this order."""
    prepare_convolutions(config, device)
    compiled = compiles_here(config, device, frames)
    if config.precision == "fp8":
        quantize_fp8(dit, device)
        if backend_from_environment() == "auto":
            round_attention(dit, device)
        if not compiled:
            _log.warning("precision fp8 without compilation is slower than bf16: leave out --no_compile_dit")
    if device.type == "cuda":
        fuse_gelu(dit)
    if config.offload:
        offload_blocks(dit, device)
    elif compiled and config.precision != "fp8":
        join_projections(dit)
    if group is not None:
        parallelize(dit, group)
    if compiled:
        compile_blocks(dit)
    options = CausalOptions(
        size=size,
        steps=config.steps,
        shift=config.shift,
        offload=config.offload,
        cuda_graphs=config.cuda_graphs and why_no_graphs(config, device, group) is None,
    )
    return CausalGenerator(dit, encoder, decoder, prompts, renderer, options)


def why_no_graphs(config: GeneratorConfig, device: torch.device, group: ProcessGroup | None) -> str | None:
    """Say in a warning, and return, why CUDA graphs that were asked for cannot be used; None when they can."""
    reason = None
    if device.type != "cuda":
        reason = f"they need an NVIDIA GPU, the networks run on {device.type}"
    elif config.offload:
        reason = "with --offload a block's buffers come and go"
    elif group is not None:
        reason = "several processes share each block"
    if config.cuda_graphs and reason:
        _log.warning("CUDA graphs are not used: %s", reason)
    return reason


def compiles(config: GeneratorConfig, device: torch.device, frames: int) -> bool:
    """Whether the transformer's layers are compiled: as the profile says, else where it pays."""
    if config.compile_dit is not None:
        return config.compile_dit
    return device.type == "cuda" and (config.precision == "fp8" or frames >= COMPILATION_PAYS)


def compiles_here(config: GeneratorConfig, device: torch.device, frames: int) -> bool:
    """:func:`compiles`, but not where the device's compiler does not work, which a warning then says."""
    if not compiles(config, device, frames):
        return False
    if reason := why_not_compiled(device):
        _log.warning("the transformer's layers are not compiled, which is slower: %s", reason)
    return not reason


def prepare_convolutions(config: GeneratorConfig, device: torch.device) -> None:
    """Make convolutions on a GPU compute in the precision asked for; warn where its libraries are known to be bad at
    it."""
    if device.type != "cuda":
        return
    if config.precision == "fp32":
        # Otherwise they would round to 10 bits of mantissa (TF32).
        torch.backends.cudnn.allow_tf32 = False
        return
    fault = fault_in_half(torch.__version__, torch.backends.cudnn.version())
    if fault and config.backend == "causal" and "wan" in (config.encoder, config.decoder):
        _log.warning("%s. Install PyTorch 2.10 or later, or use --use_tae, which has none of them", fault)


def autoencoder_path(config: GeneratorConfig, name: AutoencoderName) -> Path:
    """The file of an autoencoder's weights."""
    files = {
        "wan": Path(config.wan_path) / WAN_VAE,
        "taehv": Path(config.tae_checkpoint_path),
        "linear": Path(config.linear_path),
    }
    return files[name]


def precision_dtype(precision: str) -> torch.dtype:
    """What the networks compute in."""
    return PRECISIONS[precision]
