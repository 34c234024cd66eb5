"""Perceptual metrics that need a network: LPIPS, DISTS, FID and FVD where its file is given, else why they are missing.

No package ships the networks that these metrics look through (the small heads of LPIPS and DISTS come with
torchmetrics), so they are files of their own, downloaded once by whoever wants them and named as they are published:

    alexnet-owt-7be5be79.pth               LPIPS (alex), as torchvision publishes it
    squeezenet1_1-b8a52dc0.pth             LPIPS (squeeze), as torchvision publishes it
    vgg16-397923af.pth                     LPIPS (vgg) and DISTS, as torchvision publishes it
    pt_inception-2015-12-05-6726825d.pth   FID, as pytorch-fid publishes it (``inception.py``, ``distributions.py``)
    i3d_pretrained_400.pt                  FVD, as VideoGPT publishes it

The networks are rebuilt here as plain layers, so that torchvision is not needed; their files are read with
``weights_only``. Sources: Zhang et al. 2018 (LPIPS), Ding et al. 2020 (DISTS), and the networks' papers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from inspatio.errors import UserError
from inspatio.evaluation.distributions import Distributions
from inspatio.evaluation.inception import I3d, InceptionV3
from inspatio.types import Image

FILES = {
    "lpips_alex": "alexnet-owt-7be5be79.pth",
    "lpips_squeeze": "squeezenet1_1-b8a52dc0.pth",
    "lpips_vgg": "vgg16-397923af.pth",
    "dists": "vgg16-397923af.pth",
    "fid": "pt_inception-2015-12-05-6726825d.pth",
    "fvd": "i3d_pretrained_400.pt",
}
"""The file that each metric looks through."""
_METRICS = {
    "LPIPS": ("lpips_alex", "lpips_squeeze", "lpips_vgg"),
    "DISTS": ("dists",),
    "FID": ("fid",),
    "FVD": ("fvd",),
}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""LPIPS' own normalisation of pictures in -1..1."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's normalisation of pictures in 0..1, which DISTS uses."""
_SLICES = {
    "alex": (2, 5, 8, 10, 12),
    "squeeze": (2, 5, 8, 10, 11, 12, 13),
    "vgg": (4, 9, 16, 23, 30),
}
"""LPIPS compares the features after so many layers of each network."""
_DISTS_CHANNELS = (3, 64, 128, 256, 512, 512)
_LEAST = 1e-6
Layers = TypeVar("Layers", bound=nn.Module)


@dataclass(frozen=True)
class Networks:
    """The networks at hand: the folder that their files lie in, or None."""

    folder: Path | None = None

    @property
    def found(self) -> dict[str, Path]:
        """The file of each metric that can be computed."""
        if self.folder is None:
            return {}
        paths = {name: self.folder / file for name, file in FILES.items()}
        return {name: path for name, path in paths.items() if path.is_file()}

    def missing(self) -> list[str]:
        """One line for each kind of metric that is not computed, and why."""
        lines = []
        for label, names in _METRICS.items():
            if not any(name in self.found for name in names):
                files = " or ".join(FILES[name] for name in names)
                where = f"in {self.folder}" if self.folder else "(--networks DIR)"
                lines.append(f"{label} is not computed: got no network, expected {files} {where}")
        return lines

    def collector(self) -> Perceptual:
        """A collector for one clip."""
        return Perceptual(self._metrics)

    def distributions(self) -> Distributions:
        """A collector of FID and FVD for one method over all its clips."""
        return Distributions(self._extractors)

    @cached_property
    def _metrics(self) -> dict[str, Lpips | Dists]:
        pairwise = {name: path for name, path in self.found.items() if name not in ("fid", "fvd")}
        return {name: Dists(path) if name == "dists" else Lpips(name, path) for name, path in pairwise.items()}

    @cached_property
    def _extractors(self) -> dict[str, nn.Module]:
        made = {"fid": InceptionV3, "fvd": I3d}
        return {name: load_weights(made[name](), path, name) for name, path in self.found.items() if name in made}


@dataclass
class Perceptual:
    """Collects the distances of a clip's frames to the truth, for every metric at hand."""

    metrics: dict[str, Lpips | Dists]
    _values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, image: Image, true: Image) -> None:
        """Count a frame (``h w 3`` uint8 each)."""
        for name, metric in self.metrics.items():
            self._values.setdefault(name, []).append(metric(image, true))

    def figures(self) -> dict[str, float]:
        """Mean distance over the frames, by ``metric/whole``."""
        return {f"{name}/whole": float(np.mean(values)) for name, values in self._values.items()}


