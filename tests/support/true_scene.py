"""A scene whose depth and cameras are known exactly: a tilted ground, a wall and a ball, seen from a moving camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import invert, relative_to_first
from inspatio.cameras.similarity import Similarity
from inspatio.geometry.depth_anything3.stitching import View
from inspatio.geometry.store import Geometry, GeometryWriter, load_geometry
from inspatio.types import ScaleKind

SIZE = (42, 70)
"""(height, width)"""


def cameras(count: int) -> np.ndarray:
    """``n 4 4`` world_to_camera of a camera that walks, turns and bobs."""
    time = np.linspace(0, 1, count)
    camera_to_world = np.tile(np.eye(4), (count, 1, 1))
    angles = np.stack([4 * np.sin(5 * time), 25 * time, 2 * np.sin(9 * time)], axis=-1)
    camera_to_world[:, :3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    camera_to_world[:, :3, 3] = np.stack([1.5 * time, 0.1 * np.sin(12 * time), 2 * time], axis=-1)
    return relative_to_first(invert(camera_to_world))


def intrinsics(count: int) -> np.ndarray:
    """``n 3 3``, principal point measured from the corner, a slow zoom."""
    matrices = np.tile(np.eye(3), (count, 1, 1))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.linspace(60, 66, count)
    matrices[:, 0, 2], matrices[:, 1, 2] = SIZE[1] / 2, SIZE[0] / 2
    return matrices


def scene(count: int) -> View:
    """The whole truth; confidence is higher in the middle of the frame."""
    world_to_camera, matrices = cameras(count), intrinsics(count)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    depth = np.empty((count, *SIZE))
    for index in range(count):
        focal, centre = matrices[index, 0, 0], matrices[index, :2, 2]
        rays = np.stack([(columns - centre[0]) / focal, (rows - centre[1]) / focal, np.ones(SIZE)], axis=-1)
        pose = invert(world_to_camera[index])
        directions, origin = rays @ pose[:3, :3].T, pose[:3, 3]
        hits = [_plane(origin, directions, np.array([0.1, -1.0, -0.05]), -1.6)]
        hits.append(_plane(origin, directions, np.array([-0.2, 0.0, -1.0]), -12.0))
        hits.append(_ball(origin, directions, np.array([0.8, 0.2, 6.0]), 1.2))
        depth[index] = np.min(hits, axis=0)
    middle = 1 + np.exp(-((rows - SIZE[0] / 2) ** 2 + (columns - SIZE[1] / 2) ** 2) / 400)
    confidence = np.tile(middle, (count, 1, 1))
    return View(depth.astype(np.float32), confidence.astype(np.float32), matrices, world_to_camera)


def cut(view: View, frames: range) -> View:
    """Some frames of a view."""
    at = slice(frames.start, frames.stop)
    return View(view.depth[at], view.confidence[at], view.intrinsics[at], view.world_to_camera[at])


def random_similarity(random: np.random.Generator) -> Similarity:
    """Any scale from 1/5 to 5, any rotation, some translation."""
    scale = float(np.exp(random.uniform(-1.6, 1.6)))
    return Similarity(scale, Rotation.random(rng=random).as_matrix(), random.normal(0, 3, 3))


def displaced(view: View, similarity: Similarity) -> View:
    """The same frames in another world and another unit."""
    depth = (view.depth * similarity.scale).astype(np.float32)
    return View(depth, view.confidence, view.intrinsics, similarity.cameras(view.world_to_camera))


def noisy(view: View, random: np.random.Generator, depth: float, degrees: float, shift: float, outliers: float) -> View:
    """Relative depth noise, pose noise, and a share of pixels (in blocks) whose depth is plain wrong."""
    values = view.depth * np.exp(random.normal(0, depth, view.depth.shape))
    wrong = random.random((len(values), SIZE[0] // 7, SIZE[1] // 7)) < outliers
    wrong = np.kron(wrong, np.ones((1, 7, 7), bool)).astype(bool)
    values[wrong] *= np.exp(random.uniform(-1, 1, int(wrong.sum())))
    jitter = np.tile(np.eye(4), (len(values), 1, 1))
    jitter[:, :3, :3] = Rotation.from_rotvec(random.normal(0, np.deg2rad(degrees), (len(values), 3))).as_matrix()
    jitter[:, :3, 3] = random.normal(0, shift, (len(values), 3))
    return View(values.astype(np.float32), view.confidence, view.intrinsics, jitter @ view.world_to_camera)


def _plane(origin: np.ndarray, directions: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """Depth (along z, as rays have z = 1 in the camera) of the plane ``normal @ x = offset``."""
    with np.errstate(divide="ignore"):
        depth = (offset - normal @ origin) / (directions @ normal)
    return np.where(depth > 0, depth, np.inf)


def _ball(origin: np.ndarray, directions: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    to_centre = centre - origin
    a, b = (directions**2).sum(-1), directions @ to_centre
    inside = b**2 - a * (to_centre @ to_centre - radius**2)
    depth = (b - np.sqrt(np.maximum(inside, 0))) / a
    return np.where((inside > 0) & (depth > 0), depth, np.inf)


def write_geometry(folder: Path, view: View, scale: ScaleKind = "metres", sky: np.ndarray | None = None) -> Geometry:
    """The view as a geometry folder for frames of twice its resolution."""
    count, image_size = len(view.depth), (2 * SIZE[0], 2 * SIZE[1])
    matrices = view.intrinsics.copy()
    matrices[:, :2] *= 2
    matrices[:, :2, 2] -= 0.5
    folder.mkdir(parents=True, exist_ok=True)
    writer = GeometryWriter(folder, image_size, SIZE, count)
    writer.write(view.depth, view.confidence, sky)
    writer.finish(matrices, view.world_to_camera, scale, "test", {})
    return load_geometry(folder)


class ShadedFrames:
    """Frames of twice the depth's resolution whose red says how far a pixel is (12 a unit)."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __len__(self) -> int:
        return len(self._view.depth)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        red = np.clip(12 * self._view.depth[list(indices)], 0, 255).astype(np.uint8)
        shaded = np.stack([red, np.full_like(red, 100), np.full_like(red, 50)], axis=-1)
        return shaded.repeat(2, axis=1).repeat(2, axis=2)
