"""FID and FVD: how far the frames, or the videos, of a whole set are from the true ones as distributions of features.

    sets = Distributions({"fid": network})
    evaluate_clip(clip, settings, distributions=sets)     clip after clip of one method
    sets.figures()                                        {"fid": 12.3, "fid_samples": 336}

Unlike every other figure they belong to a set of clips, not to a clip. They are biased upwards by as much as samples
are few (of 2048 or 400 features; Chong & Forsyth 2020), so they compare methods within one report and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inspatio.evaluation.inception import VIDEO_FRAMES
from inspatio.types import Image


class Distributions:
    """Collects features of results and truths; ``networks`` holds those of ``fid`` (pictures) and ``fvd`` (videos)."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self._networks = networks
        self._features: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {n: [] for n in networks}
        self._window: list[tuple[Image, Image]] = []

    def start_clip(self) -> None:
        """Begin a clip: its videos do not go on from the one before."""
        self._window.clear()

    def add(self, image: Image, true: Image, *, measured: bool) -> None:
        """Count the next frame (``h w 3`` uint8 each): in FID where it is ``measured``, in FVD always."""
        if "fid" in self._networks and measured:
            self._see("fid", np.stack([image, true]).transpose(0, 3, 1, 2))
        if "fvd" in self._networks:
            self._window.append((image, true))
            if len(self._window) == VIDEO_FRAMES:
                self._see("fvd", np.stack([np.stack(each) for each in zip(*self._window, strict=True)], 0))
                self._window.clear()

    def _see(self, name: str, pair: NDArray[np.uint8]) -> None:
        if name == "fvd":
            pair = pair.transpose(0, 4, 1, 2, 3)
        with torch.inference_mode():
            ours, theirs = self._networks[name](torch.from_numpy(np.ascontiguousarray(pair))).double().numpy()
        self._features[name].append((ours, theirs))

    def figures(self) -> dict[str, float]:
        """``fid`` and ``fvd``, each with its number of samples, as far as there are two."""
        found: dict[str, float] = {}
        for name, pairs in self._features.items():
            if len(pairs) > 1:
                ours, theirs = (np.stack(each) for each in zip(*pairs, strict=True))
                found |= {name: frechet_distance(ours, theirs), f"{name}_samples": len(pairs)}
        return found


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Fréchet distance of two Gaussians with the means and covariances of two sets of features (``n d``, ``m d``).

    The trace of the root of the product of the covariances is the sum of the singular values of a matrix of the
    samples: exact, and of size ``n m`` where the covariances' own is ``d d``.
    """
    centred = [each - each.mean(axis=0) for each in (first, second)]
    scaled = [each / np.sqrt(len(each) - 1) for each in centred]
    root_trace = float(np.linalg.svd(scaled[0] @ scaled[1].T, compute_uv=False).sum())
    between = float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum())
    return between + float((scaled[0] ** 2).sum() + (scaled[1] ** 2).sum()) - 2 * root_trace
