"""WorldFM checkpoints: their files, their key names, their sizes; the only place that knows them.

    config = read_config(checkpoint)
    network = load_network(checkpoint, device=device, dtype=dtype)
    encoder, decoder = load_encoder(folder, ...), load_decoder(folder, ...)

A transformer is read from ``worldfm_1-step.pth`` or ``worldfm_2-step.pth``, from a file of the original PixArt-Sigma
(the same names) or from a diffusers folder of it (:func:`published_state` renames). The published loader is not strict,
so what else the real files hold is not known: :data:`OPTIONAL` names the parts that may be there and are not read.
Anything else that is missing or extra is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inspatio.errors import MissingWeightsError, UsageError
from inspatio.models.attention import Attend, attention
from inspatio.models.checkpoints import CONFIG, how_to_get
from inspatio.models.weights import load_state, load_strict, read_json
from inspatio.models.worldfm.autoencoder import AutoencoderConfig, ImageDecoder, ImageEncoder
from inspatio.models.worldfm.dit import PATCH, WorldFM, WorldFMConfig

PUBLISHED = {1152: WorldFMConfig()}
"""The published transformer, by its width."""

OPTIONAL = re.compile(r"^(pos_embed$|y_embedder\.|plucker_proj\.|blocks\.\d+\.cross_attn\.)")
"""Known parts of a checkpoint that this model does not execute: a position buffer, the text path, Plücker rays."""

_LARGEST_SIZE = 1_000_000
_FRACTIONAL = ("input_size", "interpolation_scale", "mlp_ratio", "pe_interpolation", "position_range", "scaling_factor")

_DIFFUSERS = (
    (r"^pos_embed\.proj\.", "x_embedder.proj."),
    (r"^adaln_single\.emb\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
    (r"^adaln_single\.emb\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
    (r"^adaln_single\.linear\.", "t_block.1."),
    (r"^caption_projection\.linear_(\d)\.", r"y_embedder.y_proj.fc\1."),
    (r"^scale_shift_table$", "final_layer.scale_shift_table"),
    (r"^proj_out\.", "final_layer.linear."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.attn1\.to_out\.0\.", ".attn.proj."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.ff\.net\.0\.proj\.", ".mlp.fc1."),
    (r"\.ff\.net\.2\.", ".mlp.fc2."),
)


def published_state(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A checkpoint under the published names: diffusers' are renamed and its q, k and v joined, others are kept."""
    if not any(key.startswith("transformer_blocks.") for key in state):
        return dict(state)
    renamed: dict[str, torch.Tensor] = {}
    joined: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        for pattern, replacement in _DIFFUSERS:
            key = re.sub(pattern, replacement, key)
        if match := re.fullmatch(r"(.*\.)attn1\.to_([qkv])(\.\w+)", key):
            joined.setdefault(f"{match[1]}attn.qkv{match[3]}", {})[match[2]] = value
        else:
            renamed[key] = value
    for key, parts in joined.items():
        if parts.keys() == {"q", "k", "v"}:  # else load_strict misses the joined one
            renamed[key] = torch.cat([parts["q"], parts["k"], parts["v"]])
    return renamed


def load_network(checkpoint: Path, *, device: torch.device, dtype: torch.dtype, attend: Attend = attention) -> WorldFM:
    """Load a transformer, strictly over what it executes.

    Raises:
        MissingWeightsError: the file is missing, damaged, another model's, or of another size than its config.
        UsageError: a config.json describes another kind of network.
    """
    state = _load(checkpoint)
    network = make_network(state, _config(checkpoint, state), source=checkpoint, attend=attend)
    return network.place(device, dtype)


def make_network(
    state: Mapping[str, torch.Tensor], config: WorldFMConfig, *, source: Path, attend: Attend = attention
) -> WorldFM:
    """Fill a network from a state in published names.

    Raises:
        MissingWeightsError: a key is missing, of another shape, or neither executed nor :data:`OPTIONAL`.
    """
    with torch.device("meta"):
        network = WorldFM(config, attend)
    own = network.state_dict().keys()
    load_strict(
        network, state, source=source, rename=lambda key: None if OPTIONAL.match(key) and key not in own else key
    )
    return network


def read_config(checkpoint: Path) -> WorldFMConfig:
    """A transformer's size: from ``config.json`` beside it, else by the width of the published one.

    Raises:
        MissingWeightsError: the checkpoint is not there, or nothing says its size.
        UsageError: a config.json describes another kind of network.
    """
    return _config(checkpoint, None)


