"""Encoding and decoding by both codes, with the Wan VAE and with TAEHV."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from ab_cases.setting import Setting, Work
from benches.measure import fill

from inspatio.models.wan.checkpoint import channels_last
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import LATENT_MEAN, LATENT_STD, WanDecoder, WanEncoder

FRAMES = 13


def wan_pair(setting: Setting) -> tuple[Any, Any, Any, list[torch.Tensor]]:
    """Public VAE, our encoder and decoder with the same weights, and the public scale of latents."""
    with torch.device("meta"):
        encoder, decoder = WanEncoder(), WanDecoder()
    for half in (encoder, decoder):
        fill(half, setting.device)
        half.to(setting.dtype)
    with torch.device("meta"):
        public = importlib.import_module("wan.modules.vae").WanVAE_(
            dim=96, z_dim=16, temperal_downsample=[False, True, True]
        )
    # Copies, since ours are laid out for convolutions and the public ones stay as they were loaded.
    state = {name: value.clone() for half in (encoder, decoder) for name, value in half.state_dict().items()}
    public.load_state_dict(state, assign=True)
    scale = [torch.tensor(LATENT_MEAN), 1 / torch.tensor(LATENT_STD)]
    if setting.device.type == "cuda":
        for half in (encoder, decoder):
            channels_last(half)
    scale = [each.to(setting.device, setting.dtype) for each in scale]
    return public.requires_grad_(False).eval(), encoder.eval(), decoder.eval(), scale


def vae_encode(setting: Setting) -> tuple[Work, Work]:
    public, encoder, _, scale = wan_pair(setting)
    video = setting.random(1, 3, FRAMES, *setting.size).clamp(-1, 1)

    def run_ours() -> Sequence[torch.Tensor]:
        state = encoder.start()
        return [torch.cat([encoder.encode(part, state) for part in video.split([9, 4], dim=2)], dim=1)]

    return lambda: [public.encode(video, scale).transpose(1, 2)], run_ours


def vae_decode(setting: Setting) -> tuple[Work, Work]:
    public, _, decoder, scale = wan_pair(setting)
    latents = setting.random(1, 4, 16, *(side // 8 for side in setting.size))

    def run_ours() -> Sequence[torch.Tensor]:
        state = decoder.start()
        return [torch.cat([decoder.decode(part, state) for part in latents.split([3, 1], dim=1)], dim=2)]

    return lambda: [public.decode(latents.transpose(1, 2), scale).clamp(-1, 1)], run_ours


def tae_pair(setting: Setting) -> tuple[Any, Any, Any]:
    with torch.device("meta"):
        encoder, decoder = TaeEncoder(), TaeDecoder()
    for half in (encoder, decoder):
        fill(half, setting.device)
        half.to(setting.dtype)
    state = {name: value.clone() for half in (encoder, decoder) for name, value in half.state_dict().items()}
    with torch.device("meta"):
        public = importlib.import_module("utils.taehv").TAEHV(checkpoint_path=None)
    public.load_state_dict(state, assign=True)
    if setting.device.type == "cuda":
        for half in (encoder, decoder):
            channels_last(half)
    return public.requires_grad_(False).eval(), encoder.eval(), decoder.eval()


def tae_encode(setting: Setting) -> tuple[Work, Work]:
    public, encoder, _ = tae_pair(setting)
    video = setting.random(1, 3, FRAMES, *setting.size).clamp(-1, 1)

    def run_public() -> Sequence[torch.Tensor]:
        return [public.encode_video(video.transpose(1, 2) * 0.5 + 0.5, parallel=True, show_progress_bar=False)]

    def run_ours() -> Sequence[torch.Tensor]:
        state = encoder.start()
        first = encoder.encode(video[:, :, :9], state, video[:, :, 9:12])
        return [torch.cat([first, encoder.encode(video[:, :, 9:], state)], dim=1)]

    return run_public, run_ours


def tae_decode(setting: Setting) -> tuple[Work, Work]:
    public, _, decoder = tae_pair(setting)
    latents = setting.random(1, 4, 16, *(side // 8 for side in setting.size))

    def run_public() -> Sequence[torch.Tensor]:
        video = public.decode_video(latents, parallel=True, show_progress_bar=False)
        return [video.transpose(1, 2) * 2 - 1]

    def run_ours() -> Sequence[torch.Tensor]:
        state = decoder.start()
        return [torch.cat([decoder.decode(part, state) for part in latents.split([3, 1], dim=1)], dim=2)]

    return run_public, run_ours
