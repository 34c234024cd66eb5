"""WorldFM in the smallest sizes, in the published layout: the folder ``WorldFM`` that the pipeline loads.

Both step counts (two networks of different weights) and the image autoencoder. The text path and the position buffer,
which nothing reads, are there as well. What is not as published: a ``config.json`` beside the transformers, because
their width is not the published one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny.weights import random_state

from inspatio.models.worldfm.autoencoder import AutoencoderConfig, ImageDecoder, ImageEncoder
from inspatio.models.worldfm.dit import WorldFM, WorldFMConfig

TRANSFORMER = WorldFMConfig(hidden_size=96, depth=2, num_heads=4)
AUTOENCODER = AutoencoderConfig((16, 16, 32, 32), layers_per_block=1, norm_num_groups=8)
TEXT_WIDTH, TEXT_LENGTH = 64, 4


def write(folder: Path, seed: int = 0) -> None:
    """Write the model folder into ``folder``, which is made."""
    generator = torch.Generator().manual_seed(seed)
    target = folder / "WorldFM"
    (target / "vae").mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        network = WorldFM(TRANSFORMER)
        halves = ImageEncoder(AUTOENCODER), ImageDecoder(AUTOENCODER)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()} | _unread_shapes()
    for steps in (1, 2):
        torch.save(random_state(shapes, generator), target / f"worldfm_{steps}-step.pth")
    sizes = {"hidden_size": TRANSFORMER.hidden_size, "depth": TRANSFORMER.depth, "num_heads": TRANSFORMER.num_heads}
    _write_json(target / "config.json", sizes)

    vae_shapes = {name: tuple(value.shape) for half in halves for name, value in half.state_dict().items()}
    save_file(random_state(vae_shapes, generator), target / "vae" / "diffusion_pytorch_model.safetensors")
    layout = {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": list(AUTOENCODER.block_out_channels),
        "in_channels": 3,
        "latent_channels": AUTOENCODER.latent_channels,
        "layers_per_block": AUTOENCODER.layers_per_block,
        "norm_num_groups": AUTOENCODER.norm_num_groups,
        "out_channels": 3,
        "scaling_factor": AUTOENCODER.scaling_factor,
    }
    _write_json(target / "vae" / "config.json", layout)


def _unread_shapes() -> dict[str, tuple[int, ...]]:
    width = TRANSFORMER.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, 16, width),
        "y_embedder.y_embedding": (TEXT_LENGTH, TEXT_WIDTH),
        "y_embedder.y_proj.fc1.weight": (width, TEXT_WIDTH),
        "y_embedder.y_proj.fc1.bias": (width,),
        "y_embedder.y_proj.fc2.weight": (width, width),
        "y_embedder.y_proj.fc2.bias": (width,),
        "plucker_proj.0.weight": (width, 6),
        "plucker_proj.0.bias": (width,),
        "plucker_proj.2.weight": (width, width),
        "plucker_proj.2.bias": (width,),
    }
    for layer in range(TRANSFORMER.depth):
        for part, outputs in (("q_linear", width), ("kv_linear", 2 * width), ("proj", width)):
            shapes[f"blocks.{layer}.cross_attn.{part}.weight"] = (outputs, width)
            shapes[f"blocks.{layer}.cross_attn.{part}.bias"] = (outputs,)
    return shapes


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
