"""Wan and InSpatio-World checkpoints: their files, their key names, their sizes; the only place that knows them.

    config = read_config(checkpoint, wan_folder)
    dit = load_dit(checkpoint, wan_folder, device=device, dtype=dtype)
    encoder = load_encoder("wan", path, device=device, dtype=dtype)         or "taehv"
    decoder = load_decoder("taehv", path, device=device, dtype=dtype)

Weights go from the mapped file to the device one tensor at a time; of an autoencoder's file only the half that is asked
for is read. Modules keep the published names, but for the prefix ``model.`` of InSpatio-World's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inspatio.config import AutoencoderName
from inspatio.errors import MissingWeightsError, UsageError
from inspatio.models.attention import Attend, attention
from inspatio.models.checkpoints import how_to_get
from inspatio.models.wan.autoencoder import VideoDecoder, VideoEncoder
from inspatio.models.wan.dit import PATCH, CausalDiT, DiTConfig
from inspatio.models.wan.linear import LinearDecoder, LinearEncoder
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.models.weights import load_state, load_strict, read_json

PUBLISHED = {
    1536: DiTConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30),
    5120: DiTConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40),
}
"""The published transformers, 1.3B and 14B, by their width."""


_LARGEST_SIZE = 1_000_000
"""Of any number in a config.json; the published ones stay below 14 000."""


def published_name(key: str) -> str | None:
    """Map a transformer checkpoint's key to the module's; None for the 14B base's unused image conditioning."""
    key = key.removeprefix("model.")
    unused = key.startswith("img_emb.") or any(f".cross_attn.{part}_img." in key for part in ("k", "v", "norm_k"))
    return None if unused else key


def load_dit(
    checkpoint: Path, wan_folder: Path, *, device: torch.device, dtype: torch.dtype, attend: Attend = attention
) -> CausalDiT:
    """Load a transformer, strictly.

    Raises:
        MissingWeightsError: a file is missing, damaged, another model's, or of another size than its config.
        UsageError: a config.json describes another kind of network.
    """
    state = load_state(checkpoint)
    config = read_config(checkpoint, wan_folder)
    with torch.device("meta"):
        dit = CausalDiT(config, attend)
    load_strict(dit, state, source=checkpoint, rename=published_name)
    return dit.place(device, dtype)


def read_config(checkpoint: Path, wan_folder: Path) -> DiTConfig:
    """Find a transformer's size: in ``config.json`` beside its checkpoint, else by the width of a published one, else
    in the Wan folder's ``config.json`` (whose base model need not be the one that the checkpoint was trained from).

    Raises:
        MissingWeightsError: the checkpoint is not there, or nothing says its size.
        UsageError: a config.json describes another kind of network.
    """
    own = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "config.json"
    if own.is_file():
        return _read_json(own)
    names = {published_name(key): value for key, value in load_state(checkpoint).items()}
    first = names.get("patch_embedding.weight")
    if first is not None and len(first) in PUBLISHED:
        return PUBLISHED[len(first)]
    shared = wan_folder / "config.json"
    if shared.is_file():
        return _read_json(shared)
    raise MissingWeightsError(
        f"no config.json beside {checkpoint} nor in {wan_folder}: the network's size is read from it. "
        f"{how_to_get('Wan2.1-T2V-1.3B')}"
    )


def parse_config(values: Mapping[str, Any]) -> DiTConfig:
    """Read a Wan folder's ``config.json``, whose base model lacks the condition channels.

    Raises:
        UsageError: a size is missing, or it describes another kind of network.
    """
    known = {field.name for field in fields(DiTConfig)} - {"in_dim"}
    given = {key: value for key, value in values.items() if key in known}
    if missing := sorted({"dim", "ffn_dim", "num_heads", "num_layers"} - given.keys()):
        raise UsageError(f"the DiT's config.json lacks {', '.join(missing)}; expected a Wan 2.1 model's config")
    for key, expected in (("patch_size", [1, PATCH, PATCH]), ("qk_norm", True), ("cross_attn_norm", True)):
        got = values.get(key, expected)
        if (list(got) if isinstance(got, tuple) else got) != expected:
            raise UsageError(f"the DiT's config.json has {key} {got}, expected {expected}: not a Wan 2.1 model")
    for key, value in given.items():
        number = isinstance(value, float) if key == "eps" else isinstance(value, int) and not isinstance(value, bool)
        if not number or not 0 < value <= _LARGEST_SIZE:
            raise UsageError(f"the DiT's config.json has {key} {value!r}, expected a size of a Wan 2.1 model")
    return DiTConfig(**given)


def _read_json(path: Path) -> DiTConfig:
    try:
        return parse_config(read_json(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


@dataclass(frozen=True)
class _Half:
    """Encoder or decoder in an autoencoder's file: its module, and the key, axis and factor that give its width."""

    model: Callable[[int], nn.Module]
    title: str
    key: str
    axis: int
    factor: int
    omitted: tuple[str, ...]
    """Prefixes of the other half's keys."""


_ENCODERS: dict[AutoencoderName, _Half] = {
    "wan": _Half(WanEncoder, "Wan 2.1 video VAE", "encoder.conv1.weight", 0, 1, ("decoder.", "conv2.")),
    "taehv": _Half(TaeEncoder, "TAEHV", "encoder.0.weight", 0, 1, ("decoder.",)),
    "linear": _Half(LinearEncoder, "linear autoencoder", "encoder.first.weight", 0, 1, ("decoder.",)),
}
_DECODERS: dict[AutoencoderName, _Half] = {
    "wan": _Half(WanDecoder, "Wan 2.1 video VAE", "decoder.head.2.weight", 1, 1, ("encoder.", "conv1.")),
    "taehv": _Half(TaeDecoder, "TAEHV", "decoder.1.weight", 0, 4, ("encoder.",)),
    "linear": _Half(LinearDecoder, "linear autoencoder", "decoder.first.weight", 1, 1, ("encoder.",)),
}


def load_encoder(
    name: AutoencoderName, path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> VideoEncoder[Any]:
    """Load the encoder of ``Wan2.1_VAE.pth`` or ``taew2_1.pth``; ``dtype`` None keeps the file's.

    Raises:
        MissingWeightsError: the file is missing, damaged, or another model's.
    """
    encoder: Any = _load_half(_ENCODERS[name], path, device, dtype)
    return encoder


def load_decoder(
    name: AutoencoderName, path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> VideoDecoder[Any]:
    """Load the decoder of ``Wan2.1_VAE.pth`` or ``taew2_1.pth``; see :func:`load_encoder`."""
    decoder: Any = _load_half(_DECODERS[name], path, device, dtype)
    return decoder


def _load_half(half: _Half, path: Path, device: torch.device | str, dtype: torch.dtype | None) -> nn.Module:
    state = load_state(path)
    if half.key not in state:
        raise MissingWeightsError(f"{path}: not a {half.title} checkpoint: missing key {half.key}. Check the path")
    with torch.device("meta"):
        model = half.model(state[half.key].shape[half.axis] // half.factor)

    def rename(key: str) -> str | None:
        return None if key.startswith(half.omitted) else key

    load_strict(model, state, source=path, rename=rename, device=device, dtype=dtype)
    return channels_last(model.eval())


def channels_last(model: nn.Module) -> nn.Module:
    """Lay a model's convolution weights out channels last, in place, as convolutions on GPUs want them."""
    for parameter in model.parameters():
        if parameter.ndim >= 4:
            layout = torch.channels_last_3d if parameter.ndim == 5 else torch.channels_last
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return model
