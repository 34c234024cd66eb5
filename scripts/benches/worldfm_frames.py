"""Frames of WorldFM from first to last: frames per second in one and two steps, each part's time, and the roofline.

The networks have the published sizes and random weights. A frame is a session's step: conditions (render and choice of
the reference, on the CPU), encoding the render, one or two passes, decoding, and the frame on the host. The roofline is
the frame rate at which the products alone would keep the device as busy as one large product does.
"""

from __future__ import annotations

from typing import Any

import torch
from benches.measure import fill, median_seconds, peak_memory
from torch.utils.flop_counter import FlopCounterMode

from inspatio.cameras.cameras import Cameras
from inspatio.generation.worldfm.session import WorldFMGenerator, WorldFMOptions
from inspatio.models.wan.optimize import compile_blocks
from inspatio.models.worldfm.autoencoder import SHRINK, AutoencoderConfig, ImageDecoder, ImageEncoder, working_dtype
from inspatio.models.worldfm.checkpoint import channels_last
from inspatio.models.worldfm.dit import LATENT_CHANNELS, WorldFM, WorldFMConfig
from inspatio.render import WarpRenderer
from inspatio.scene import Scene

STEPS = {"one_step": (999,), "two_steps": (999, 200)}
LARGE = 8192
"""Side of the matrices whose product says what the device can do; on a CPU an eighth."""


def count_tflop(network: WorldFMConfig, autoencoder: AutoencoderConfig, size: tuple[int, int]) -> dict[str, float]:
    """Operations of a frame's parts in TFLOP, two to a multiplication and addition, counted on the meta device."""
    with torch.device("meta"):
        dit = WorldFM(network, attend=_counted_attention)
        encoder, decoder = ImageEncoder(autoencoder), ImageDecoder(autoencoder)
        image = torch.empty(1, 3, *size)
        latents = torch.empty(1, LATENT_CHANNELS, *(side // SHRINK for side in size))
    for module in (dit, encoder, decoder):
        module.requires_grad_(False)
    modulation = dit.time_modulation(torch.tensor([999]))
    works = {
        "encode": lambda: encoder(image),
        "pass": lambda: dit(latents, latents, latents, modulation),
        "decode": lambda: decoder(latents),
    }
    found = {}
    for name, work in works.items():
        with FlopCounterMode(display=False) as counter:
            work()
        found[name] = counter.get_total_flops() / 1e12
    return found


def _counted_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The two products of an attention, ``b n heads d``."""
    q, k, v = (each.transpose(1, 2) for each in (query, key, value))
    return (q @ k.mT @ v).transpose(1, 2)


@torch.inference_mode()
def time_frames(
    scene: Scene,
    cameras: Cameras,
    device: torch.device,
    *,
    network: WorldFMConfig,
    autoencoder: AutoencoderConfig,
    compiled: bool,
    repeats: int,
) -> dict[str, Any]:
    """Wall-clock times on a device; ``scene`` has the size of the frames, ``cameras`` are of its frames in order."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device("meta"):
        dit, encoder, decoder = WorldFM(network), ImageEncoder(autoencoder), ImageDecoder(autoencoder)
    for module in (dit, encoder, decoder):
        fill(module, device)
    dit.place(device, dtype)
    for half in (encoder, decoder):
        channels_last(half.to(working_dtype(dtype)))
    if compiled:
        compile_blocks(dit)
    tflop = count_tflop(network, autoencoder, scene.size)
    side = LARGE if device.type == "cuda" else LARGE // 8
    large = torch.randn(side, side, device=device, dtype=dtype)
    fastest = 2e-12 * side**3 / median_seconds(lambda: large @ large, repeats=repeats, device=device)
    results: dict[str, Any] = {"compiled": compiled, "tflop": tflop, "large_product_tflops": fastest}
    for name, steps in STEPS.items():
        generator = WorldFMGenerator(dit, encoder, decoder, WarpRenderer(), WorldFMOptions(scene.size, steps))
        session = generator.start(scene, seed=0)
        places = iter(range(len(cameras)))

        def frame(session=session, places=places) -> None:
            place = next(places)
            session.step(cameras[place : place + 1]).frames.cpu()

        seconds = median_seconds(frame, repeats=repeats, device=device, warm_up=2)
        work = tflop["encode"] + len(steps) * tflop["pass"] + tflop["decode"]
        results[name] = {
            "frames_per_second": 1 / seconds,
            "roofline_frames_per_second": fastest / work,
            "share_of_roofline": work / seconds / fastest,
        }
    latents = torch.randn(1, LATENT_CHANNELS, *(each // SHRINK for each in scene.size), device=device)
    image = torch.rand(1, 3, *scene.size, device=device) * 2 - 1
    modulation = dit.time_modulation(torch.tensor([999]))
    assert scene.points is not None, "a scene of points"
    points, camera = scene.points, cameras[:1]
    parts = {
        "render": lambda: points.render(camera, scene.size),
        "encode": lambda: encoder(image),
        "pass": lambda: dit(latents, latents, latents, modulation),
        "decode": lambda: decoder(latents),
    }
    results["parts_ms"] = {
        name: 1e3 * median_seconds(work, repeats=repeats, device=device) for name, work in parts.items()
    }
    return results | peak_memory(device)
