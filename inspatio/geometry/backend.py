"""The geometry backend protocol: a video in, a geometry folder out.

A backend reads a clip and writes, into an empty folder, the files that ``geometry/store.py`` describes: depth maps that
can be memory-mapped and ``cameras.json``. Geometry is of the whole upright source frame and depends neither on
``--fit`` nor on the trajectory, so it is computed once per clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from inspatio.types import Intrinsics, Progress, ScaleKind

if TYPE_CHECKING:
    from inspatio.media import SourceInfo

USUAL_VIEW = (10.0, 120.0)
"""Horizontal fields of view in degrees of ordinary cameras: from a long telephoto to an ultra-wide lens."""


@dataclass(frozen=True)
class GeometrySummary:
    """What a backend reports about its result; kept in the manifest."""

    backend: str
    scale: ScaleKind
    frame_count: int
    notes: tuple[str, ...] = ()
    """What the user should know, one sentence each: assumptions, fallbacks, doubts."""
    weights: tuple[Path, ...] = ()
    """The folders of the weights that it came from."""


class GeometryBackend(Protocol):
    """Estimates or imports the geometry of a clip."""

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        """What the result depends on besides the video: name, version, options, weights, input files (JSON values).

        A backend may choose by what lies beside the video, so this needs the instance and the clip.
        """
        ...

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the clip's geometry into the empty ``folder``.

        Raises:
            ClipError: this backend has no geometry for this clip; the message says why and what to do.
        """
        ...


def field_of_view_range(intrinsics: Intrinsics, width: int) -> tuple[float, float]:
    """Narrowest and widest horizontal field of view in degrees of ``n 3 3`` intrinsics for frames ``width`` wide."""
    degrees = np.rad2deg(2 * np.arctan(width / 2 / intrinsics[:, 0, 0]))
    return float(degrees.min()), float(degrees.max())


def field_of_view_warning(narrowest: float, widest: float) -> str | None:
    """A warning if fields of view (degrees) lie outside ``USUAL_VIEW``; None if they do not."""
    if USUAL_VIEW[0] <= narrowest and widest <= USUAL_VIEW[1]:
        return None
    return (
        f"the field of view is {narrowest:.3g} to {widest:.3g} degrees, expected {USUAL_VIEW[0]:g} to "
        f"{USUAL_VIEW[1]:g} for ordinary cameras; depth and motion may be wrong"
    )
