"""Colour of what a result should only copy: saturation, contrast and drift in the pixels that the render covers.

Distilled generators tend to over-saturate and to drift as a clip goes on; in covered pixels the right colours are
known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from inspatio.evaluation.regions import Mask
from inspatio.types import Image

LEAST_SHARE = 0.05
"""A frame that is covered less than this says nothing about colour."""


@dataclass
class Colour:
    """Collects frames of one clip; the reference is the truth, or the render where there is none."""

    _saturation: list[tuple[float, float]] = field(default_factory=list)
    _contrast: list[tuple[float, float]] = field(default_factory=list)
    _shift: list[np.ndarray] = field(default_factory=list)

    def add(self, image: Image, reference: Image, covered: Mask) -> None:
        """Count a frame (``h w 3`` uint8 each) in the covered pixels (``h w``)."""
        if covered.mean() < LEAST_SHARE:
            return
        ours, theirs = image[covered].astype(np.float64), reference[covered].astype(np.float64)
        self._saturation.append((float(np.ptp(ours, axis=1).mean()), float(np.ptp(theirs, axis=1).mean())))
        self._contrast.append((float(ours.mean(axis=1).std()), float(theirs.mean(axis=1).std())))
        self._shift.append((ours - theirs).mean(axis=0))

    def figures(self) -> dict[str, float]:
        """Ratios of saturation and contrast to the reference's (1 = right), and drift in 1/255.

        Drift: how much the mean difference of colour changes from the first third of the frames to the last.
        """
        found: dict[str, float] = {}
        for name, pairs in (("saturation", self._saturation), ("contrast", self._contrast)):
            ours, theirs = (sum(values) for values in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
            if theirs > 0:
                found[f"{name}/covered"] = ours / theirs
        third = len(self._shift) // 3
        if third:
            change = np.mean(self._shift[-third:], axis=0) - np.mean(self._shift[:third], axis=0)
            found["colour_drift/covered"] = float(np.abs(change).mean())
        return found
