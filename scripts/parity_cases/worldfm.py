"""Golden cases of WorldFM: network, autoencoder, sampler and conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from parity_cases.wan import load_half
from torch import nn

from inspatio.evaluation.golden import GoldenCase, Outputs
from inspatio.models.worldfm.autoencoder import ImageDecoder, ImageEncoder
from inspatio.models.worldfm.camera_encoding import ViewCameras
from inspatio.models.worldfm.checkpoint import make_network, parse_autoencoder_config, parse_config
from inspatio.models.worldfm.dit import CameraEncoding, WorldFM

STEPS = (999, 200)


def _network(
    case: GoldenCase, prefix: str, device: torch.device, dtype: torch.dtype, encoding: CameraEncoding = "none"
) -> WorldFM:
    config = parse_config({**case.manifest["config"], "camera_encoding": encoding})
    return make_network(case.weights(prefix), config, source=Path("golden set")).place(device, dtype)


def _after_block0(network: WorldFM) -> list[torch.Tensor]:
    """A list that receives the tokens after the first layer, at every pass."""
    found: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        found.append(output)

    next(network.blocks.children()).register_forward_hook(keep)
    return found


def dit(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """The network with each kind of camera encoding, at the steps of the sampler, and a batch of two steps."""
    height, width = case.manifest["latent_hw"]
    latents = {
        name: case.noise(f"wfm.{name}", (2 if name.endswith("2") else 1, 4, height, width)).to(device)
        for name in ("x", "render", "reference", "x2", "render2", "reference2")
    }
    poses, lenses = (case.stored_input(f"prope.{name}").to(device) for name in ("viewmats", "Ks"))
    size = tuple(int(side) for side in case.stored_input("prope.image_hw").flatten())
    assert len(size) == 2, f"prope.image_hw {size}, expected two sides"
    cameras, poses_only = ViewCameras(poses, lenses, size), ViewCameras(poses, None, size)

    def run(network: WorldFM, times: list[int], cameras: ViewCameras | None = None, suffix: str = "") -> torch.Tensor:
        given = (latents[f"{name}{suffix}"] for name in ("x", "render", "reference"))
        return network(*given, network.time_modulation(torch.tensor(times)), cameras)

    plain = _network(case, "wfm.", device, dtype)
    prope = _network(case, "wfm.", device, dtype, "prope")
    plucker = _network(case, "wfm.", device, dtype, "plucker")
    outputs = {
        "pos_embed": plain.positions(height // 2, 3 * width // 2),
        "batch2.out": run(plain, list(STEPS), suffix="2"),
        "prope_no_K.t999.out": run(prope, [999], poses_only),
        "plucker.t999.out": run(plucker, [999], cameras),
    }
    for prefix, network, given in (("", plain, None), ("prope.", prope, cameras)):
        tokens = _after_block0(network)
        for time in STEPS:
            outputs[f"{prefix}t{time}.out"] = run(network, [time], given)
            if f"{prefix}t{time}.block0" in case.stored:
                outputs[f"{prefix}t{time}.block0"] = tokens[-1]
    return outputs


def _autoencoder(
    case: GoldenCase, config: str, keys: str, prefix: str, device: torch.device, dtype: torch.dtype
) -> tuple[ImageEncoder, ImageDecoder]:
    parsed = parse_autoencoder_config(case.manifest[config])
    shapes = {key: tuple(shape) for key, shape in case.manifest[keys].items()}
    weights = case.weights(prefix, shapes)
    encoder, decoder = ImageEncoder(parsed), ImageDecoder(parsed)
    halves: list[tuple[nn.Module, tuple[str, ...]]] = [
        (encoder, ("decoder.", "post_quant_conv.")),
        (decoder, ("encoder.", "quant_conv.")),
    ]
    for half, other in halves:
        load_half(half, weights, other, device, dtype)
    return encoder, decoder


def vae(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """The encoder's distribution and latents, and what the decoder makes of these and of noise."""
    encoder, decoder = _autoencoder(case, "config", "keys", "wfv.", device, dtype)
    height, width = case.stored["decoded"].shape[-2:]
    image = case.noise("wfv.image", (1, 3, height, width)).clamp(-1, 1).to(device)
    latents = encoder(image)
    mean, log_variance = encoder.distribution(image)
    noise = case.noise("wfv.latent", tuple(latents.shape)).to(device)
    return {
        "mean": mean,
        "logvar": log_variance,
        "latent": latents,
        "decoded": decoder(case.stored["latent"].to(device)),
        "decoded_noise": decoder(noise),
    }
