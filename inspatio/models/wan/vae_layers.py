"""The layers of the Wan video VAE, each of which takes the past from a state and leaves it there.

``b c t h w`` in channels-last memory, which is what convolutions on GPUs want, and where the channels of a pixel are
neighbours, as the norms want. See ``vae.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from inspatio.models.attention import attention
from inspatio.models.wan.norm import norm_activate_pad, rms_norm
from inspatio.models.wan.tails import HostTails, Tails


@dataclass(frozen=True)
class Working:
    """How much of a group is worked on at once. Results do not depend on it, but for the rounding of sums."""

    latents: int
    """Latents of a pass. Each pass reads and writes every tail, so fewer passes move less."""
    largest_piece: int
    """Bytes: larger tensors go through norms, activations and convolutions in pieces, bands of rows or some frames."""
    tails_on_host: bool
    """Keep what the layers remember in host memory while they do not use it."""

    @classmethod
    def on(cls, device: torch.device) -> Working:
        """What suits a device: on GPUs kernels want large tensors and memory is short, on CPUs caches are small."""
        if device.type == "cpu":
            return cls(latents=1, largest_piece=sys.maxsize, tails_on_host=False)
        return cls(latents=3, largest_piece=64 << 20, tails_on_host=True)


class WanState:
    """What an encoder or a decoder remembers of one clip.

    ``tails`` are the last frames of each causal layer's input; ``at_start`` says that nothing has gone through yet, so
    that the next pass is the clip's first frame (or latent), alone.
    """

    def __init__(self, working: Working) -> None:
        self.working = working
        self.tails = HostTails() if working.tails_on_host else Tails()
        self.at_start = True

    @property
    def bytes(self) -> int:
        """Device memory held, in bytes; constant from the second pass on."""
        return self.tails.bytes


class CausalConv(nn.Conv3d):
    """A convolution over time and space that sees no future: its first frames come from the state."""

    slot: int

    def __init__(
        self, channels: int, out: int, kernel: tuple[int, int, int] = (3, 3, 3), stride: int = 1, tail: int = 2
    ) -> None:
        super().__init__(channels, out, kernel, (stride, 1, 1), padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.tail = tail
        """How many input frames of the past it needs."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - the state is an argument, not hidden
        self, x: torch.Tensor, state: WanState
    ) -> torch.Tensor:
        tail = self.take_tail(x, state)
        padded = self.pad(x, tail)
        state.tails.put(self.slot, tail)
        return self.convolve(padded)

    def take_tail(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        """The last frames of the input before ``x``; zeros before the clip begins."""
        tail = state.tails.take(self.slot)
        if tail is None:
            b, c, _, h, w = x.shape
            tail = _empty(x, (b, c, self.tail, h, w)).zero_()
        return tail

    def pad(
        self, x: torch.Tensor, tail: torch.Tensor, norm: RmsNorm | None = None, above: int = 0, below: int = 0
    ) -> torch.Tensor:
        """The past, then ``x``; with a ``norm``, ``x`` normed and through a SiLU. The tail moves on.

        Rows ``above`` and ``below`` are left for the caller to fill.
        """
        b, c, t, h, w = x.shape
        padded = _empty(x, (b, c, self.tail + t, above + h + below, w))
        inside = padded[:, :, :, above : above + h]
        if norm is None:
            inside[:, :, : self.tail] = tail
            inside[:, :, self.tail :] = x
            tail.copy_(inside[:, :, -self.tail :])
        else:
            norm.activate_and_pad(x, tail, inside)
        return padded

    def convolve(self, padded: torch.Tensor, pad_rows: bool = True) -> torch.Tensor:
        """What ``pad`` gave, convolved; without ``pad_rows``, ``padded`` has the rows above and below already."""
        _, rows, columns = self.kernel_size
        padding = (0, rows // 2 if pad_rows else 0, columns // 2)
        if padded.device.type == "cpu" and padded.dtype == torch.float32:
            return self._frame_by_frame(padded, padding[1:])
        return F.conv3d(padded, self.weight, self.bias, self.stride, padding)  # pyright: ignore[reportCallIssue,reportArgumentType]

    def _frame_by_frame(self, x: torch.Tensor, padding: tuple[Any, ...]) -> torch.Tensor:
        """The same as a sum of 2D convolutions: PyTorch has a fast float32 kernel for those on the CPU, for 3D none."""
        size, stride = self.weight.shape[2], self.stride[0]
        count = (x.shape[2] - size) // stride + 1
        result: torch.Tensor | None = None
        for tap in range(size):
            frames = rearrange(x[:, :, tap : tap + stride * count : stride][:, :, :count], "b c t h w -> (b t) c h w")
            bias = self.bias if tap == 0 else None
            part = F.conv2d(frames, self.weight[:, :, tap], bias, padding=padding)
            result = part if result is None else result.add_(part)
        assert result is not None
        return rearrange(result, "(b t) c h w -> b c t h w", b=x.shape[0])


class RowConvolution:
    """A causal convolution of 3x3x3 taps, fed bands of rows from top to bottom.

    Each band gives the rows that are complete: one fewer than it has at first, one more at last. Nothing is computed
    twice, since the last two rows are kept for the next band.
    """

    def __init__(self, conv: CausalConv, norm: RmsNorm, x: torch.Tensor, state: WanState) -> None:
        """``x`` is the input, or one of its shape; only the state's tail is taken here."""
        self._conv, self._norm, self._state = conv, norm, state
        self._tail = conv.take_tail(x, state)
        self._above: torch.Tensor | None = None
        self._row = 0

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """The next rows of the input, ``b c t h w``, to the next rows of the result."""
        start, self._row = self._row, self._row + rows.shape[3]
        first, last = start == 0, self._row == self._tail.shape[3]
        tail = self._tail[:, :, :, start : self._row]
        if first and last:
            padded = self._conv.pad(rows, tail, self._norm)
        else:
            padded = self._conv.pad(rows, tail, self._norm, above=1 if first else 2, below=int(last))
            if self._above is None:
                padded[:, :, :, :1] = 0
            else:
                padded[:, :, :, :2] = self._above
            if last:
                padded[:, :, :, -1:] = 0
            else:
                self._above = padded[:, :, :, -2:].clone()
        if last:
            self._state.tails.put(self._conv.slot, self._tail)
        return self._conv.convolve(padded, pad_rows=first and last)


class TwiceTheLastFrame(CausalConv):
    """Keeps the last frame twice instead of the last two frames (but for the first it sees: zeros are before that)."""

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        results = []
        for frame in x.split(1, dim=2):
            is_first = self.slot not in state.tails
            results.append(super().forward(frame, state))
            if not is_first:
                state.tails.put(self.slot, frame.repeat(1, 1, 2, 1, 1))
        return torch.cat(results, dim=2)


class RmsNorm(nn.Module):
    """Divides the channels of each pixel by their root mean square; gain, no bias."""

    def __init__(self, channels: int, dims: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x.movedim(1, -1), self.gamma.flatten()).movedim(-1, 1)

    def activate_and_pad(self, x: torch.Tensor, tail: torch.Tensor, padded: torch.Tensor) -> None:
        """:func:`norm_activate_pad` of each video ``b c t h w``, in channels-last memory."""
        for video in zip(x, tail, padded, strict=True):
            frames, past, room = (part.movedim(0, -1).view(part.shape[1], -1, part.shape[0]) for part in video)
            norm_activate_pad(frames, self.gamma.flatten(), past, room)


class ResidualBlock(nn.Module):
    """Twice norm, SiLU and causal convolution, added to the input (brought to as many channels)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        # Numbered as published: 1 and 4 are activations, 5 is a dropout.
        self.residual = nn.ModuleDict(
            {
                "0": RmsNorm(channels),
                "2": CausalConv(channels, out),
                "3": RmsNorm(out),
                "6": CausalConv(out, out),
            }
        )
        self.shortcut = nn.Conv3d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        # Where the channels stay, x itself: a row is added to only after the convolutions have read it.
        result = self.shortcut(x).contiguous(memory_format=torch.channels_last_3d)
        convs = [
            RowConvolution(as_conv(self.residual[conv]), as_norm(self.residual[norm]), like, state)
            for norm, conv, like in (("0", "2", x), ("3", "6", result))
        ]
        row = 0
        for y in bands(x, state):
            for conv in convs:
                y = conv(y)
            result[:, :, :, row : row + y.shape[3]].add_(y)
            row += y.shape[3]
        return result


class PixelAttention(nn.Module):
    """Every pixel of a frame attends to all pixels of that frame, with one head as wide as the network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RmsNorm(channels, dims=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        b, _, _, h, w = x.shape
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        query, key, value = rearrange(self.to_qkv(self.norm(frames)), "n (k c) h w -> k n (h w) 1 c", k=3)
        mixed = rearrange(attention(query, key, value), "n (h w) 1 c -> n c h w", h=h, w=w)
        return x + rearrange(self.proj(mixed), "(b t) c h w -> b c t h w", b=b)


class Downsample(nn.Module):
    """Half the height and width and, where ``in_time``, half the frames: all but the clip's first, which stays."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, stride=2)})
        self.time_conv = CausalConv(channels, channels, (3, 1, 1), stride=2, tail=1) if in_time else None

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        x = _frame_by_frame(lambda frames: self.resample["1"](F.pad(frames, (0, 1, 0, 1))), x, state.working)
        if self.time_conv is None:
            return x
        if state.at_start:
            state.tails.put(self.time_conv.slot, x.clone())
            return x
        return self.time_conv(x, state)


class Upsample(nn.Module):
    """Twice the height and width at half the channels and, with a ``time_conv``, two frames for each but the first."""

    def __init__(self, channels: int, time_conv: type[CausalConv] | None) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels // 2, 3, padding=1)})
        self.time_conv = time_conv(channels, 2 * channels, (3, 1, 1)) if time_conv else None

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        # The first frame does not enter the convolution's past either: that begins with zeros at the second.
        if self.time_conv is not None and not state.at_start:
            x = rearrange(self.time_conv(x, state).movedim(1, -1), "b t h w (k c) -> b (t k) h w c", k=2).movedim(-1, 1)

        def enlarge(frames: torch.Tensor) -> torch.Tensor:
            return self.resample["1"](F.interpolate(frames, scale_factor=2, mode="nearest-exact"))

        return _frame_by_frame(enlarge, x, state.working, growth=4)


def bands(x: torch.Tensor, state: WanState) -> tuple[torch.Tensor, ...]:
    """Cut ``b c t h w`` into bands of rows that are pieces of at most the size that is worked on at once."""
    rows = state.working.largest_piece * x.shape[3] // _bytes(x)
    return x.split(min(max(rows, 3), x.shape[3]), dim=3)


def _frame_by_frame(
    work: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, working: Working, growth: int = 1
) -> torch.Tensor:
    """Apply ``work`` to the frames of ``b c t h w``, so many at once that ``growth`` times their bytes are a piece."""
    frames = rearrange(x, "b c t h w -> (b t) c h w")
    count = max(working.largest_piece * len(frames) // (growth * _bytes(x)), 1)
    if count >= len(frames):
        result = work(frames)
    else:
        first = work(frames[:count])
        result = torch.empty(
            (len(frames), *first.shape[1:]), device=x.device, dtype=x.dtype, memory_format=torch.channels_last
        )
        result[:count] = first
        del first
        for start in range(count, len(frames), count):
            result[start : start + count] = work(frames[start : start + count])
    return rearrange(result, "(b t) c h w -> b c t h w", b=x.shape[0])


def _empty(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, device=like.device, dtype=like.dtype, memory_format=torch.channels_last_3d)


def _bytes(x: torch.Tensor) -> int:
    return x.numel() * x.dtype.itemsize


def as_conv(module: nn.Module) -> CausalConv:
    assert isinstance(module, CausalConv)
    return module


def as_norm(module: nn.Module) -> RmsNorm:
    assert isinstance(module, RmsNorm)
    return module


def number_slots(model: nn.Module) -> None:
    """Give every causal layer its place in the state."""
    for slot, layer in enumerate(m for m in model.modules() if isinstance(m, CausalConv)):
        layer.slot = slot
