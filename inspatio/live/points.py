"""The scene as a few thousand coloured points, for the page's view in space."""

from __future__ import annotations

import struct

import numpy as np

from inspatio.cameras.poses import unproject
from inspatio.scene import Scene

MOST_POINTS = 60_000
VIEWS = 6
"""Source frames, spread over the clip, that the points are taken from."""


def scene_points(scene: Scene) -> bytes:
    """Points of the scene, packed for WebGL: a float32 scale, ``n 3`` int16 positions, ``n 3`` uint8 colours.

    Little endian, ``n`` following from the length; a position times the scale is in the scene's unit, in the world of
    the first source camera. At most :data:`MOST_POINTS`, on a regular grid of pixels of each frame.
    """
    places = np.unique(np.linspace(0, len(scene.frames) - 1, VIEWS).round().astype(int)).tolist()
    height, width = scene.size
    step = max(1, int(np.ceil(np.sqrt(height * width * len(places) / MOST_POINTS))))
    rows, columns = (each.ravel() for each in np.mgrid[step // 2 : height : step, step // 2 : width : step])
    points, colours = [], []
    for place in places:
        depth = scene.depth.read([place])[0][rows, columns].astype(np.float64)
        known = np.isfinite(depth) & (depth > 0)
        at = columns[known], rows[known], depth[known]
        points.append(unproject(*at, scene.intrinsics[place], scene.world_to_camera[place]))
        colours.append(scene.frames.read([place])[0][rows[known], columns[known]])
    where, shown = np.concatenate(points)[:MOST_POINTS], np.concatenate(colours)[:MOST_POINTS]
    scale = max(float(np.abs(where).max(initial=0)), 1e-6) / 32767
    return struct.pack("<f", scale) + np.rint(where / scale).astype("<i2").tobytes() + shown.tobytes()
