"""What a preview session knows of the scene besides the frame at hand: points in the world, and their pictures.

The memory is a bounded list of keyframes. A keyframe is a picture with a camera (a source frame, or a picture that the
session completed itself) and the points that this picture showed first. Rendered from a new camera, the points give the
depth of each pixel (nearest point wins), and the pixel's colour is looked up in the picture of the point that won: the
place is known to a point's precision, the colour to a fraction of a pixel.

:func:`init_memory` gives the keyframes that a session starts from: the still parts of source frames all over the clip,
held against each other. A place that as many frames look through as show it has moved, and is left out, so that nothing
that moves leaves a ghost, and estimated depth that is off in one frame loses no place; a place that an earlier one of
them shows is not remembered twice; colours are the median of all frames that see the place, which removes what passes
before a still camera.

A keyframe that the session completed may hold points that nobody saw. They yield to whatever was seen: where a later
frame looks through a point, the point is not shown (``fill.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import unproject
from inspatio.cameras.timeline import Timeline
from inspatio.jit import compiled, on_threads
from inspatio.render import splat_points
from inspatio.scene import Scene
from inspatio.types import Image, Intrinsics, WorldToCamera

MAX_KEYFRAMES = 256
"""The number of a point's keyframe is stored as a byte."""
POINT_SIZE = 1.6
"""Side of a point in target pixels: closes the gaps of a view enlarged by up to that."""
POINT_REACH = 5
"""Side of the square of pixels around a point that holds all that it covers, with room for rounding."""
AGREEMENT = 0.06
"""Depths that differ by this share are one place seen twice."""
FAR_AGREEMENT = 0.02
"""So are inverse depths that differ by this share of the scene's median: far things whose depth makes no difference."""

EDGE = 0.1
"""Where inverse depth leaves its plane by this share within EDGE_REACH pixels, colours are a mixture of two surfaces:
not remembered."""
EDGE_REACH = 3


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
class Keyframe:
    """A picture (``h w 3`` uint8), its camera, and the world points (``v 3`` float32) that it is remembered for."""

    image: Image
    camera: Camera
    points: NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """The memory as a camera sees it: ``h w 3`` uint8, and z-depth ``h w`` float32, 0 where it knows nothing."""

    image: Image
    depth: NDArray[np.float32]


class SceneMemory:
    """At most ``capacity`` keyframes; beyond it the oldest one that is not pinned is forgotten."""

    def __init__(self, capacity: int) -> None:
        if not 0 < capacity <= MAX_KEYFRAMES:
            raise ValueError(f"scene memory: got a capacity of {capacity} keyframes, expected 1 to {MAX_KEYFRAMES}")
        self._capacity = capacity
        self._pinned: list[Keyframe] = []
        self._others: list[Keyframe] = []
        self._points = np.zeros((0, 3), np.float32)
        self._owners = np.zeros((0, 3), np.uint8)

    @property
    def keyframes(self) -> list[Keyframe]:
        """All that is remembered, the pinned ones first, each kind in the order it came."""
        return self._pinned + self._others

    def add(self, keyframe: Keyframe, *, pinned: bool = False) -> None:
        """Remember a keyframe; ``pinned`` ones are never forgotten.

        Raises:
            ValueError: all places are taken by pinned keyframes.
        """
        if len(self._pinned) == self._capacity:
            raise ValueError(f"scene memory: all {self._capacity} keyframes are pinned, expected one to forget")
        if len(self.keyframes) == self._capacity:
            del self._others[0]
        (self._pinned if pinned else self._others).append(keyframe)
        points = [each.points for each in self.keyframes]
        self._points = np.concatenate(points)
        # One owner to a point; the renderer of points wants three channels.
        owners = np.repeat(np.arange(len(points), dtype=np.uint8), [len(each) for each in points])
        self._owners = np.tile(owners[:, None], 3)

    def render_view(
        self, camera: Camera, where: NDArray[np.uint8], *, beyond: NDArray[np.float32] | None = None, threads: int = 1
    ) -> View:
        """Render what is known of the pixels where ``where`` (``h w``) is not zero, seen from ``camera``.

        ``beyond`` (``h w``): points nearer than that depth do not count.
        """
        points, owners = self._points, self._owners
        to_pixels = camera.intrinsics @ camera.world_to_camera[:3]
        if beyond is not None:
            kept = points_beyond(points, to_pixels, np.ascontiguousarray(beyond))
            points, owners = points[kept], owners[kept]
        if not where.all():
            near = cv2.dilate(where, np.ones((POINT_REACH, POINT_REACH), np.uint8))
            kept = np.flatnonzero(points_within(points, to_pixels.astype(np.float32), near))
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
        rows, columns, starts = by_owner(depth, where, winners, len(self.keyframes))
        for number, keyframe in enumerate(self.keyframes):
            first, end = starts[number], starts[number + 1]
            if first < end:
                matrix, vector = camera.pixels_to(keyframe.camera)
                look_up(depth, rows[first:end], columns[first:end], matrix, vector, keyframe.image, image)
        return View(image, depth)


