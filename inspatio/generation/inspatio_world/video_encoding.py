"""Encode one video block by block; a picture that stands still is encoded only until its latents repeat.

    encoding = VideoEncoding(encoder, dtype)
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

from inspatio.generation.inspatio_world.frames import UploadedFrames, to_video
from inspatio.models.wan.autoencoder import VideoEncoder
from inspatio.types import Frames, LatentTensor


class VideoEncoding:
    """An encoder's passage through one video, with its state."""

    def __init__(self, encoder: VideoEncoder[Any], dtype: torch.dtype) -> None:
        self.state = encoder.start()
        self._encoder, self._dtype = encoder, dtype
        self._picture: Frames | None = None
        self._at_rest = 0
        """How many of the latest frames show the last picture."""
        self._repeats: tuple[tuple[int, int], LatentTensor] | None = None
        """Latents that come of nothing but the last picture, for so many frames and frames ahead."""

    def encode(self, frames: UploadedFrames, ahead: UploadedFrames) -> LatentTensor:
        """The next group of frames to latents ``1 f 16 h/8 w/8``; ``ahead`` are the frames after it, none where they
        are not known. See :meth:`VideoEncoder.encode`. Frames that are on the device alone are not compared."""
        still = self._is_still(frames) and self._is_still(ahead)
        lengths = len(frames), len(ahead)
        if still and self._repeats is not None and self._repeats[0] == lengths:
            return self._repeats[1]
        video, following = (to_video(group.on_device, group.on_device.device, self._dtype) for group in (frames, ahead))
        latents = self._encoder.encode(video, self.state, following if len(ahead) else None)
        self._repeats = (lengths, latents) if still and self._at_rest >= self._encoder.reach else None
        self._at_rest = self._at_rest + len(frames) if still else 1
        self._picture = None if frames.on_host is None else frames.on_host[-1].copy()
        return latents

    def _is_still(self, group: UploadedFrames) -> bool:
        """Whether all frames of a group show the last picture."""
        if self._picture is None or group.on_host is None:
            return False
        return all(np.array_equal(frame, self._picture) for frame in group.on_host)
