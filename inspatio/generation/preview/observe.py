"""What a preview session learns before its first block: the still parts of the scene, from frames all over the clip.

A few source frames, evenly spaced, are held against each other. A place that another frame looks through has moved, and
is left out, so that nothing that moves leaves a ghost; a place that an earlier frame of them shows is not remembered
twice; colours are the median of all frames that see the place, which removes what passes before a still camera.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.generation.preview import memory_loops as loops
from inspatio.generation.preview.memory import Camera, View, lift
from inspatio.render.jit import on_threads
from inspatio.scene import Scene

AGREEMENT = 0.06
"""Depths that differ by this share are one place seen twice."""

EDGE = 0.06
"""Where depth changes by this share within EDGE_REACH pixels, colours are a mixture of two surfaces: not remembered."""
EDGE_REACH = 3


def observe(scene: Scene, count: int, threads: int) -> list[View]:
    """At most ``count`` views of the scene's still parts, in the order of the clip."""
    places = _spread(scene, count)
    frames = scene.read_frames(places)
    depths = scene.read_depth(places)
    cameras = [Camera(scene.intrinsics[i], scene.world_to_camera[i], scene.size) for i in places]
    views: list[View | None] = [None] * len(places)

    def work(a: int) -> None:
        maps = [cameras[a].pixels_to(camera) for camera in cameras]
        picture, kept = np.empty_like(frames[a]), np.empty(scene.size, np.uint8)
        matrices, vectors = np.stack([m for m, _ in maps]), np.stack([v for _, v in maps])
        loops.steady(frames, depths, matrices, vectors, a, np.float32(AGREEMENT), picture, kept)
        kept[mixed(depths[a])] = 0
        views[a] = View(picture, cameras[a], lift(cameras[a], depths[a], kept))

    for start in range(0, len(places), threads):
        on_threads(work, range(start, min(start + threads, len(places))))
    return [view for view in views if view is not None]


def mixed(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """``h w``: pixels at an edge of the depth map (0 there is not known, and no edge)."""
    side = 2 * EDGE_REACH + 1
    kernel = np.ones((side, side), np.uint8)
    farthest = cv2.dilate(depth, kernel)
    nearest = cv2.erode(np.where(depth > 0, depth, np.float32(np.inf)), kernel)
    return farthest / (1 + 2 * EDGE) > nearest  # not the other way round: beyond the borders nearest is huge


def _spread(scene: Scene, count: int) -> list[int]:
    """Places of the clip that show ``count`` different source frames, evenly spaced over those that it plays."""
    order = scene.order or tuple(range(len(scene)))
    first_place: dict[int, int] = {}
    for place, source in enumerate(order):
        first_place.setdefault(source, place)
    sources = sorted(first_place)
    picked = np.unique(np.rint(np.linspace(0, len(sources) - 1, min(count, len(sources)))).astype(int))
    return [first_place[sources[i]] for i in picked]
