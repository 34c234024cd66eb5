"""WorldFM in training: one frame of a stored sample with its render and a reference, and the network's estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from inspatio.generation.worldfm.sampler import signal_and_noise, x0_from_v
from inspatio.models.worldfm.camera_encoding import ViewCameras
from inspatio.models.worldfm.dit import LATENT_CHANNELS, WorldFM
from inspatio.training.draws import Draws
from inspatio.training.shards import StoredSample


@dataclass(frozen=True)
class Frame:
    """A frame to be learned: latents ``1 4 h w`` float32; ``cameras`` of target, render and reference, for networks
    with a camera encoding."""

    target: torch.Tensor
    render: torch.Tensor
    reference: torch.Tensor
    cameras: ViewCameras | None

    def to(self, device: torch.device) -> Frame:
        latents = {name: getattr(self, name).to(device) for name in ("target", "render", "reference")}
        return replace(self, **latents)


def read_frame(sample: StoredSample, draws: Draws, *, with_cameras: bool) -> Frame:
    """One of a stored sample's frames, with one of its source frames as reference, both drawn."""
    tensors = sample.tensors
    count = len(tensors["target"])
    place, other = draws.integer(count, "frame"), draws.integer(count, "reference")
    target, render = tensors["target"][[place]], tensors["render"][[place]]
    cameras = None
    if with_cameras:
        source, wanted = tensors["cameras"]
        height, width = (8 * side for side in target.shape[-2:])
        poses = torch.stack((wanted[place], wanted[place], source[other]))[None]
        cameras = ViewCameras(poses, tensors["intrinsics"].expand(1, 3, 3, 3), (height, width))
    return Frame(target, render, tensors["source"][[other]], cameras)


def predict_v(network: WorldFM, noisy: torch.Tensor, time: int, frame: Frame) -> torch.Tensor:
    """The velocity ``1 4 h w`` float32 of a noisy frame at a training step of 0..999."""
    modulation = network.time_modulation(torch.tensor([time]))
    return network(noisy, frame.render, frame.reference, modulation, frame.cameras)[:, :LATENT_CHANNELS]


def clean_frame(network: WorldFM, noisy: torch.Tensor, time: int, frame: Frame) -> torch.Tensor:
    """The clean frame that a noisy one points to."""
    return x0_from_v(noisy, predict_v(network, noisy, time, frame), time)


def velocity(clean: torch.Tensor, noise: torch.Tensor, time: int) -> torch.Tensor:
    """The velocity that a network should predict: ``signal e - noise x0``."""
    signal, amount = signal_and_noise(time)
    return signal * noise - amount * clean