def lift(camera: Camera, depth: NDArray[np.float32], where: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``v 3`` world points of the pixels of a depth map where ``where`` is not zero."""
    rows, columns = np.nonzero(where)
    known = depth[rows, columns].astype(np.float64)
    points = unproject(columns, rows, known, camera.intrinsics, camera.world_to_camera)
    return np.ascontiguousarray(points, np.float32)


def init_memory(scene: Scene, count: int, threads: int) -> list[Keyframe]:
    """Make at most ``count`` keyframes of the scene's still parts, spread over the clip; see the module."""
    if count == 0:
        return []
    observed = replace(scene, timeline=Timeline(_spread(scene, count)))
    places = range(len(observed))
    frames = observed.read_frames(places)
    depths = observed.read_depth(places)
    sources = observed.cameras(places)
    poses = zip(sources.intrinsics, sources.world_to_camera, strict=True)
    cameras = [Camera(intrinsics, pose, scene.size) for intrinsics, pose in poses]
    known = depths[depths > 0]
    far = np.float32(FAR_AGREEMENT / np.median(known) if known.size else 0)
    keyframes: list[Keyframe | None] = [None] * len(places)

    def work(a: int) -> None:
        maps = [cameras[a].pixels_to(camera) for camera in cameras]
        picture, kept = np.empty_like(frames[a]), np.empty(scene.size, np.uint8)
        matrices, vectors = np.stack([m for m, _ in maps]), np.stack([v for _, v in maps])
        steady(frames, depths, matrices, vectors, a, np.float32(AGREEMENT), far, picture, kept)
        kept[mixed(depths[a], far)] = 0
        keyframes[a] = Keyframe(picture, cameras[a], lift(cameras[a], depths[a], kept))

    for start in range(0, len(places), threads):
        on_threads(work, range(start, min(start + threads, len(places))))
    return [each for each in keyframes if each is not None]


def mixed(depth: NDArray[np.float32], far: np.float32) -> NDArray[np.bool_]:
    """``h w``: pixels at an edge of the depth map (0 there is not known, and no edge).

    Inverse depths that differ by less than ``far`` are no edge.

    Edges are where the morphological Laplacian of inverse depth is large. It is zero on a plane however steeply it is
    seen, such as a floor towards the horizon.
    """
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    # Continued beyond the borders as planes go on.
    wide = np.pad(inverse, EDGE_REACH, "reflect", reflect_type="odd")
    known = np.pad(depth > 0, EDGE_REACH, "reflect")
    side = 2 * EDGE_REACH + 1
    kernel = np.ones((side, side), np.uint8)
    within = np.s_[EDGE_REACH:-EDGE_REACH, EDGE_REACH:-EDGE_REACH]
    nearest = cv2.dilate(np.where(known, wide, np.float32(0)), kernel)[within]
    farthest = cv2.erode(np.where(known, wide, np.float32(np.inf)), kernel)[within]
    edges = (depth > 0) & (np.abs(nearest + farthest - 2 * inverse) > np.maximum(EDGE * nearest, far))
    # Half way up a blurred edge both sides differ by the same.
    return cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0


def _spread(scene: Scene, count: int) -> list[int]:
    """``count`` different source frames, evenly spaced over those that the clip plays."""
    sources = range(len(scene.frames)) if scene.timeline is None or scene.still else scene.timeline.sources()
    picked = np.unique(np.rint(np.linspace(0, len(sources) - 1, min(count, len(sources)))).astype(int))
    return [sources[i] for i in picked]


@compiled
def points_beyond(points, to_pixels, beyond):
    """Which world points (``v 3``) do not lie before the surface ``beyond`` (``h w`` z-depth) as a camera sees them."""
    height, width = beyond.shape
    kept = np.ones(len(points), np.bool_)
    for i in range(len(points)):
        x, y, z = points[i]
        w = to_pixels[2, 0] * x + to_pixels[2, 1] * y + to_pixels[2, 2] * z + to_pixels[2, 3]
        if w <= 0:
            continue
        column = np.int64(
            np.rint((to_pixels[0, 0] * x + to_pixels[0, 1] * y + to_pixels[0, 2] * z + to_pixels[0, 3]) / w)
        )
        row = np.int64(np.rint((to_pixels[1, 0] * x + to_pixels[1, 1] * y + to_pixels[1, 2] * z + to_pixels[1, 3]) / w))
        if 0 <= column < width and 0 <= row < height and w < beyond[row, column]:
            kept[i] = False
    return kept


@compiled
def points_within(points, to_pixels, where):
    """Which world points (``v 3``) a camera sees where ``where`` (``h w``) is not zero, by their nearest pixel.

    ``to_pixels`` is ``3 4``. Points just outside the picture count for the pixel at its border.
    """
    height, width = where.shape
    kept = np.zeros(len(points), np.bool_)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        w = to_pixels[2, 0] * x + to_pixels[2, 1] * y + to_pixels[2, 2] * z + to_pixels[2, 3]
        if not w > 0:
            continue
        u = (to_pixels[0, 0] * x + to_pixels[0, 1] * y + to_pixels[0, 2] * z + to_pixels[0, 3]) / w
        v = (to_pixels[1, 0] * x + to_pixels[1, 1] * y + to_pixels[1, 2] * z + to_pixels[1, 3]) / w
        if -POINT_REACH < u < width + POINT_REACH and -POINT_REACH < v < height + POINT_REACH:
            column = min(max(int(u + np.float32(0.5)), 0), width - 1)
            row = min(max(int(v + np.float32(0.5)), 0), height - 1)
            kept[i] = where[row, column] != 0
    return kept


@compiled
def by_owner(depth, where, winners, count):
    """The pixels of known depth in the order of the ``count`` views that their winning points belong to.

    Depth becomes 0 where ``where`` is. Returns rows and columns, and where each view's pixels start (``count + 1``).
    """
    height, width = depth.shape
    starts = np.zeros(count + 2, np.int64)
    for row in range(height):
        for column in range(width):
            if where[row, column] == 0:
                depth[row, column] = 0
            elif depth[row, column] != 0:
                starts[winners[row, column, 0] + 2] += 1
    starts = np.cumsum(starts)
    rows, columns = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    for row in range(height):
        for column in range(width):
            if depth[row, column] != 0:
                place = starts[winners[row, column, 0] + 1]
                rows[place], columns[place] = row, column
                starts[winners[row, column, 0] + 1] += 1
    return rows, columns, starts[:-1]


@compiled
def look_up(depth, rows, columns, matrix, vector, picture, image):
    """Colour the pixels at ``rows`` and ``columns`` from the picture of a view, bilinearly."""
    height, width, _ = picture.shape
    for k in range(len(rows)):
        row, column = rows[k], columns[k]
        d = depth[row, column]
        w = (matrix[2, 0] * column + matrix[2, 1] * row + matrix[2, 2]) * d + vector[2]
        x = ((matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]) * d + vector[0]) / w
        y = ((matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]) * d + vector[1]) / w
        x = min(max(x, np.float32(0)), np.float32(width - 1))
        y = min(max(y, np.float32(0)), np.float32(height - 1))
        left, top = min(int(x), width - 2), min(int(y), height - 2)
        u, v = x - left, y - top
        for c in range(3):
            upper = picture[top, left, c] * (1 - u) + picture[top, left + 1, c] * u
            lower = picture[top + 1, left, c] * (1 - u) + picture[top + 1, left + 1, c] * u
            image[row, column, c] = np.uint8(upper * (1 - v) + lower * v + np.float32(0.5))