def features(network: str) -> nn.Sequential:
    """The convolutional layers of a network (alex, squeeze, vgg), numbered as in torchvision's ``features``."""

    def pool(ceil: bool = False) -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=ceil)

    if network == "alex":
        sizes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
        convolutions = [nn.Sequential(nn.Conv2d(*size), nn.ReLU()) for size in sizes]
        a, b, c, d, e = convolutions
        return nn.Sequential(*a, pool(), *b, pool(), *c, *d, *e, pool())
    if network == "vgg":
        layers: list[nn.Module] = []
        channels = 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        return nn.Sequential(*layers)
    fires = [
        Fire(*size)
        for size in (
            (64, 16, 64),
            (128, 16, 64),
            (128, 32, 128),
            (256, 32, 128),
            (256, 48, 192),
            (384, 48, 192),
            (384, 64, 256),
            (512, 64, 256),
        )
    ]
    head = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool(True)]
    return nn.Sequential(*head, *fires[:2], pool(True), *fires[2:4], pool(True), *fires[4:])


class Fire(nn.Module):
    """SqueezeNet's module: a narrow 1x1 convolution, then 1x1 and 3x3 ones side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


def load_features(network: str, path: Path) -> nn.Sequential:
    """The layers of a network with the weights of its file.

    Raises:
        UserError: the file is not that network's.
    """

    return load_weights(features(network), path, network, "features.")


def load_weights(layers: Layers, path: Path, name: str, prefix: str = "") -> Layers:
    """Load the weights of a published file, those whose names begin with ``prefix``, for inference.

    Raises:
        UserError: the file has other weights.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        layers.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
    except (OSError, EOFError, RuntimeError, KeyError, AttributeError, UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: got no weights of {name} as they are published ({reason}), expected them") from None
    return layers.eval().requires_grad_(False)


def _tensor(image: Image) -> Tensor:
    """``1 3 h w`` float in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


class Lpips:
    """Learned perceptual image patch similarity: ``metric(image, true)``, 0 for equal pictures."""

    def __init__(self, name: str, path: Path) -> None:
        from torchmetrics.functional.image import lpips

        self._network = name.removeprefix("lpips_")
        self._layers = load_features(self._network, path)
        heads = Path(str(lpips.__file__)).parent / "lpips_models" / f"{self._network}.pth"
        stored = torch.load(heads, map_location="cpu", weights_only=True)
        self._heads = [stored[f"lin{index}.model.1.weight"] for index in range(len(_SLICES[self._network]))]

    def __call__(self, image: Image, true: Image) -> float:
        with torch.inference_mode():
            pairs = zip(self._features(image), self._features(true), self._heads, strict=True)
            return float(sum(((a - b) ** 2 * head).sum(dim=1).mean() for a, b, head in pairs))

    def _features(self, image: Image) -> list[Tensor]:
        x = 2 * _tensor(image) - 1
        x = (x - torch.tensor(_SHIFT).view(1, 3, 1, 1)) / torch.tensor(_SCALE).view(1, 3, 1, 1)
        found, start = [], 0
        for stop in _SLICES[self._network]:
            x = self._layers[start:stop](x)
            found.append(x / torch.sqrt(1e-8 + (x**2).sum(dim=1, keepdim=True)))
            start = stop
        return found


class Dists:
    """Deep image structure and texture similarity: ``metric(image, true)``, 0 for equal pictures."""

    def __init__(self, path: Path) -> None:
        from torchmetrics.functional.image import dists

        layers = load_features("vgg", path)
        # Every pooling layer is replaced by a smooth one: the root of the blurred square.
        self._stages = [layers[0:4], layers[5:9], layers[10:16], layers[17:23], layers[24:30]]
        window = torch.from_numpy(np.hanning(5)[1:-1]).float()
        self._blur = window[:, None] * window / (window.sum() ** 2)
        file = Path(str(dists.__file__)).parent / "dists_models" / "weights.pt"
        stored = torch.load(file, map_location="cpu", weights_only=True)
        total = stored["alpha"].sum() + stored["beta"].sum()
        self._alpha, self._beta = (
            (stored[name].detach() / total).split(_DISTS_CHANNELS, dim=1) for name in ("alpha", "beta")
        )

    def __call__(self, image: Image, true: Image) -> float:
        with torch.inference_mode():
            similarity = torch.zeros(())
            for a, b, alpha, beta in zip(
                self._features(image), self._features(true), self._alpha, self._beta, strict=True
            ):
                mean_a, mean_b = a.mean(dim=(2, 3), keepdim=True), b.mean(dim=(2, 3), keepdim=True)
                variance_a, variance_b = ((a - mean_a) ** 2).mean((2, 3), True), ((b - mean_b) ** 2).mean((2, 3), True)
                covariance = (a * b).mean((2, 3), True) - mean_a * mean_b
                texture = (2 * mean_a * mean_b + _LEAST) / (mean_a**2 + mean_b**2 + _LEAST)
                structure = (2 * covariance + _LEAST) / (variance_a + variance_b + _LEAST)
                similarity = similarity + (alpha * texture).sum() + (beta * structure).sum()
            return float(1 - similarity)

    def _features(self, image: Image) -> list[Tensor]:
        x = _tensor(image)
        found = [x]
        x = (x - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_STD).view(1, 3, 1, 1)
        for index, stage in enumerate(self._stages):
            if index:
                kernel = self._blur.expand(x.shape[1], 1, 3, 3)
                x = (conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
            x = stage(x)
            found.append(x)
        return found
