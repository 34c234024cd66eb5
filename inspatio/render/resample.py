"""Draw a frame from a new camera for people to look at: a place in the source for every target pixel, and cubic
interpolation there.

The published splat (``splat.py``) mixes the colours of the source pixels that land around a target pixel, which blurs
them, and lets surfaces that are a few percent apart in depth mix as well. Here the pixels' displacements are splatted
in place of their colours: they change slowly over a surface, so that their mean loses nothing, and colours are looked
up once, by a filter that keeps them sharp. A source pixel weighs by a high power of its nearness, so that the nearer of
two surfaces has a target pixel to itself, but for what touches less than a twentieth of it.

The mask and what counts as unknown are the splat's: something has landed within a pixel. Without motion the frame comes
back bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.render import resample_loops
from inspatio.types import Image

BLOCK_WIDTH = 256


@dataclass(frozen=True, eq=False)
class Places:
    """Where each pixel of a target view (all are ``h w``) lies in the source frame."""

    columns: NDArray[np.float32]
    rows: NDArray[np.float32]
    """The pixel's own place in holes."""
    mask: NDArray[np.uint8]
    """255, or 0 where the source shows nothing."""
    depth: NDArray[np.float32]
    """z-depth of the target view, 0 in holes."""

    def look_up(self, picture: Image) -> Image:
        """The target view of a source frame (``h w 3``), black in holes."""
        found = cv2.remap(picture, self.columns, self.rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        resample_loops.clear_holes(self.mask, found)
        return np.asarray(found, np.uint8)

    def look_up_at(self, picture: Image, at: NDArray[np.intp]) -> NDArray[np.uint8]:
        """``m 3``: the colours of ``m`` target pixels ``row * w + column``, none of them a hole."""
        if at.size == 0:
            return np.zeros((0, 3), np.uint8)
        # OpenCV's maps have at most 32767 rows: a list would be too long for one column.
        block = np.resize(at, (-(-at.size // BLOCK_WIDTH), BLOCK_WIDTH))
        columns, rows = self.columns.reshape(-1)[block], self.rows.reshape(-1)[block]
        found = cv2.remap(picture, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found, np.uint8).reshape(-1, 3)[: at.size]


def find_places(depth: NDArray[np.float32], rotation: NDArray[np.float32], translation: NDArray[np.float32]) -> Places:
    """Find the places of a target view in a frame with ``depth`` (``h w``, 0 unknown); maps as in ``splat.py``."""
    height, width = depth.shape
    sums = np.empty((height + 2) * (width + 2) * resample_loops.CHANNELS, np.float64)
    columns, rows, target_depth = (np.empty(depth.shape, np.float32) for _ in range(3))
    mask = np.empty(depth.shape, np.uint8)
    resample_loops.displace(depth, rotation, translation, sums)
    resample_loops.find_places(sums, columns, rows, mask, target_depth)
    return Places(columns, rows, mask, target_depth)
