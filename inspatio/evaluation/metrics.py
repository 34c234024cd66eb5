"""Errors of images and depth maps: PSNR, SSIM, AbsRel and delta < 1.25.

    errors = ImageErrors()
    errors.add(image, true, where=mask)        frame by frame; str(errors) is "27.3 / 0.912"
    depth_errors(pairs)                        of a whole clip, after the one best scale

Scale cannot be known from pictures alone, so it is taken out: the median of the ratios over the whole clip (one number,
so that flicker still counts). It is returned too: for geometry in metres it should be near 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.types import Image

MapPairs = Callable[[], Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]]
"""Starts a pass over pairs of (estimated, true) depth maps of one size; 0 is "not known"."""

SAMPLES_PER_MAP = 2000


@dataclass
class ImageErrors:
    """Sums over pixels, collected frame by frame: squared error (per channel, 0..255) and structural similarity."""

    squared: float = 0.0
    similarity: float = 0.0
    count: int = 0

    def add(self, image: Image, true: Image, where: NDArray[np.bool_], similarity: NDArray[np.floating]) -> None:
        """Count the pixels ``where`` (``h w``) of an image against the truth (``h w 3`` uint8 each).

        ``similarity`` is :func:`similarity_map` of the two, which several regions of one frame share.
        """
        difference = image[where].astype(np.float64) - true[where]
        self.squared += float((difference**2).sum()) / 3
        self.similarity += float(similarity[where].sum())
        self.count += int(where.sum())

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB of all pixels together; NaN without any, at most 168 for equal images."""
        if not self.count:
            return float("nan")
        return float(10 * np.log10(255.0**2 / max(self.squared / self.count, 1e-12)))

    @property
    def ssim(self) -> float:
        """Mean structural similarity, 1 for equal images; NaN without any pixel."""
        return self.similarity / self.count if self.count else float("nan")

    def __str__(self) -> str:
        return f"{self.psnr:.1f} / {self.ssim:.3f}" if self.count else "-"


def similarity_map(image: Image, true: Image) -> NDArray[np.float64]:
    """``h w`` structural similarity around each pixel (Wang et al. 2004: Gaussian window, sigma 1.5).

    Needs the optional package scikit-image (``pip install -e '.[evaluation]'``).
    """
    from skimage.metrics import structural_similarity

    both = structural_similarity(
        image, true, channel_axis=-1, data_range=255, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    return np.asarray(both[1]).mean(axis=-1)


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
