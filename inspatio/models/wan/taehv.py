"""TAEHV, the tiny autoencoder for Wan's latents, as a streaming encoder and a streaming decoder.

Place in the flow: the same as ``vae.py``, for about a twentieth of the work and some loss of detail; both follow
``autoencoder.py`` and share one latent space, so that either can encode what the other decodes.

Shapes: video ``b 3 t h w`` in -1..1 outside, frames ``(t b) c h w`` in 0..1 inside; latents ``b f 16 h/8 w/8``,
normalised already. All convolutions are 2D; time is in the memory blocks, each of which also sees its input of the
frame before, and in the layers that merge frames or split them. A latent is a window of four frames:

    frames     0 1 2 3 | 4 5 6 7 | 8 9 ...       decoder: window i shows frames 4 i - 3 .. 4 i,
    window     0       | 1       | 2             so the clip's first three are dropped

The encoder's windows end three frames later than the frames that the latent stands for: a clip's last window is filled
up with its last frame, and so is the last window of every group, unless the caller knows the three frames that follow
(``ahead``). With them, groups equal the whole, however cut; without, the last latent of each group is a stand-in, and
what the network remembers is brought up to date when the frames come. Decoding needs no such care.

Numerics: everything in the model's dtype; there are no norms.

Source: TAEHV by Ollin Boer Bohan (MIT), weights ``taew2_1.pth``, whose parameter names are kept. Width 64 as published,
read off the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from inspatio.models.wan.autoencoder import LATENT_CHANNELS, TEMPORAL_FACTOR
from inspatio.types import LatentTensor, VideoTensor

PUBLISHED_WIDTH = 64
LOOKAHEAD = TEMPORAL_FACTOR - 1
"""Frames that a latent's window reaches beyond the frames it stands for; as many lead the decoder's first window."""


FULL_SIZE_LAYERS = 4
"""The encoder's first and the decoder's last layers. They work on full-size frames and remember nothing, so they take
two frames at a time (the encoder merges two); all others take ``LATENTS_PER_PASS`` latents: their tensors are small."""
LATENTS_PER_PASS = 3
"""As many as the generator makes in a block."""


@dataclass
class TaeState:
    """What an encoder or a decoder remembers of one clip.

    ``memory`` is, by memory block, its input of the frame before, ``b c h w``. ``held`` are the frames of the
    encoder's last window, ``b t c h w``, where it is not complete; ``ahead`` how many frames of the next group it saw.
    """

    memory: dict[int, torch.Tensor] = field(default_factory=dict)
    at_start: bool = True
    held: torch.Tensor | None = None
    ahead: int = 0

    @property
    def bytes(self) -> int:
        """Memory held, in bytes; does not grow."""
        kept = [*self.memory.values(), *([] if self.held is None else [self.held])]
        return sum(tensor.untyped_storage().nbytes() for tensor in kept)


class TaeEncoder(nn.Module):
    """Video to normalised latents; implements ``autoencoder.VideoEncoder[TaeState]``."""

    lookahead = LOOKAHEAD
    reach = 48
    """Three memory blocks at half the frame rate and six at a quarter remember 30 frames; held frames and those that
    were looked ahead at come to that."""

    def __init__(self, width: int = PUBLISHED_WIDTH) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, width), nn.ReLU(inplace=True)]
        for frames in (2, 2, 1):
            layers += [_Merge(width, frames), _conv(width, width, stride=2, bias=False)]
            layers += [_MemoryBlock(width) for _ in range(3)]
        self.encoder = nn.ModuleList([*layers, _conv(width, LATENT_CHANNELS)])
        _number_blocks(self)

    def start(self) -> TaeState:
        """A fresh state: nothing has been encoded yet."""
        return TaeState()

    def encode(self, video: VideoTensor, state: TaeState, ahead: VideoTensor | None = None) -> LatentTensor:
        """``b 3 t h w`` in -1..1 -> ``b f 16 h/8 w/8`` normalised; see :meth:`autoencoder.VideoEncoder.encode`."""
        _, c, t, h, w = video.shape
        assert c == 3, f"video has {c} channels, expected 3"
        assert h % 8 == 0, f"height {h} is not a multiple of 8"
        assert w % 8 == 0, f"width {w} is not a multiple of 8"
        assert t % TEMPORAL_FACTOR == int(state.at_start), f"{t} frames, expected 4 k, and one more at the start"
        frames = rearrange(video[:, :, state.ahead :], "b c t h w -> b t c h w")
        known = 0 if ahead is None else ahead.shape[2]
        assert known <= LOOKAHEAD, f"{known} frames ahead, expected at most {LOOKAHEAD}"
        if ahead is not None:
            frames = torch.cat([frames, rearrange(ahead, "b c t h w -> b t c h w")], dim=1)
        # The window of held frames has given its latent before; this time it is for the memory alone.
        had_latent = state.held is not None
        if state.held is not None:
            frames = torch.cat([state.held, frames], dim=1)
        complete = frames.shape[1] // TEMPORAL_FACTOR * TEMPORAL_FACTOR
        windows, rest = frames[:, :complete], frames[:, complete:]
        latents = [self._run(some, state.memory) for some in _passes(windows, TEMPORAL_FACTOR * LATENTS_PER_PASS)]
        if missing := -rest.shape[1] % TEMPORAL_FACTOR:
            filled = torch.cat([rest, rest[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
            # A window that was filled up leaves no trace in the memory: its real frames may still come.
            latents.append(self._run(filled, dict(state.memory)))
        state.held = rest.clone() if missing else None
        state.ahead = known
        state.at_start = False
        return torch.cat(latents, dim=1)[:, int(had_latent) :]

    def _run(self, windows: torch.Tensor, memory: dict[int, torch.Tensor]) -> torch.Tensor:
        """Whole windows ``b t c h w`` in -1..1 -> ``b f c h w``; ``memory`` moves on."""
        b = windows.shape[0]
        large, small = self.encoder[:FULL_SIZE_LAYERS], self.encoder[FULL_SIZE_LAYERS:]
        frames = [_run(large, _frames(pair) * 0.5 + 0.5, b, memory) for pair in _passes(windows, 2)]
        return rearrange(_run(small, torch.cat(frames), b, memory), "(t b) c h w -> b t c h w", b=b)


class TaeDecoder(nn.Module):
    """Normalised latents to video; implements ``autoencoder.VideoDecoder[TaeState]``."""

    def __init__(self, width: int = PUBLISHED_WIDTH) -> None:
        super().__init__()
        channels = 4 * width
        layers: list[nn.Module] = [_SoftClamp(), _conv(LATENT_CHANNELS, channels), nn.ReLU(inplace=True)]
        for out, frames in ((2 * width, 1), (width, 2), (width, 2)):
            layers += [_MemoryBlock(channels) for _ in range(3)]
            layers += [nn.Identity(), _SplitAndEnlarge(channels, frames), _conv(channels, out, bias=False)]
            channels = out
        self.decoder = nn.ModuleList([*layers, nn.ReLU(inplace=True), _conv(channels, 3)])
        _number_blocks(self)

    def start(self) -> TaeState:
        """A fresh state: nothing has been decoded yet."""
        return TaeState()

    def decode(self, latents: LatentTensor, state: TaeState) -> VideoTensor:
        """``b f 16 h w`` normalised -> ``b 3 t 8h 8w`` in -1..1; see :meth:`autoencoder.VideoDecoder.decode`."""
        assert latents.shape[2] == LATENT_CHANNELS, f"latents have {latents.shape[2]} channels, expected 16"
        b = latents.shape[0]
        small, large = self.decoder[:-FULL_SIZE_LAYERS], self.decoder[-FULL_SIZE_LAYERS:]
        video = []
        for some in _passes(latents, LATENTS_PER_PASS):
            half_size = _run(small, _frames(some), b, state.memory)
            video += [_run(large, frames, b, state.memory) for frames in half_size.split(b)]
        frames = rearrange(torch.cat(video), "(t b) c h w -> b c t h w", b=b)
        if state.at_start:
            frames = frames[:, :, LOOKAHEAD:]
        state.at_start = False
        # The network's own range is 0..1; what it shoots beyond is cut off.
        return frames.mul(2).sub_(1).clamp_(-1, 1)


class _MemoryBlock(nn.Module):
    """Three convolutions over a frame and the one before it, added to the frame."""

    slot: int

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * channels, channels),
            nn.ReLU(inplace=True),
            _conv(channels, channels),
            nn.ReLU(inplace=True),
            _conv(channels, channels),
        )

    def forward(self, x: torch.Tensor, batch: int, memory: dict[int, torch.Tensor]) -> torch.Tensor:
        n, c, _, _ = x.shape
        # Written into one tensor: `cat` along frames and then along channels would copy twice.
        joined = _empty(x, n, 2 * c)
        joined[:, :c] = x
        joined[:batch, c:] = memory.get(self.slot, 0)
        joined[batch:, c:] = x[:-batch]
        memory[self.slot] = x[-batch:].clone()
        return self.conv(joined).add_(x).relu_()


class _Merge(nn.Module):
    """So many consecutive frames become one."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv2d(frames * channels, channels, 1, bias=False)

    def forward(self, x: torch.Tensor, batch: int) -> torch.Tensor:
        if self.frames > 1:
            together = _empty(x, len(x) // self.frames, self.frames * x.shape[1])
            parts = together.unflatten(0, (-1, batch)).chunk(self.frames, dim=2)
            for part, frames in zip(parts, x.unflatten(0, (-1, self.frames, batch)).unbind(1), strict=True):
                part.copy_(frames)
            x = together
        return self.conv(x)


class _SplitAndEnlarge(nn.Module):
    """One frame becomes so many, each with twice the height and width.

    As published, enlarging comes first; each pixel being on its own here, the order does not matter, and splitting
    before it is a quarter of the work.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv2d(channels, frames * channels, 1, bias=False)

    def forward(self, x: torch.Tensor, batch: int) -> torch.Tensor:
        x = self.conv(x)
        if self.frames > 1:
            parts = x.chunk(self.frames, dim=1)
            x = _empty(x, self.frames * len(x), parts[0].shape[1])
            for frames, part in zip(x.unflatten(0, (-1, self.frames, batch)).unbind(1), parts, strict=True):
                frames.copy_(part.unflatten(0, (-1, batch)))
        return F.interpolate(x, scale_factor=2, mode="nearest")


class _SoftClamp(nn.Module):
    """Latents to -3..3."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 3) * 3


def _conv(channels: int, out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=bias)


def _run(layers: Iterable[nn.Module], x: torch.Tensor, batch: int, memory: dict[int, torch.Tensor]) -> torch.Tensor:
    """Frames ``(t b) c h w`` of ``batch`` videos through some layers; ``memory`` moves on by as many."""
    for layer in layers:
        if isinstance(layer, _MemoryBlock):
            x = layer(x, batch, memory)
        else:
            x = layer(x, batch) if isinstance(layer, (_Merge, _SplitAndEnlarge)) else layer(x)
    return x


def _passes(x: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    """Cut ``b t ...`` along time into parts of at most ``size``; none where there is nothing."""
    return x.split(size, dim=1) if x.shape[1] else ()


def _frames(x: torch.Tensor) -> torch.Tensor:
    """``b t c h w`` as frames, time first, channels last."""
    return rearrange(x, "b t c h w -> (t b) c h w").contiguous(memory_format=torch.channels_last)


def _empty(like: torch.Tensor, frames: int, channels: int) -> torch.Tensor:
    """Room for so many more frames of this size, channels last."""
    shape = (frames, channels, *like.shape[2:])
    return torch.empty(shape, device=like.device, dtype=like.dtype, memory_format=torch.channels_last)


def _number_blocks(model: nn.Module) -> None:
    """Give every memory block its place in the state."""
    for slot, block in enumerate(m for m in model.modules() if isinstance(m, _MemoryBlock)):
        block.slot = slot
