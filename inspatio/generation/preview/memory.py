"""What a preview session knows of the scene besides the frame at hand: points in the world, and their pictures.

The memory is a bounded list of views. A view is a picture with a camera (a source frame, or a picture that the session
completed itself) and the points that this picture showed first. Seen from a new camera, the points give the depth of
each pixel (nearest point wins), and the pixel's colour is looked up in the picture of the point that won: the place is
known to a point's precision, the colour to a fraction of a pixel.

A view that was completed by the session may hold points that nobody saw. They yield to whatever was seen: where a
later frame looks through a point, the point is not shown (see ``preview.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import unproject
from inspatio.generation.preview import memory_loops as loops
from inspatio.render import splat_points
from inspatio.types import Image, Intrinsics, WorldToCamera

POINT_SIZE = 1.6
"""Side of a point in target pixels: closes the gaps of a view enlarged by up to that."""


@dataclass(frozen=True)
class Camera:
    """One pinhole camera: ``intrinsics`` 3 3 in pixels of ``size`` (height, width), ``world_to_camera`` 4 4."""

    intrinsics: Intrinsics
    world_to_camera: WorldToCamera
    size: tuple[int, int]

    def padded(self, rows: int, columns: int) -> Camera:
        """The same camera with a larger image: so many more pixels on each side."""
        intrinsics = np.array(self.intrinsics)
        intrinsics[0, 2] += columns
        intrinsics[1, 2] += rows
        return Camera(intrinsics, self.world_to_camera, (self.size[0] + 2 * rows, self.size[1] + 2 * columns))

    def pixels_to(self, other: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(``3 3`` matrix, ``3`` vector) that take a pixel of depth d here to the pixel (u, v) of depth z there.

        ``matrix (x, y, 1) d + vector = (u z, v z, z)``.
        """
        between = other.world_to_camera @ np.linalg.inv(self.world_to_camera)
        matrix = other.intrinsics @ between[:3, :3] @ np.linalg.inv(self.intrinsics)
        return matrix.astype(np.float32), (other.intrinsics @ between[:3, 3]).astype(np.float32)


@dataclass(frozen=True)
class View:
    """A picture (``h w 3`` uint8), its camera, and the world points (``v 3`` float32) that it is remembered for."""

    image: Image
    camera: Camera
    points: NDArray[np.float32]


@dataclass(frozen=True)
class Sight:
    """What the memory knows of a view: ``h w 3`` uint8, and z-depth ``h w`` float32, 0 where it knows nothing."""

    image: Image
    depth: NDArray[np.float32]


class SceneMemory:
    """At most ``capacity`` views; beyond it the oldest one that is not pinned is forgotten."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._views: list[tuple[View, bool]] = []
        self._points = np.zeros((0, 3), np.float32)
        self._owners = np.zeros((0, 3), np.uint8)

    @property
    def views(self) -> list[View]:
        return [view for view, _ in self._views]

    @property
    def point_count(self) -> int:
        return len(self._points)

    def add(self, view: View, *, pinned: bool = False) -> None:
        """Remember a view; ``pinned`` ones are never forgotten."""
        if len(self._views) == self._capacity:
            oldest = next(i for i, (_, kept) in enumerate(self._views) if not kept)
            del self._views[oldest]
        self._views.append((view, pinned))
        self._points = np.concatenate([view.points for view in self.views])
        counts = [len(view.points) for view in self.views]
        self._owners = np.repeat(np.arange(len(counts), dtype=np.uint8)[:, None], 3, axis=1).repeat(counts, axis=0)

    def look(
        self, camera: Camera, where: NDArray[np.uint8], *, beyond: NDArray[np.float32] | None = None, threads: int = 1
    ) -> Sight:
        """What is known of the pixels where ``where`` (``h w``) is not zero, seen from ``camera``.

        ``beyond`` (``h w``): points nearer than that depth do not count.
        """
        points, owners = self._points, self._owners
        if beyond is not None:
            kept = loops.points_beyond(
                points, camera.intrinsics @ camera.world_to_camera[:3], np.ascontiguousarray(beyond)
            )
            points, owners = points[kept], owners[kept]
        winners, depth, _ = splat_points(
            points,
            owners,
            camera.world_to_camera,
            camera.intrinsics,
            camera.size,
            point_size=POINT_SIZE,
            threads=threads,
        )
        image = np.zeros((*camera.size, 3), np.uint8)
        depth[where == 0] = 0
        for number, view in enumerate(self.views):
            matrix, vector = camera.pixels_to(view.camera)
            loops.look_up(depth, winners, number, matrix, vector, view.image, image)
        return Sight(image, depth)


def lift(camera: Camera, depth: NDArray[np.float32], where: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``v 3`` world points of the pixels of a depth map where ``where`` is not zero."""
    rows, columns = np.nonzero(where)
    known = depth[rows, columns].astype(np.float64)
    return unproject(columns, rows, known, camera.intrinsics, camera.world_to_camera).astype(np.float32)
