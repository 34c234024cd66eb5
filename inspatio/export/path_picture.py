"""Draw a camera path with the scene's points and the source's path: from above, from the side, and what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.export.contact_sheet import labelled
from inspatio.export.path_view import ABOVE, BACKGROUND, BLUE, SIDE, DrawnPath, path_view
from inspatio.storage import atomic_file
from inspatio.types import CameraToWorld, Image

_SIDE = 400
_WIDTH = 2 * _SIDE


def path_picture(
    points: NDArray[np.float64],
    source: CameraToWorld | None,
    path: CameraToWorld,
    views: Sequence[tuple[str, Image]],
    target: Path,
) -> None:
    """Write a picture: the path (green to red) and the source's (blue) over world points ``v 3``, and views along it.

    Raises:
        OSError: it could not be written.
    """
    drawn = [DrawnPath(path)] if source is None else [DrawnPath(source, BLUE), DrawnPath(path)]
    rows = [
        np.concatenate(
            [
                path_view(points, drawn, ABOVE, _SIDE, "from above (x right, z up)"),
                path_view(points, drawn, SIDE, _SIDE, "from the side (z right, y down)"),
            ],
            axis=1,
        )
    ]
    if views:
        width = _WIDTH // len(views)
        tiles = []
        for label, image in views:
            height = width * image.shape[0] // image.shape[1]
            tiles.append(labelled(cv2.resize(image, (width, height)).astype(np.uint8), label))
        row = np.concatenate(tiles, axis=1)
        canvas: Image = np.full((row.shape[0], _WIDTH, 3), BACKGROUND, np.uint8)
        canvas[:, : row.shape[1]] = row
        rows.append(canvas)
    encoded, data = cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    if not encoded:
        raise OSError(f"{target}: could not be encoded as PNG")
    with atomic_file(target) as file:
        file.write_bytes(data.tobytes())
