"""`inspatio train prepare`: encode views with a profile's autoencoder and text encoder, once, into shards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inspatio.config import GeneratorConfig
from inspatio.errors import UserError
from inspatio.generation.inspatio_world.condition import pack_mask
from inspatio.generation.inspatio_world.frames import to_mask, to_video
from inspatio.generation.worldfm.pictures import to_images
from inspatio.models.wan.autoencoder import VideoEncoder
from inspatio.models.wan.linear import fit
from inspatio.models.worldfm.autoencoder import ImageEncoder
from inspatio.training.data.views import Views, ViewsSource
from inspatio.training.shards import ShardWriter
from inspatio.types import Frames, Progress

_log = logging.getLogger(__name__)

STORED = torch.float16
"""Latents have unit variance: eleven bits keep them to a two-thousandth."""


@dataclass(frozen=True)
class ClipEncoder:
    """Views to a sample of InSpatio-World."""

    encoder: VideoEncoder[Any]
    device: torch.device

    @torch.inference_mode()
    def __call__(self, views: Views) -> dict[str, torch.Tensor]:
        """``source`` (where there is one), ``target``, ``render`` ``f 16 h w`` and ``mask`` ``f 4 h w``."""
        videos = {"target": views.target, "render": views.render}
        if views.source is not None:
            videos["source"] = views.source
        tensors = {name: self._latents(frames) for name, frames in videos.items()}
        tensors["mask"] = pack_mask(to_mask(views.masks, self.device), first=True)[0].to(STORED)
        return tensors

    def _latents(self, frames: Frames) -> torch.Tensor:
        video = to_video(frames, self.device, torch.float32)
        return self.encoder.encode(video, self.encoder.start())[0].to(STORED)


@dataclass(frozen=True)
class FrameEncoder:
    """Views to a sample of WorldFM: every frame on its own."""

    encoder: ImageEncoder
    device: torch.device

    @torch.inference_mode()
    def __call__(self, views: Views) -> dict[str, torch.Tensor]:
        """``source``, ``target`` and ``render`` ``n 4 h w``, with cameras.

        Raises:
            UserError: the views have no source or no cameras.
        """
        if views.source is None or views.cameras is None:
            raise UserError(f"{views.name}: got no second camera, expected source and target with theirs. Leave it out")
        pictures = {"source": views.source, "target": views.target, "render": views.render}
        source, target = views.cameras
        poses = torch.tensor(np.stack([source.world_to_camera, target.world_to_camera]), dtype=torch.float32)
        lens = torch.tensor(target.intrinsics[0], dtype=torch.float32)
        lens[:2, 2] += 0.5  # the camera encoding measures principal points from the picture's corner
        return {
            **{name: self._latents(frames) for name, frames in pictures.items()},
            "cameras": poses,
            "intrinsics": lens,
        }

    def _latents(self, frames: Frames) -> torch.Tensor:
        return torch.cat([self.encoder(to_images(frame[None], self.device)) for frame in frames]).to(STORED)


def prepare(
    source: ViewsSource,
    encode: ClipEncoder | FrameEncoder,
    embed: Any,
    folder: Path,
    facts: dict[str, Any],
    guidance_prompt: str,
    progress: Progress = lambda done, total: None,
) -> int:
    """Encode all views into shards; those that cannot be used are left out with a warning.

    Args:
        source: where views come from.
        encode: the autoencoder's half of the work.
        embed: a prompt to its embeddings ``1 m c``.
        folder: where the shards go.
        facts: what is kept in the index of how they were made.
        guidance_prompt: what guidance goes away from.
        progress: called with (done, total) clips.

    Returns:
        How many samples there are.

    Raises:
        UserError: there are none.
    """
    prompts: dict[str, int] = {}
    count = 0
    with ShardWriter(folder, facts) as writer:
        writer.add_prompt(_embedded(embed, guidance_prompt))
        for done, views in enumerate(_usable(source), start=1):
            try:
                tensors = encode(views)
            except UserError as error:
                _log.warning("left out: %s", error)
                continue
            if views.prompt not in prompts:
                prompts[views.prompt] = writer.add_prompt(_embedded(embed, views.prompt))
            writer.add(views.name, tensors, prompts[views.prompt])
            count += 1
            progress(min(done, source.count), source.count)
        if not count:
            raise UserError(f"{folder}: none of {source.count} clips can be used; the warnings say why. Add others")
    return count


def fit_linear(source: ViewsSource, clips: int) -> dict[str, torch.Tensor]:
    """Fit the linear autoencoder to the target views of some clips; returns its tensors by name.

    Raises:
        UserError: none can be used.
    """
    some = list(islice(_usable(source), clips))
    if not some:
        raise UserError("none of the clips can be used; the warnings say why. Add others")
    return fit(to_video(views.target, torch.device("cpu"), torch.float32) for views in some)


def _usable(source: ViewsSource) -> Iterator[Views]:
    for views in source.clips():
        if isinstance(views, UserError):
            _log.warning("left out: %s", views)
        else:
            yield views


def _embedded(embed: Any, prompt: str) -> torch.Tensor:
    """A prompt's embeddings ``m c`` without their padding."""
    embeddings = embed(prompt)[0]
    used = int(embeddings.abs().sum(dim=-1).nonzero().max()) + 1 if embeddings.any() else 1
    return embeddings[:used].clone()


def described(config: GeneratorConfig, kind: str, size: tuple[int, int], frames: int) -> dict[str, Any]:
    """What the index says of latents: training and inference must agree on it."""
    autoencoder = config.image_vae_path if kind == "frames" else config.encoder
    return {"kind": kind, "size": list(size), "frames": frames, "autoencoder": autoencoder}
