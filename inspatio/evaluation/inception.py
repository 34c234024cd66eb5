"""The networks that FID and FVD look through: Inception-v3 as FID uses it, and I3D for videos.

Plain layers with the names of the published files, which hold weights only:

    pt_inception-2015-12-05-6726825d.pth   Inception-v3 (Szegedy et al. 2016), converted from the network of the FID
                                           paper (Heusel et al. 2017) by pytorch-fid; torch-fidelity has the same file
    i3d_pretrained_400.pt                  I3D (Carreira & Zisserman 2017) trained on Kinetics-400, converted by
                                           VideoGPT; FVD (Unterthiner et al. 2018) looks at its 400 logits

Inception-v3 here differs from torchvision's as the TensorFlow graph of the paper does: averages leave padding out, the
last block pools by the maximum, and pictures are resized without half-pixel centres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, max_pool3d, pad

PICTURE = 299
"""Side in pixels of the pictures that Inception sees."""
VIDEO = 224
"""Side in pixels of the frames that I3D sees."""
VIDEO_FRAMES = 16
"""Frames of a video that I3D sees at once."""

Pair = tuple[int, int]
Layer = tuple[int, int, Pair]
"""Channels in and out, and the kernel (rows, columns)."""
Step = str | tuple[str, ...]
"""What a branch does next: a layer by name, a pooling (``average``, ``maximum``, ``halve``), or several layers side by
side whose results are joined."""


class _Convolution(nn.Module):
    """A convolution without bias, batch normalisation, ReLU."""

    def __init__(self, channels: int, width: int, kernel: Pair, stride: int = 1, padding: Pair = (0, 0)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class _Mixed(nn.Module):
    """Branches side by side, joined along the channels. Layers named in ``halving`` halve the size, without padding."""

    def __init__(self, layers: Mapping[str, Layer], branches: Sequence[Sequence[Step]], halving: Sequence[str] = ()):
        super().__init__()
        for name, (channels, width, kernel) in layers.items():
            halves = name in halving
            padding = (0, 0) if halves else (kernel[0] // 2, kernel[1] // 2)
            setattr(self, name, _Convolution(channels, width, kernel, 2 if halves else 1, padding))
        self._branches = branches

    def forward(self, x: Tensor) -> Tensor:
        results = []
        for branch in self._branches:
            y = x
            for step in branch:
                y = self._step(step, y)
            results.append(y)
        return torch.cat(results, dim=1)

    def _step(self, step: Step, x: Tensor) -> Tensor:
        match step:
            case "average":
                return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            case "maximum":
                return max_pool2d(x, 3, stride=1, padding=1)
            case "halve":
                return max_pool2d(x, 3, stride=2)
            case str():
                return getattr(self, step)(x)
            case _:
                return torch.cat([getattr(self, name)(x) for name in step], dim=1)


def _block_5(channels: int, pooled: int) -> _Mixed:
    layers = {
        "branch1x1": (channels, 64, (1, 1)),
        "branch5x5_1": (channels, 48, (1, 1)),
        "branch5x5_2": (48, 64, (5, 5)),
        "branch3x3dbl_1": (channels, 64, (1, 1)),
        "branch3x3dbl_2": (64, 96, (3, 3)),
        "branch3x3dbl_3": (96, 96, (3, 3)),
        "branch_pool": (channels, pooled, (1, 1)),
    }
    double = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
    return _Mixed(layers, (("branch1x1",), ("branch5x5_1", "branch5x5_2"), double, ("average", "branch_pool")))


def _block_6a() -> _Mixed:
    layers = {
        "branch3x3": (288, 384, (3, 3)),
        "branch3x3dbl_1": (288, 64, (1, 1)),
        "branch3x3dbl_2": (64, 96, (3, 3)),
        "branch3x3dbl_3": (96, 96, (3, 3)),
    }
    branches = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), ("halve",))
    return _Mixed(layers, branches, halving=("branch3x3", "branch3x3dbl_3"))


def _block_6(inner: int) -> _Mixed:
    layers = {
        "branch1x1": (768, 192, (1, 1)),
        "branch7x7_1": (768, inner, (1, 1)),
        "branch7x7_2": (inner, inner, (1, 7)),
        "branch7x7_3": (inner, 192, (7, 1)),
        "branch7x7dbl_1": (768, inner, (1, 1)),
        "branch7x7dbl_2": (inner, inner, (7, 1)),
        "branch7x7dbl_3": (inner, inner, (1, 7)),
        "branch7x7dbl_4": (inner, inner, (7, 1)),
        "branch7x7dbl_5": (inner, 192, (1, 7)),
        "branch_pool": (768, 192, (1, 1)),
    }
    single = [f"branch7x7_{number}" for number in range(1, 4)]
    double = [f"branch7x7dbl_{number}" for number in range(1, 6)]
    return _Mixed(layers, (("branch1x1",), single, double, ("average", "branch_pool")))


def _block_7a() -> _Mixed:
    layers = {
        "branch3x3_1": (768, 192, (1, 1)),
        "branch3x3_2": (192, 320, (3, 3)),
        "branch7x7x3_1": (768, 192, (1, 1)),
        "branch7x7x3_2": (192, 192, (1, 7)),
        "branch7x7x3_3": (192, 192, (7, 1)),
        "branch7x7x3_4": (192, 192, (3, 3)),
    }
    long = [f"branch7x7x3_{number}" for number in range(1, 5)]
    return _Mixed(layers, (("branch3x3_1", "branch3x3_2"), long, ("halve",)), halving=("branch3x3_2", "branch7x7x3_4"))


def _block_7(channels: int, pooling: str) -> _Mixed:
    layers = {
        "branch1x1": (channels, 320, (1, 1)),
        "branch3x3_1": (channels, 384, (1, 1)),
        "branch3x3_2a": (384, 384, (1, 3)),
        "branch3x3_2b": (384, 384, (3, 1)),
        "branch3x3dbl_1": (channels, 448, (1, 1)),
        "branch3x3dbl_2": (448, 384, (3, 3)),
        "branch3x3dbl_3a": (384, 384, (1, 3)),
        "branch3x3dbl_3b": (384, 384, (3, 1)),
        "branch_pool": (channels, 192, (1, 1)),
    }
    single = ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b"))
    double = ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b"))
    return _Mixed(layers, (("branch1x1",), single, double, (pooling, "branch_pool")))


class InceptionV3(nn.Module):
    """``network(pictures)``: ``n 3 h w`` uint8 to the ``n 2048`` features of FID."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, (3, 3), 2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = _Convolution(32, 64, (3, 3), padding=(1, 1))
        self.Conv2d_3b_1x1 = _Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Convolution(80, 192, (3, 3))
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_5(192, 32), _block_5(256, 64), _block_5(288, 64)
        self.Mixed_6a = _block_6a()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_block_6, (128, 160, 160, 192))
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = _block_7a(), _block_7(1280, "average"), _block_7(2048, "maximum")
        self.fc = nn.Linear(2048, 1008)
        """Not used; the published files have it."""

    def forward(self, pictures: Tensor) -> Tensor:
        x = (_resized(pictures.float()) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = max_pool2d(x, 3, stride=2)
        x = max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean(dim=(2, 3))


def _resized(pictures: Tensor) -> Tensor:
    """``n c h w`` resized bilinearly to PICTURE; pixel i of the result is at i times the ratio of the sizes."""
    for axis in (2, 3):
        count = pictures.shape[axis]
        at = torch.arange(PICTURE, dtype=torch.float32) * (count / PICTURE)
        before = at.floor().long()
        share = (at - before).view((-1, 1) if axis == 2 else (1, -1))
        after = (before + 1).clamp(max=count - 1)
        first, second = pictures.index_select(axis, before), pictures.index_select(axis, after)
        pictures = first + (second - first) * share
    return pictures


class _Unit(nn.Module):
    """A 3D convolution with as much padding as keeps the size (TensorFlow's "SAME"), batch normalisation, ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self._kernel, self._stride = kernel, stride
        self.conv3d = nn.Conv3d(channels, width, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self._kernel, self._stride
        return self.bn(self.conv3d(_same(x, (kernel, kernel, kernel), (stride, stride, stride)))).relu()


class _MixedVideo(nn.Module):
    """I3D's module: four branches side by side."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = _Unit(channels, widths[0], 1)
        self.b1a, self.b1b = _Unit(channels, widths[1], 1), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(channels, widths[3], 1), _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(channels, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class _Logits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, 400, 1)


class I3d(nn.Module):
    """``network(videos)``: ``n 3 t h w`` uint8 to the ``n 400`` logits of FVD; the middle square of frames is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        self.Mixed_3b = _MixedVideo(192, (64, 96, 128, 16, 32, 32))
        self.Mixed_3c = _MixedVideo(256, (128, 128, 192, 32, 96, 64))
        self.Mixed_4b = _MixedVideo(480, (192, 96, 208, 16, 48, 64))
        self.Mixed_4c = _MixedVideo(512, (160, 112, 224, 24, 64, 64))
        self.Mixed_4d = _MixedVideo(512, (128, 128, 256, 24, 64, 64))
        self.Mixed_4e = _MixedVideo(512, (112, 144, 288, 32, 64, 64))
        self.Mixed_4f = _MixedVideo(528, (256, 160, 320, 32, 128, 128))
        self.Mixed_5b = _MixedVideo(832, (256, 160, 320, 32, 128, 128))
        self.Mixed_5c = _MixedVideo(832, (384, 192, 384, 48, 128, 128))
        self.logits = _Logits()

    def forward(self, videos: Tensor) -> Tensor:
        x = _middle_square(videos)
        x = _pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = _pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = _pool(self.Mixed_3c(self.Mixed_3b(x)), (3, 3, 3), (2, 2, 2))
        x = self.Mixed_4f(self.Mixed_4e(self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(x)))))
        x = self.Mixed_5c(self.Mixed_5b(_pool(x, (2, 2, 2), (2, 2, 2))))
        x = nn.functional.avg_pool3d(x, (2, 7, 7), stride=1)
        return self.logits.conv3d(x).mean(dim=(2, 3, 4))


def _middle_square(videos: Tensor) -> Tensor:
    """``n 3 t h w`` uint8 to ``n 3 t s s`` in -1..1, s being VIDEO: scaled so that the middle square is all of it."""
    count, _, frames, height, width = videos.shape
    scale = VIDEO / min(height, width)
    size = (max(round(height * scale), VIDEO), max(round(width * scale), VIDEO))
    flat = videos.transpose(1, 2).flatten(0, 1).float()
    small = interpolate(flat, size, mode="bilinear", align_corners=False) / 127.5 - 1
    top, left = (size[0] - VIDEO) // 2, (size[1] - VIDEO) // 2
    cut = small[:, :, top : top + VIDEO, left : left + VIDEO]
    return cut.unflatten(0, (count, frames)).transpose(1, 2)


def _same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Pad ``n c t h w`` with zeros so that the result has the size divided by the stride, rounded up."""
    sides = []
    for size, window, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(window - (size % step or step), 0)
        sides += [missing // 2, missing - missing // 2]
    return pad(x, sides)


def _pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return max_pool3d(_same(x, kernel, stride), kernel, stride)
