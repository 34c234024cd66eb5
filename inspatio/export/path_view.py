"""Draw camera paths over a scene's points along two world axes: what reports and `inspatio path show` show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.export.points import evenly_spaced
from inspatio.types import CameraToWorld, Image

BACKGROUND = 24
LABEL = 20
TEXT = (230, 230, 230)
ABOVE, SIDE = (0, 2), (2, 1)
"""The axes of a view from above (x right, z up) and from the side (z right, y down)."""
GREEN_TO_RED = ((60, 220, 60), (240, 60, 60))
BLUE = ((90, 150, 255), (90, 150, 255))
_POINTS = 4000
_DIRECTIONS = 9

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class DrawnPath:
    """A camera path, ``n 4 4`` poses, and its colours at the start and at the end."""

    poses: CameraToWorld
    colours: tuple[Colour, Colour] = GREEN_TO_RED


def path_view(
    points: NDArray[np.float64], paths: Sequence[DrawnPath], axes: tuple[int, int], side: int, label: str
) -> Image:
    """Draw paths with their viewing directions over world points ``v 3``, along two world axes: ``side side 3``."""
    points = points[:: max(1, len(points) // _POINTS)]
    if len(points):
        # Without the furthest tenth, which would make everything else small.
        points = points[points[:, 2] <= np.quantile(points[:, 2], 0.9)]
    everything = np.concatenate([points, *(path.poses[:, :3, 3] for path in paths)])[:, axes]
    low, high = everything.min(axis=0), everything.max(axis=0)
    extent = max(float((high - low).max()), 1e-9)
    scale = (side - 3 * LABEL) / extent
    # World y points down like image rows; z is drawn upwards, so it changes sign.
    flip = np.array([1.0, -1.0 if axes[1] == 2 else 1.0])

    def place(world: NDArray) -> list[list[int]]:
        return np.round((world[..., axes] - (low + high) / 2) * flip * scale + side / 2).astype(int).tolist()

    canvas: Image = np.full((side, side, 3), BACKGROUND + 12, np.uint8)
    for spot in place(points):
        cv2.circle(canvas, spot, 1, (90, 90, 100), -1)
    for path in paths:
        track = place(path.poses[:, :3, 3])
        ahead = place(path.poses[:, :3, 3] + 18 / scale * path.poses[:, :3, 2])
        shown = evenly_spaced(len(track), _DIRECTIONS)
        first, last = path.colours
        for index, spot in enumerate(track):
            share = index / max(len(track) - 1, 1)
            colour = tuple(round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
            if index:
                cv2.line(canvas, track[index - 1], spot, colour, 2, cv2.LINE_AA)
            if index in shown:
                cv2.line(canvas, spot, ahead[index], colour, 1, cv2.LINE_AA)
        cv2.circle(canvas, track[0], 4, first, -1, cv2.LINE_AA)
    write_label(canvas, f"{label}, {extent:.3g} across")
    return canvas


def write_label(image: Image, text: str) -> None:
    """Write a line of text at the top of an image."""
    cv2.putText(image, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, TEXT, 1, cv2.LINE_AA)
