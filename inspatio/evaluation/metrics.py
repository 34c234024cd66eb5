"""Errors of images by region, and of depth maps: PSNR, SSIM, FLIP, sharpness, patch distance, AbsRel, delta < 1.25.

    fidelity = Fidelity()
    fidelity.add(image, true, regions)         frame by frame; fidelity.figures() is {"psnr/unseen": 18.3, ...}
    depth_errors(pairs)                        of a whole clip, after the one best scale

PSNR, SSIM and FLIP come from torchmetrics, scikit-image and flip-evaluator (the ``evaluation`` extra). PSNR alone
rewards blur in what must be invented, so sharpness and patch distance always stand beside it. Sums run over all pixels
of a region in all frames of a clip; averages over clips are taken elsewhere (``statistics.py``).

The scale of depth cannot be known from pictures alone, so it is taken out: the median of the ratios over the whole clip
(one number, so that flicker still counts). It is returned too: for geometry in metres it should be near 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.errors import UserError
from inspatio.evaluation.regions import Mask, Region
from inspatio.types import Image

MapPairs = Callable[[], Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]]
"""Starts a pass over pairs of (estimated, true) depth maps of one size; 0 is "not known"."""

SAMPLES_PER_MAP = 2000
BEST_PSNR = 100.0
"""dB given to equal images, whose PSNR is infinite: a mean over clips must stay a number."""

PATCH = 7
PATCH_LEVELS = 3
PATCHES_PER_FRAME = 256
"""At most so many patches of a region are taken from a frame, at every level."""
FEWEST_PATCHES = 64
"""A clip with fewer patches in a region has no patch distance there."""
PROJECTIONS = 128


def require_extra() -> None:
    """Check that the libraries of the ``evaluation`` extra are installed.

    Raises:
        UserError: one of them is missing.
    """
    try:
        import flip_evaluator  # noqa: F401
        import skimage  # noqa: F401
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"evaluation: got no package {error.name}, expected those of the evaluation extra. "
            "Run EXTRAS=evaluation bash scripts/setup.sh, or pip install 'inspatio[evaluation]'"
        ) from None


@dataclass
class _RegionSums:
    """What a region collects over the frames of a clip."""

    squared: float = 0.0
    similarity: float = 0.0
    flip: float = 0.0
    pixels: int = 0
    gradient: float = 0.0
    true_gradient: float = 0.0
    patches: list[list[NDArray[np.float32]]] = field(default_factory=lambda: [[] for _ in range(PATCH_LEVELS)])
    true_patches: list[list[NDArray[np.float32]]] = field(default_factory=lambda: [[] for _ in range(PATCH_LEVELS)])


class Fidelity:
    """Likeness of a clip's frames to the truth, by region; see the module."""

    def __init__(self) -> None:
        self._sums: dict[Region, _RegionSums] = {}
        self._frames = 0

    def add(self, image: Image, true: Image, regions: Mapping[Region, Mask]) -> None:
        """Count a frame against the truth (``h w 3`` uint8 each) in every region (``h w``)."""
        squared = ((image.astype(np.float64) - true) ** 2).mean(axis=-1)
        similarity, flip = similarity_map(image, true), flip_map(image, true)
        gradients, true_gradients = _gradients(image), _gradients(true)
        pyramid, true_pyramid = _laplacian(image), _laplacian(true)
        for name, mask in regions.items():
            sums = self._sums.setdefault(name, _RegionSums())
            sums.pixels += int(mask.sum())
            sums.squared += float(squared[mask].sum())
            sums.similarity += float(similarity[mask].sum())
            sums.flip += float(flip[mask].sum())
            inside = mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:]
            sums.gradient += float(gradients[inside].sum())
            sums.true_gradient += float(true_gradients[inside].sum())
            for level, (ours, theirs) in enumerate(zip(pyramid, true_pyramid, strict=True)):
                at = _patch_places(mask, level, self._frames)
                sums.patches[level].append(_patches(ours, at))
                sums.true_patches[level].append(_patches(theirs, at))
        self._frames += 1

    def figures(self) -> dict[str, float]:
        """The figures by ``metric/region``; a region that is empty, or too small for a metric, has none."""
        found: dict[str, float] = {}
        for name, sums in self._sums.items():
            if sums.pixels == 0:
                continue
            found[f"psnr/{name}"] = psnr(sums.squared / sums.pixels)
            found[f"ssim/{name}"] = sums.similarity / sums.pixels
            found[f"flip/{name}"] = sums.flip / sums.pixels
            if sums.true_gradient > 0:
                found[f"sharpness/{name}"] = sums.gradient / sums.true_gradient
            distances = [
                sliced_distance(np.concatenate(ours), np.concatenate(theirs))
                for ours, theirs in zip(sums.patches, sums.true_patches, strict=True)
                if sum(map(len, ours)) >= FEWEST_PATCHES
            ]
            if len(distances) == PATCH_LEVELS:
                found[f"patch_distance/{name}"] = float(np.mean(distances))
        return found


