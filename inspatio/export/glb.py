"""Point clouds and camera paths as binary glTF 2.0 files (.glb); ``cameras/formats/gltf.py`` has the format."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.gltf import LINES, POINTS, SHORT, VERTEX_BUFFER, GltfDocument
from inspatio.cameras.poses import invert
from inspatio.export.points import PointCloud


def gltf_document(
    cloud: PointCloud | None, paths: Mapping[str, Cameras], frame_rate: float, size: tuple[int, int]
) -> GltfDocument:
    """A glTF document with a point cloud, and for every named camera path an animated camera and its centres as a line.

    ``size`` is the (height, width) of the frames that the cameras see, ``frame_rate`` that of the animation.
    """
    document = GltfDocument()
    if cloud is not None and len(cloud.points):
        attributes = {
            "POSITION": document.store_positions(cloud.points),
            "COLOR_0": document.store(_linear(cloud.colours), "VEC4", SHORT, VERTEX_BUFFER, normalized=True),
        }
        document.add_mesh([{"attributes": attributes, "mode": POINTS}], "points")
    for name, cameras in paths.items():
        line = invert(cameras.world_to_camera)[:, :3, 3]
        if len(line) > 1:
            # One segment per step, because not every reader supports line strips.
            line = np.stack([line[:-1], line[1:]], axis=1).reshape(-1, 3)
        mode = LINES if len(line) > 1 else POINTS
        document.add_mesh([{"attributes": {"POSITION": document.store_positions(line)}, "mode": mode}], f"{name} path")
        document.add_camera_path(name, cameras, frame_rate, size)
    return document


def _linear(colours: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """``v 3`` sRGB colours as glTF has those of vertices: linear, ``v 4``.

    16 bits, since 8 are too few for dark colours; with opacity, because glTF aligns vertex attributes to four bytes.
    """
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    table = np.rint(65535 * linear).astype("<u2")
    return np.concatenate([table[colours], np.full((len(colours), 1), 65535, "<u2")], axis=-1)