def parse_config(values: Mapping[str, Any]) -> WorldFMConfig:
    """Read a config in the names of the published class, or diffusers' of a ``PixArtTransformer2DModel``.

    Raises:
        UsageError: a size is missing or impossible, or it describes another kind of network.
    """
    if "num_attention_heads" in values:
        heads, head_size = values["num_attention_heads"], values.get("attention_head_dim")
        width = heads * head_size if isinstance(heads, int) and isinstance(head_size, int) else None
        size = values.get("sample_size", 64)
        _check_sizes({"sample_size": size})
        scale = values.get("interpolation_scale") or max(size // 64, 1)
        _check_sizes({"interpolation_scale": scale})
        ours = {"hidden_size": width, "depth": values.get("num_layers"), "num_heads": heads}
        values = ours | {"position_range": size / PATCH / scale}
    elif "input_size" in values:
        # The published class: a base of input_size / patch tokens, positions divided by pe_interpolation.
        _check_sizes({key: values.get(key, 1.0) for key in ("input_size", "pe_interpolation")})
        base = values["input_size"] / PATCH
        values = {"position_range": base / values.get("pe_interpolation", 1.0), **values}
    for key, expected in (("in_channels", 4), ("patch_size", PATCH), ("qk_norm", False), ("pred_sigma", True)):
        if values.get(key, expected) != expected:
            raise UsageError(f"the config.json has {key} {values[key]}, expected {expected}: not WorldFM's network")
    if values.get("micro_condition", False):
        raise UsageError("the config.json has micro_condition true, expected false: not WorldFM's network")
    given = {field.name: values[field.name] for field in fields(WorldFMConfig) if field.name in values}
    if missing := sorted({"hidden_size", "depth", "num_heads"} - given.keys()):
        raise UsageError(f"the config.json lacks {', '.join(missing)}; expected those of a WorldFM network")
    encoding = given.get("camera_encoding", "none")
    if encoding not in ("none", "prope", "plucker"):
        raise UsageError(f"the config.json has camera_encoding {encoding!r}, expected none, prope or plucker")
    _check_sizes({key: value for key, value in given.items() if key != "camera_encoding"})
    return WorldFMConfig(**given)


def _check_sizes(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        number = isinstance(value, (int, float) if key in _FRACTIONAL else int) and not isinstance(value, bool)
        if not number or not 0 < value <= _LARGEST_SIZE:
            raise UsageError(f"the config.json has {key} {value!r}, expected a size of a published network")


def _load(checkpoint: Path) -> dict[str, torch.Tensor]:
    return published_state(load_state(checkpoint))


def _config(checkpoint: Path, state: Mapping[str, torch.Tensor] | None) -> WorldFMConfig:
    own = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / CONFIG
    if own.is_file():
        try:
            return parse_config(read_json(own))
        except UsageError as error:
            raise UsageError(f"{own}: {error}") from error
    first = (_load(checkpoint) if state is None else state).get("x_embedder.proj.weight")
    if first is not None and len(first) in PUBLISHED:
        return PUBLISHED[len(first)]
    got = "no x_embedder.proj.weight" if first is None else f"a network of width {len(first)}"
    raise MissingWeightsError(
        f"{checkpoint}: got {got} and no {CONFIG} beside it, expected the published width "
        f"({', '.join(map(str, PUBLISHED))}) or a {CONFIG}. {how_to_get(checkpoint)}"
    )


def load_encoder(folder: Path, *, device: torch.device, dtype: torch.dtype) -> ImageEncoder:
    """Load the encoder of an autoencoder's folder (``config.json`` and one safetensors file).

    Raises:
        MissingWeightsError: a file is missing, damaged, or another model's.
        UsageError: the config.json describes another kind of autoencoder.
    """
    return _load_half(ImageEncoder, ("decoder.", "post_quant_conv."), folder, device, dtype)


def load_decoder(folder: Path, *, device: torch.device, dtype: torch.dtype) -> ImageDecoder:
    """Load the decoder of an autoencoder's folder; see :func:`load_encoder`."""
    return _load_half(ImageDecoder, ("encoder.", "quant_conv."), folder, device, dtype)


def parse_autoencoder_config(values: Mapping[str, Any]) -> AutoencoderConfig:
    """Read an ``AutoencoderKL`` config; what it leaves out is SDXL's.

    Raises:
        UsageError: it has what this autoencoder has not (a shift, another activation, other channels).
    """
    for key, expected in (("act_fn", "silu"), ("in_channels", 3), ("out_channels", 3), ("latent_channels", 4)):
        if values.get(key, expected) != expected:
            raise UsageError(f"the autoencoder's config.json has {key} {values[key]!r}, expected {expected!r}")
    if values.get("shift_factor") is not None:
        raise UsageError(f"the autoencoder's config.json has shift_factor {values['shift_factor']}, expected none")
    given = {field.name: values[field.name] for field in fields(AutoencoderConfig) if field.name in values}
    widths = given.get("block_out_channels", AutoencoderConfig().block_out_channels)
    if not isinstance(widths, (list, tuple)) or len(widths) != 4:
        raise UsageError(f"the autoencoder's config.json has block_out_channels {widths!r}, expected four widths")
    _check_sizes({f"block_out_channels {i}": width for i, width in enumerate(widths)})
    _check_sizes({key: value for key, value in given.items() if key != "block_out_channels"})
    return AutoencoderConfig(**{**given, "block_out_channels": tuple(widths)})


def read_autoencoder_config(folder: Path) -> AutoencoderConfig:
    """The size of an autoencoder, from its folder's ``config.json``.

    Raises:
        MissingWeightsError: the file is missing or damaged.
        UsageError: it describes another kind of autoencoder.
    """
    config = folder / CONFIG
    try:
        return parse_autoencoder_config(read_json(config))
    except UsageError as error:
        raise UsageError(f"{config}: {error}") from error


def _load_half(
    kind: Callable[[AutoencoderConfig], Any],
    omitted: tuple[str, ...],
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
) -> Any:
    parsed = read_autoencoder_config(folder)
    with torch.device("meta"):
        model: nn.Module = kind(parsed)

    def rename(key: str) -> str | None:
        return None if key.startswith(omitted) else key

    load_strict(model, load_state(folder), source=folder, rename=rename, device=device, dtype=dtype)
    channels_last(model.eval())
    return model


def channels_last(model: nn.Module) -> None:
    """Lay an autoencoder's weights out as convolutions on GPUs want them."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