def psnr(mean_squared: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error on the scale of 0 to 255; at most :data:`BEST_PSNR`."""
    return BEST_PSNR if mean_squared <= 0 else min(float(10 * np.log10(255.0**2 / mean_squared)), BEST_PSNR)


def similarity_map(image: Image, true: Image) -> NDArray[np.float64]:
    """``h w`` structural similarity around each pixel (Wang et al. 2004: Gaussian window, sigma 1.5)."""
    from skimage.metrics import structural_similarity

    both = structural_similarity(
        image, true, channel_axis=-1, data_range=255, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    return np.asarray(both[1]).mean(axis=-1)


def flip_map(image: Image, true: Image) -> NDArray[np.float32]:
    """``h w`` FLIP error around each pixel, 0 to 1 (Andersson et al. 2020, at 67 pixels per degree)."""
    import flip_evaluator

    if np.array_equal(image, true):  # the truth as a result: FLIP is most of what measuring costs
        return np.zeros(true.shape[:2], np.float32)
    reference, test = (np.ascontiguousarray(each, np.float32) / 255 for each in (true, image))
    errors = flip_evaluator.evaluate(reference, test, "LDR", applyMagma=False, computeMeanError=False)[0]
    return np.asarray(errors, np.float32)[..., 0]


def sliced_distance(patches: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Sliced Wasserstein distance of two sets of as many patches (``v d``), in standard deviations of the truth.

    The mean over random directions of the mean distance of sorted projections (Karras et al. 2018, there called SWD).
    """
    spread = float(true.std()) or 1.0
    directions = np.random.default_rng(0).standard_normal((true.shape[1], PROJECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    ours, theirs = (np.sort(each @ directions, axis=0) for each in (patches, true))
    return float(np.abs(ours - theirs).mean()) / spread


def _gradients(image: Image) -> NDArray[np.float32]:
    """``h-1 w-1``: length of the gradient of the mean of the three colours, from differences to the next pixels."""
    grey = image.astype(np.float32).mean(axis=-1)
    return np.hypot(grey[1:, :-1] - grey[:-1, :-1], grey[:-1, 1:] - grey[:-1, :-1])


def _laplacian(image: Image) -> list[NDArray[np.float32]]:
    """The finest levels of the Laplacian pyramid (Burt and Adelson 1983)."""
    levels, current = [], image.astype(np.float32)
    for _ in range(PATCH_LEVELS):
        smaller = cv2.pyrDown(current)
        levels.append(current - cv2.pyrUp(smaller, dstsize=(current.shape[1], current.shape[0])))
        current = smaller
    return levels


def _patch_places(mask: Mask, level: int, frame: int) -> NDArray[np.intp]:
    """``v 2``: rows and columns, at a level of the pyramid, of the patches of a region; a fixed random choice."""
    at_level = mask[:: 2**level, :: 2**level]
    half = PATCH // 2
    inner = np.zeros_like(at_level)
    inner[half:-half, half:-half] = at_level[half:-half, half:-half]
    places = np.argwhere(inner)
    if len(places) > PATCHES_PER_FRAME:
        places = places[np.random.default_rng([frame, level]).choice(len(places), PATCHES_PER_FRAME, replace=False)]
    return places


def _patches(image: NDArray[np.float32], places: NDArray[np.intp]) -> NDArray[np.float32]:
    """``v d``: the patches of an image around places, each as a row."""
    if len(places) == 0:  # the picture may be smaller than a patch
        return np.empty((0, 3 * PATCH * PATCH), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH), axis=(0, 1))
    half = PATCH // 2
    return windows[places[:, 0] - half, places[:, 1] - half].reshape(len(places), 3 * PATCH * PATCH)


@dataclass(frozen=True)
class DepthErrors:
    """``abs_rel``: mean of |estimate - truth| / truth. ``delta``: share within a factor of 1.25. ``known``: share of
    the true depths for which there is an estimate. ``scale``: what the estimate was multiplied by."""

    abs_rel: float
    delta: float
    known: float
    scale: float


def depth_errors(pairs: MapPairs) -> DepthErrors:
    """Depth of a clip against the truth, in two passes.

    Raises:
        ValueError: no pixel has both.
    """
    ratios = []
    for estimate, truth in pairs():
        both = (estimate > 0) & (truth > 0)
        ratio = truth[both] / estimate[both]
        ratios.append(ratio[:: max(1, ratio.size // SAMPLES_PER_MAP)])
    sampled = np.concatenate(ratios) if ratios else np.empty(0)
    if sampled.size == 0:
        raise ValueError("no pixel has both an estimated and a true depth; expected some")
    scale = float(np.median(sampled))
    error = within = estimated = true = 0.0
    for estimate, truth in pairs():
        both = (estimate > 0) & (truth > 0)
        ours, theirs = scale * estimate[both].astype(np.float64), truth[both].astype(np.float64)
        error += float((np.abs(ours - theirs) / theirs).sum())
        within += float((np.maximum(ours / theirs, theirs / ours) < 1.25).sum())
        estimated += ours.size
        true += float((truth > 0).sum())
    return DepthErrors(error / estimated, within / estimated, estimated / true, scale)
