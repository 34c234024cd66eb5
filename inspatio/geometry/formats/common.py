"""The result of every geometry importer, and helpers that several importers share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inspatio.errors import ClipError
from inspatio.types import Intrinsics, ScaleKind, WorldToCamera

_NUMBER = re.compile(r"\d{10,}(?:\.\d+)?|\d+")
_LEAST_TIME = 10**9
"""File names with numbers from here on name times: as seconds since 1970 this is the year 2001."""


class Maps(NamedTuple):
    """One frame's maps, ``h w`` each; 0 in ``depth`` = unknown."""

    depth: NDArray[np.floating]
    confidence: NDArray[np.floating] | None = None
    sky: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class ImportedGeometry:
    """Imported geometry in this package's conventions (OpenCV axes, pixel centres at integers), maps read lazily.

    ``maps`` yields one :class:`Maps` per frame, or a single one for all where ``same_depth``. ``intrinsics`` is
    ``n 3 3`` for ``image_size``; ``world_to_camera`` is ``n 4 4`` in any world.
    """

    image_size: tuple[int, int]
    depth_size: tuple[int, int]
    intrinsics: Intrinsics
    world_to_camera: WorldToCamera
    scale: ScaleKind
    maps: Iterator[Maps]
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    calibrated: bool = False
    """Principal points off the centre are meant (``scene.Scene.calibrated``), not a convention's or an estimate's."""
    depth_dtype: DTypeLike = np.float32
    same_depth: bool = False


def half_pixel_shifted(intrinsics: Intrinsics) -> Intrinsics:
    """Convert ``... 3 3`` intrinsics from pixel coordinates whose origin is the first pixel's corner to its centre."""
    shifted = np.array(intrinsics, np.float64)
    shifted[..., :2, 2] -= 0.5
    return shifted


def in_frame_order(names: Sequence[str], folder: Path, frame_count: int) -> list[str]:
    """Sort file names into frame order by the last number in each, or by name if one has none or numbers repeat.

    Numbers of ten digits or more before the decimal point are times, in nanoseconds, microseconds or seconds, and may
    be any distance apart; others are frame numbers, which follow each other.

    Raises:
        ClipError: their count is not the frame count, or the frame numbers have gaps (named).
    """
    found = [_NUMBER.findall(Path(name).stem) for name in names]
    numbers = [Decimal(groups[-1]) for groups in found if groups]
    gaps: list[int] = []
    if len(numbers) < len(names) or len(set(numbers)) < len(numbers):
        ordered = sorted(names)
    else:
        ordered = [name for _, name in sorted(zip(numbers, names, strict=True))]
        if all(number < _LEAST_TIME for number in numbers):
            steps = pairwise(sorted(map(int, numbers)))
            gaps = list(islice(chain.from_iterable(range(low + 1, high) for low, high in steps), 4))
    if len(names) != frame_count or gaps:
        missing = f"; nothing for number {', '.join(map(str, gaps[:3]))}{' ...' * (len(gaps) > 3)}" if gaps else ""
        raise ClipError(
            f"{folder}: geometry of {len(names)} frames{missing}; expected one for each of the clip's {frame_count}"
        )
    return ordered


def check_aspect(folder: Path, image_size: tuple[int, int], video_size: tuple[int, int]) -> None:
    """Check that geometry is of images with the clip's aspect ratio; sizes are (height, width).

    Raises:
        ClipError: the aspect ratios differ by more than rounding.
    """
    ratio = (image_size[1] / image_size[0]) / (video_size[1] / video_size[0])
    if not 0.98 < ratio < 1.02:
        raise ClipError(
            f"{folder}: geometry of {image_size[1]}x{image_size[0]} images, but the clip is "
            f"{video_size[1]}x{video_size[0]}; expected the same aspect ratio (the frames of this clip)"
        )
