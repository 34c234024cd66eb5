"""The layers of the Wan video VAE, each of which takes the past from a state and leaves it there.

``b c t h w`` in channels-last memory, which is what convolutions on GPUs want, and where the channels of a pixel are
neighbours, as the norms want. See ``vae.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from inspatio.models.attention import attention


@dataclass
class WanState:
    """What an encoder or a decoder remembers of one clip.

    ``tails`` are, by the slot of each causal layer, the last frames of that layer's input, ``b c t h w``.
    """

    tails: dict[int, torch.Tensor] = field(default_factory=dict)
    at_start: bool = True
    """Nothing has gone through yet: the next pass is the clip's first frame (or latent), alone."""

    @property
    def bytes(self) -> int:
        """Memory held, in bytes; constant from the second pass on."""
        return sum(tail.untyped_storage().nbytes() for tail in self.tails.values())

    def to(self, device: torch.device) -> None:
        """Move what is remembered to a device."""
        self.tails = {slot: tail.to(device) for slot, tail in self.tails.items()}


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
        return self.convolve(self.gather(x, state))

    def gather(self, x: torch.Tensor, state: WanState, norm: RmsNorm | None = None) -> torch.Tensor:
        """The past, then ``x``; with a ``norm``, ``x`` normed and through a SiLU. The state moves on.

        Frame by frame into the place where the convolution reads, so that nothing else as large as ``x`` is made.
        """
        b, c, t, h, w = x.shape
        padded = torch.empty(
            (b, c, self.tail + t, h, w), device=x.device, dtype=x.dtype, memory_format=torch.channels_last_3d
        )
        past = state.tails.get(self.slot)
        padded[:, :, : self.tail] = 0 if past is None else past
        for index in range(t):
            frame = x[:, :, index]
            padded[:, :, self.tail + index] = frame if norm is None else F.silu(norm(frame), inplace=True)
        last = padded[:, :, -self.tail :]
        # Copied: a view would keep the whole input alive. In place: the memory stays where it is.
        state.tails[self.slot] = last.clone() if past is None else past.copy_(last)
        return padded

    def convolve(self, padded: torch.Tensor) -> torch.Tensor:
        """What ``gather`` gave, convolved."""
        if padded.device.type == "cpu" and padded.dtype == torch.float32:
            return self._frame_by_frame(padded)
        return super().forward(padded)

    def _frame_by_frame(self, x: torch.Tensor) -> torch.Tensor:
        """The same as a sum of 2D convolutions: PyTorch has a fast float32 kernel for those on the CPU, for 3D none."""
        size, stride = self.weight.shape[2], self.stride[0]
        count = (x.shape[2] - size) // stride + 1
        result: torch.Tensor | None = None
        for tap in range(size):
            frames = rearrange(x[:, :, tap : tap + stride * count : stride][:, :, :count], "b c t h w -> (b t) c h w")
            bias = self.bias if tap == 0 else None
            part = F.conv2d(frames, self.weight[:, :, tap], bias, padding=self.padding[1:])  # pyright: ignore[reportArgumentType]
            result = part if result is None else result.add_(part)
        assert result is not None
        return rearrange(result, "(b t) c h w -> b c t h w", b=x.shape[0])


class TwiceTheLastFrame(CausalConv):
    """Keeps the last frame twice instead of the last two frames (but for the first it sees: zeros are before that)."""

    def forward(self, x: torch.Tensor, state: WanState) -> torch.Tensor:
        results = []
        for frame in x.split(1, dim=2):
            is_first = self.slot not in state.tails
            results.append(super().forward(frame, state))
            if not is_first:
                state.tails[self.slot] = torch.cat([frame, frame], dim=2)
        return torch.cat(results, dim=2)


class RmsNorm(nn.Module):
    """Divides the channels of each pixel by their root mean square; gain, no bias."""

    def __init__(self, channels: int, dims: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The smallest addend that float32 does not round away next to zero: only all-zero pixels notice it.
        normed = F.rms_norm(x.movedim(1, -1), (x.shape[1],), self.gamma.flatten(), eps=1e-26)
        return normed.movedim(-1, 1)


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
        y = x
        for norm, conv in (("0", "2"), ("3", "6")):
            # In two steps, so that the one before is freed once it is gathered.
            y = as_conv(self.residual[conv]).gather(y, state, as_norm(self.residual[norm]))
            y = as_conv(self.residual[conv]).convolve(y)
        return y.add_(self.shortcut(x))


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
        frames = F.pad(rearrange(x, "b c t h w -> (b t) c h w"), (0, 1, 0, 1))
        x = rearrange(self.resample["1"](frames), "(b t) c h w -> b c t h w", b=x.shape[0])
        if self.time_conv is None:
            return x
        if state.at_start:
            state.tails[self.time_conv.slot] = x.clone()
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
            x = rearrange(self.time_conv(x, state), "b (k c) t h w -> b c (t k) h w", k=2)
        frames = F.interpolate(rearrange(x, "b c t h w -> (b t) c h w"), scale_factor=2, mode="nearest-exact")
        return rearrange(self.resample["1"](frames), "(b t) c h w -> b c t h w", b=x.shape[0])


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
