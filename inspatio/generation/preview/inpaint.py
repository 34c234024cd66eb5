"""Filling gaps smoothly from what lies around them, at every scale at once.

:func:`diffuse` is push-pull interpolation (Gortler et al. 1996, "The Lumigraph"): known values are averaged down a
pyramid and what is missing at one level comes from the next coarser one. It serves colours, inverse depth, and the
differences that seam blending spreads. Arrays are float32, ``h w`` or ``h w c``; weights 0 (missing) to 1 (known).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_LEAST_WEIGHT = 1e-6


def diffuse(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Known values spread smoothly into what is missing: near known pixels they dominate, far from all, a wide mean.

    ``values`` is ``h w`` or ``h w c`` (what has no weight is ignored), ``weights`` is ``h w``.
    """
    weighted = values * (weights if values.ndim == 2 else weights[..., None])
    levels = [(weighted, weights)]
    while levels[-1][1].size > 1:
        levels.append((_halve(levels[-1][0]), _halve(levels[-1][1])))
    filled: NDArray | None = None
    for weighted, weight in reversed(levels):
        share = np.minimum(weight, 1.0)
        mean = weighted / np.maximum(weight, np.float32(_LEAST_WEIGHT))[(...,) + (None,) * (values.ndim - 2)]
        if filled is None:
            filled = mean
            continue
        height, width = weight.shape
        coarse = np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        share = share[(...,) + (None,) * (values.ndim - 2)]
        filled = coarse + share * (mean - coarse)
    assert filled is not None, "there is at least one level"
    return filled


def _halve(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half the size by the mean of four, scaled so that the weights of a pixel's surroundings add up."""
    height, width = image.shape[:2]
    halved = cv2.resize(image, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    return 2 * np.asarray(halved, np.float32)
