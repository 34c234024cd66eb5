"""Fit a source of any shape to the generator's frame size, for pixels, depth and cameras alike.

``crop``    scale to cover the frame, cut equally from both sides (default);
``pad``     scale to lie inside the frame, fill the rest with black and unknown depth;
``stretch`` scale each axis on its own, as the public code does: shapes change, and so do fx and fy.

One :class:`Fit` is applied to the frames, to the depth maps and to the intrinsics, so that a pixel and
the ray through it always agree. Pixel centres are at integer coordinates: an axis scaled by ``s`` and
shifted by ``o`` takes ``u`` to ``(u + 0.5) * s - 0.5 + o``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from inspatio.types import FitMode, Frames, Image, Intrinsics

ROUNDING_CUT = 0.005
"""The share of a picture below which a cut is no more than the rounding to whole pixels, and not mentioned."""


def working_frame(size: tuple[int, int], source: tuple[int, int], mode: FitMode = "crop") -> tuple[int, int]:
    """The frame that a source is worked on in: a wide ``size`` turned for a portrait ``source``, all (height, width).

    With ``stretch``, which is what the public code does, it stays wide.
    """
    height, width = size
    return (width, height) if height < width and source[0] > source[1] and mode != "stretch" else size


@dataclass(frozen=True)
class Fit:
    """The map from a source frame to a target frame.

    ``source`` and ``target`` are (height, width) in pixels; the target rectangle that the scaled source occupies
    is ``scaled`` (height, width) placed at ``offset`` (top, left), which is negative where pixels are cut.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int]

    @classmethod
    def make(cls, source: tuple[int, int], target: tuple[int, int], mode: FitMode = "crop") -> Fit:
        """Fit a (height, width) source to a (height, width) target.

        Raises:
            ValueError: a side is below 1, or there is no such mode.
        """
        if min(source) < 1 or min(target) < 1:
            raise ValueError(f"fit: got source {source} and target {target}, expected sides of 1 or more")
        ratios = (target[0] / source[0], target[1] / source[1])
        match mode:
            case "stretch":
                scaled = target
            case "crop" | "pad":
                ratio = max(ratios) if mode == "crop" else min(ratios)
                # Rounding up covers the frame by construction, rounding down stays inside it. An even surplus keeps
                # the middle of the source at the middle of the frame, where cameras have their principal point.
                side = _cover if mode == "crop" else _inside
                scaled = (side(source[0] * ratio, target[0]), side(source[1] * ratio, target[1]))
            case _:
                raise ValueError(f"fit must be crop, pad or stretch, got {mode!r}")
        offset = ((target[0] - scaled[0]) // 2, (target[1] - scaled[1]) // 2)
        return cls(source, target, scaled, offset)

    @property
    def is_identity(self) -> bool:
        return self.source == self.target == self.scaled

    @property
    def cut_share(self) -> float:
        """The share of the source picture that is cut away, 0..1."""
        shown = [min(whole, target) / whole for whole, target in zip(self.scaled, self.target, strict=True)]
        return 1 - shown[0] * shown[1]

    @property
    def natural_size(self) -> tuple[int, int]:
        """(height, width) of the fitted frame as it should be shown: without padding, in the source's shape.

        What ``crop`` cut stays cut; a stretched frame gets the source's shape back at the same number of pixels.
        """
        if self.scaled != self.target:
            return min(self.scaled[0], self.target[0]), min(self.scaled[1], self.target[1])
        ratio = (self.source[0] * self.target[1]) / (self.source[1] * self.target[0])
        if abs(ratio - 1) < 0.01:
            return self.target
        return max(2 * round(self.target[0] * ratio**0.5 / 2), 2), max(2 * round(self.target[1] / ratio**0.5 / 2), 2)

    def natural(self, frames: Frames) -> Frames:
        """``t h w c`` fitted frames as they should be shown (``natural_size``)."""
        height, width = self.natural_size
        if self.scaled != self.target:
            top, left = max(self.offset[0], 0), max(self.offset[1], 0)
            return frames[:, top : top + height, left : left + width]
        if (height, width) == self.target:
            return frames
        return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in frames])

    def image(self, image: Image) -> Image:
        """Fit one ``h w c`` or ``h w`` uint8 image; area filter down, cubic up."""
        if self.is_identity:
            return image
        # Axis by axis: where one shrinks and the other grows, cv2's area filter samples single pixels off their place.
        height, width = (min(side, shape) for side, shape in zip(self.scaled, image.shape[:2], strict=True))
        scaled: np.ndarray = image
        if (height, width) != scaled.shape[:2]:
            scaled = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_AREA)
        if self.scaled != (height, width):
            scaled = cv2.resize(scaled, self.scaled[::-1], interpolation=cv2.INTER_CUBIC)
        return self.place(np.asarray(scaled, np.uint8))

    def place(self, image: Image) -> Image:
        """Crop or pad one ``h w c`` or ``h w`` image of size ``scaled`` to the target; the padding is black."""
        assert image.shape[:2] == self.scaled, f"image {image.shape[:2]}, expected {self.scaled}"
        top, left = self.offset
        cut = image[max(-top, 0) : max(-top, 0) + self.target[0], max(-left, 0) : max(-left, 0) + self.target[1]]
        if cut.shape[:2] == self.target:
            return np.ascontiguousarray(cut)
        placed = np.zeros((*self.target, *image.shape[2:]), image.dtype)
        placed[max(top, 0) : max(top, 0) + cut.shape[0], max(left, 0) : max(left, 0) + cut.shape[1]] = cut
        return placed

    def depth(self, depth: np.ndarray) -> np.ndarray:
        """Fit one ``h w`` depth map of any resolution that shows the whole source frame, by nearest neighbour.

        Interpolation would average foreground and background at depth edges and put points where nothing is.
        """
        if self.is_identity and depth.shape == self.target:
            return depth
        rows = self._nearest(axis=0, size=depth.shape[0])
        columns = self._nearest(axis=1, size=depth.shape[1])
        fitted = depth[np.maximum(rows, 0)[:, None], np.maximum(columns, 0)[None, :]]
        fitted[rows < 0] = 0
        fitted[:, columns < 0] = 0
        return fitted

    def intrinsics(self, intrinsics: Intrinsics, size: tuple[int, int] | None = None) -> Intrinsics:
        """Fit ``... 3 3`` intrinsics of the source frame; ``size`` (height, width) if they are for another size."""
        height, width = size or self.source
        scale_y, scale_x = self.scaled[0] / height, self.scaled[1] / width
        top, left = self.offset
        to_target = np.array(
            [
                [scale_x, 0.0, 0.5 * scale_x - 0.5 + left],
                [0.0, scale_y, 0.5 * scale_y - 0.5 + top],
                [0.0, 0.0, 1.0],
            ]
        )
        return to_target @ intrinsics

    def _nearest(self, axis: int, size: int) -> np.ndarray:
        """For every target row (or column) the nearest one of a map with ``size`` of them, -1 outside."""
        position = (np.arange(self.target[axis]) - self.offset[axis] + 0.5) / self.scaled[axis]
        index = np.floor(position * size).astype(np.int64)
        return np.where((position >= 0) & (position < 1), np.clip(index, 0, size - 1), -1)


def _cover(side: float, target: int) -> int:
    """The least whole number not below ``side`` (nor ``target``) that differs from ``target`` by an even one."""
    whole = max(math.ceil(side - 1e-6), target)
    return whole + (whole - target) % 2


def _inside(side: float, target: int) -> int:
    """The largest whole number not above ``side`` (nor ``target``) that differs from ``target`` by an even one."""
    whole = min(math.floor(side + 1e-6), target)
    return max(whole - (target - whole) % 2, min(2 - target % 2, target))