@compiled
def steady(frames, depths, matrices, vectors, a, tolerance, far, picture, kept):
    """What frame ``a`` of several (``m h w 3``, ``m h w``) shows that the others do not contradict.

    ``matrices[b]``, ``vectors[b]`` take a pixel of ``a`` to frame ``b``. Depths agree up to the share ``tolerance``, or
    inverse depths up to ``far``. ``picture`` gets the median colour of all frames that see the same place, ``kept``
    (``h w``) 1 where more frames show it than look through it and no earlier frame shows it.
    """
    count, height, width = depths.shape
    colours = np.empty((3, count), np.uint8)
    for row in range(height):
        for column in range(width):
            d = depths[a, row, column]
            agreeing, contradicting = 1, 0
            seen_before = False
            for c in range(3):
                colours[c, 0] = frames[a, row, column, c]
            if d > 0:
                for b in range(count):
                    if b == a:
                        continue
                    w = (matrices[b, 2, 0] * column + matrices[b, 2, 1] * row + matrices[b, 2, 2]) * d + vectors[b, 2]
                    if w <= 0:
                        continue
                    u = (
                        (matrices[b, 0, 0] * column + matrices[b, 0, 1] * row + matrices[b, 0, 2]) * d + vectors[b, 0]
                    ) / w
                    v = (
                        (matrices[b, 1, 0] * column + matrices[b, 1, 1] * row + matrices[b, 1, 2]) * d + vectors[b, 1]
                    ) / w
                    x, y = int(np.rint(u)), int(np.rint(v))
                    if not (1 <= x < width - 1 and 1 <= y < height - 1):
                        continue
                    nearest = np.float32(np.inf)
                    for i in range(-1, 2):
                        for j in range(-1, 2):
                            nearest = min(nearest, depths[b, y + i, x + j])
                    if nearest - w > w * max(tolerance, far * nearest):
                        contradicting += 1
                        continue
                    there = depths[b, y, x]
                    if abs(there - w) <= w * max(tolerance, far * there):
                        if b < a:
                            seen_before = True
                        for c in range(3):
                            colours[c, agreeing] = frames[b, y, x, c]
                        agreeing += 1
            moved = contradicting >= agreeing
            kept[row, column] = 1 if d > 0 and not moved and not seen_before else 0
            for c in range(3):
                if agreeing > 2 and not moved:
                    picture[row, column, c] = median(colours[c], agreeing)
                else:
                    picture[row, column, c] = colours[c, 0]


@compiled
def median(values, count):
    """The middle one of the first ``count`` values, which are sorted on the way."""
    for i in range(1, count):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return values[count // 2]
