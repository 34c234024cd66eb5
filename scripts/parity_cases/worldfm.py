"""Golden cases of WorldFM: network, autoencoder, sampler and conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from parity_cases.wan import load_half
from torch import nn

from inspatio.evaluation.golden import GoldenCase, Measured, Outputs, compare
from inspatio.generation.worldfm.pictures import prepare_reference, to_frames, to_images
from inspatio.generation.worldfm.sampler import alphas_cumprod, sample_frames, signal_and_noise
from inspatio.models.worldfm.autoencoder import ImageDecoder, ImageEncoder
from inspatio.models.worldfm.camera_encoding import ViewCameras
from inspatio.models.worldfm.checkpoint import make_network, parse_autoencoder_config, parse_config
from inspatio.models.worldfm.dit import CameraEncoding, WorldFM

STEPS = (999, 200)
U8_TOLERANCE = {torch.float32: 1, torch.float16: 8, torch.bfloat16: 16}
"""Levels of 255 that a result may be off by, by the precision of the networks."""


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


def sample(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """Pictures to conditions to latents to pictures, in one step and in two, encoding by mean and by sample."""
    network = _network(case, "wfs.dit.", device, dtype)
    encoder, decoder = _autoencoder(case, "vae_config", "vae_keys", "wfs.vae.", device, dtype)
    size = (case.manifest["image_size"],) * 2
    pictures = {
        "render": to_images(case.stored_input("render_u8").numpy()[None], torch.device("cpu")),
        "reference": prepare_reference(case.stored_input("reference_u8").numpy(), size),
    }
    steps = tuple(case.manifest["time_steps"])
    latent = (1, 4, size[0] // 8, size[1] // 8)
    noises = [case.noise(f"wfs.{name}", latent).to(device) for name in ("z", "mid")]
    outputs: dict[str, torch.Tensor | Measured] = {
        "alphas_cumprod": alphas_cumprod(),
        "signal_and_noise": torch.tensor([signal_and_noise(step) for step in steps]),
    }
    prepared = {name: picture.to(device) for name, picture in pictures.items()}
    for name, picture in prepared.items():
        # Resized from 8-bit pictures by another library: within 2 of 255.
        outputs[f"cond_{name}"] = compare(picture, case.stored[f"cond_{name}"], 2 / 255)
    schedule = [network.time_modulation(torch.tensor([step])) for step in steps]

    def run(prefix: str, conditions: list[torch.Tensor], count: int) -> torch.Tensor:
        def predict(noisy: torch.Tensor, number: int) -> torch.Tensor:
            predicted = network(noisy, *conditions, schedule[number])[:, :4]
            if number > 0:
                outputs[f"{prefix}.noisy"] = noisy
            outputs[f"{prefix}.network{number}"] = predicted
            return predicted

        return sample_frames(predict, noises.__getitem__, steps[:count])

    for kind in ("mode", "sample"):
        conditions = []
        for name in ("render", "reference"):
            noise = case.noise(f"wfs.{name}_noise", latent).to(device) if kind == "sample" else None
            conditions.append(encoder(case.stored[f"cond_{name}"].to(device), noise))
            outputs[f"{kind}.cond_{name}_latent"] = conditions[-1]
        for count in (1, 2):
            prefix = f"step{count}.{kind}"
            latents = outputs[f"{prefix}.latent"] = run(prefix, conditions, count)
            images = outputs[f"{prefix}.image"] = decoder(latents)
            expected = case.stored[f"{prefix}.image_u8"].int()
            error = (to_frames(images)[0].cpu().int() - expected).abs().max().item()
            outputs[f"{prefix}.image_u8"] = Measured(error, U8_TOLERANCE[dtype])
    return outputs
