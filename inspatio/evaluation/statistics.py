"""Averages over clips with standard errors, and paired differences: the same clips by two methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Figures = Mapping[str, float]
"""What was measured of one clip: value by ``metric/region``."""


@dataclass(frozen=True)
class Mean:
    """A mean over ``count`` clips and its standard error (NaN for a single clip, whose spread is not known)."""

    mean: float
    error: float
    count: int

    @classmethod
    def of(cls, values: list[float]) -> Mean:
        """The mean of some values, at least one."""
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
        return cls(float(np.mean(values)), error, len(values))


def means(clips: Mapping[str, Figures]) -> dict[str, Mean]:
    """The mean of every metric over the clips that have it."""
    names = list(dict.fromkeys(name for figures in clips.values() for name in figures))
    return {name: Mean.of([figures[name] for figures in clips.values() if name in figures]) for name in names}


def differences(clips: Mapping[str, Figures], baseline: Mapping[str, Figures]) -> dict[str, Mean]:
    """The mean over clips of value minus the baseline's value on the same clip, where both have it."""
    pairs: dict[str, list[float]] = {}
    for clip, figures in clips.items():
        for name, value in figures.items():
            if name in baseline.get(clip, {}):
                pairs.setdefault(name, []).append(value - baseline[clip][name])
    return {name: Mean.of(values) for name, values in pairs.items()}
