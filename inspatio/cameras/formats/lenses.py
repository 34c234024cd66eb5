"""Intrinsics as the camera path formats have them: fields of view, corner origins, other image sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspatio.types import Intrinsics


def from_vertical_fov(radians: ArrayLike, size: tuple[int, int]) -> Intrinsics:
    """``n 3 3`` for ``n`` vertical fields of view, square pixels and a central axis, for (height, width) ``size``."""
    height, width = size
    focal = height / 2 / np.tan(np.asarray(radians, np.float64) / 2)
    intrinsics = np.tile(np.eye(3), (len(focal), 1, 1))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = (width - 1) / 2, (height - 1) / 2
    return intrinsics


def vertical_fov(intrinsics: Intrinsics, size: tuple[int, int]) -> NDArray[np.float64]:
    """The ``n`` vertical fields of view of ``n 3 3`` intrinsics, in radians."""
    return 2 * np.arctan(size[0] / 2 / intrinsics[:, 1, 1])


def default_intrinsics(size: tuple[int, int]) -> Intrinsics:
    """``3 3`` for a path without any: half the width as focal length (90 degrees across) and a central axis."""
    height, width = size
    return np.array([[width / 2, 0, (width - 1) / 2], [0, width / 2, (height - 1) / 2], [0, 0, 1.0]])


def from_corner_origin(intrinsics: Intrinsics) -> Intrinsics:
    """``... 3 3`` with the origin of pixels moved from the first pixel's corner to its centre."""
    return intrinsics - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def to_corner_origin(intrinsics: Intrinsics) -> Intrinsics:
    """``... 3 3`` with the origin of pixels moved from the first pixel's centre to its corner."""
    return intrinsics + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def resized(intrinsics: Intrinsics, size: tuple[int, int], wanted: tuple[int, int]) -> Intrinsics:
    """``... 3 3`` intrinsics of frames of ``size`` for the same frames resized to ``wanted`` (height, width)."""
    y, x = wanted[0] / size[0], wanted[1] / size[1]
    return np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]]) @ intrinsics
