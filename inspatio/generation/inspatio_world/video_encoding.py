"""Encode one video block by block; a picture that stands still is encoded only until its latents repeat.

    encoding = VideoEncoding(encoder, device, dtype)
    latents = encoding.encode(frames, ahead)

What a causal encoder remembers reaches back a fixed number of frames (``encoder.reach``). Once as many equal frames
have gone through, another block of the same picture finds the state that the block before found and leaves it as it
was, so that its latents are the same, and nothing is computed. A frozen frame, a paused live source and a render of
either from a camera that rests are such videos; equal means equal in every bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from inspatio.generation.inspatio_world.frames import to_video
from inspatio.models.wan.autoencoder import VideoEncoder
from inspatio.types import Frames, LatentTensor


class VideoEncoding:
    """An encoder's passage through one video, with its state."""

    def __init__(self, encoder: VideoEncoder[Any], device: torch.device, dtype: torch.dtype) -> None:
        self.state = encoder.start()
        self._encoder, self._device, self._dtype = encoder, device, dtype
        self._picture: Frames | None = None
        self._at_rest = 0
        """How many of the latest frames show the last picture."""
        self._repeats: tuple[tuple[int, int], LatentTensor] | None = None
        """Latents that come of nothing but the last picture, for so many frames and frames ahead."""

    def encode(self, frames: Frames, ahead: Frames) -> LatentTensor:
        """The next group of frames, ``t h w c`` uint8, to latents ``1 f 16 h/8 w/8``; ``ahead`` are the frames after
        it, none where they are not known. See :meth:`VideoEncoder.encode`."""
        still = self._picture is not None and all(
            np.array_equal(frame, self._picture) for group in (frames, ahead) for frame in group
        )
        lengths = len(frames), len(ahead)
        if still and self._repeats is not None and self._repeats[0] == lengths:
            return self._repeats[1]
        video = to_video(frames, self._device, self._dtype)
        latents = self._encoder.encode(
            video, self.state, to_video(ahead, self._device, self._dtype) if len(ahead) else None
        )
        self._repeats = (lengths, latents) if still and self._at_rest >= self._encoder.reach else None
        self._at_rest = self._at_rest + len(frames) if still else 1
        self._picture = frames[-1].copy()
        return latents
