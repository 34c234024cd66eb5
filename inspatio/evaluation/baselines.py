"""Fills of a render that need no generator: what every claim is held against.

``mean_colour`` and ``push_pull`` fill the holes of a render; ``blurred_holes`` is the control for PSNR: blurring what
fills the holes raises it without making anything better, so a gain that a blur reaches too proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from inspatio.evaluation.regions import Mask
from inspatio.generation.preview.inpaint import diffuse
from inspatio.types import Image

BLUR_PX = 2.0


def mean_colour(render: Image, covered: Mask) -> Image:
    """The render (``h w 3``) with the mean colour of its covered pixels in the holes (``h w``)."""
    colour = render[covered].mean(axis=0) if covered.any() else np.full(3, 127.5)
    return np.where(covered[..., None], render, np.rint(colour)).astype(np.uint8)


def push_pull(render: Image, covered: Mask) -> Image:
    """The render with its holes filled smoothly from their borders (Gortler et al. 1996)."""
    smooth = diffuse(render.astype(np.float32), covered.astype(np.float32))
    return np.where(covered[..., None], render, np.clip(np.rint(smooth), 0, 255)).astype(np.uint8)


def blurred_holes(result: Image, covered: Mask) -> Image:
    """A result with what fills the holes blurred by :data:`BLUR_PX`; covered pixels stay."""
    blurred = cv2.GaussianBlur(result, (0, 0), BLUR_PX)
    return np.where(covered[..., None], result, blurred).astype(np.uint8)


FILLS: dict[str, Callable[[Image, Mask], Image]] = {"mean colour": mean_colour, "push-pull": push_pull}
"""The baselines that are made from the render alone."""
