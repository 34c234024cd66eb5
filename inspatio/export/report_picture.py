"""Draw the picture of a geometry report: frames, depth, confidence, camera path from above and from the side.

Depth is red near, blue far, black where unknown, grey for sky, with one range for all frames. The path runs from green
to red, with viewing directions, over the points of the first frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.export.path_view import ABOVE, BACKGROUND, LABEL, SIDE, DrawnPath, path_view, write_label
from inspatio.export.points import evenly_spaced, frame_maps, lift, on_ground
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource
from inspatio.types import Image

FRAMES = 4
_WIDTH = 240
_MARGIN = 6


def picture(geometry: Geometry, frames: FrameSource) -> Image:
    """Draw frames, depth and confidence in rows, the camera path beside them: ``h w 3`` uint8 RGB."""
    indices = evenly_spaced(geometry.frame_count, FRAMES)
    maps = [frame_maps(geometry, index) for index in indices]
    known = np.concatenate([depth[on_ground(depth, sky)] for depth, _, sky in maps])
    nearest, furthest = np.quantile(1 / known, (0.98, 0.02)).tolist() if known.size else (1.0, 0.0)
    images = [frames.read([index])[0] for index in indices]
    rows = [[_tile(image, f"frame {index}") for image, index in zip(images, indices, strict=True)]]
    rows.append(
        [_tile(_coloured_depth(depth, sky, nearest, furthest), _depth_label(depth, sky)) for depth, _, sky in maps]
    )
    if geometry.confidence is not None:
        values = [confidence for _, confidence, _ in maps if confidence is not None]
        low, high = float(min(v.min() for v in values)), float(max(v.max() for v in values))
        rows.append([_tile(_grey(value, low, high), f"confidence, median {np.median(value):.3g}") for value in values])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    side = max(sheet.shape[0], 2 * _WIDTH) // 2
    depth, _, sky = frame_maps(geometry, 0)
    points, path = lift(geometry, 0)[on_ground(depth, sky)], [DrawnPath(invert(geometry.world_to_camera))]
    paths = [
        path_view(points, path, ABOVE, side, "from above (x right, z up)"),
        path_view(points, path, SIDE, side, "from the side (z right, y down)"),
    ]
    column = np.concatenate(paths)
    canvas = np.full((max(sheet.shape[0], 2 * side), sheet.shape[1] + side, 3), BACKGROUND, np.uint8)
    canvas[: sheet.shape[0], : sheet.shape[1]] = sheet
    canvas[: 2 * side, sheet.shape[1] :] = column
    return canvas


def _coloured_depth(depth: NDArray, sky: NDArray | None, nearest: float, furthest: float) -> Image:
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    level = np.clip((inverse - furthest) / max(nearest - furthest, 1e-12), 0, 1)
    coloured = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1].astype(np.uint8)
    coloured[depth <= 0] = 0
    if sky is not None:
        coloured[sky] = 128
    return coloured


def _depth_label(depth: NDArray, sky: NDArray | None) -> str:
    visible = depth[on_ground(depth, sky)]
    return f"depth, median {np.median(visible):.3g}" if visible.size else "depth: none"


def _grey(value: NDArray, low: float, high: float) -> Image:
    level = (255 * (value - low) / max(high - low, 1e-12)).astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=-1)


def _tile(image: Image, label: str) -> Image:
    height = max(round(image.shape[0] * _WIDTH / image.shape[1]), 1)
    tile: Image = np.full((height + LABEL + _MARGIN, _WIDTH + _MARGIN, 3), BACKGROUND, np.uint8)
    tile[LABEL : LABEL + height, :_WIDTH] = cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    write_label(tile, label)
    return tile
