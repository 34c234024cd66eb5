"""A panorama's distance from perspective views of it: cut views, estimate each one's depth, merge what they agree on.

    cameras = split_cameras()
    pictures = [split_view(image, cameras.world_to_camera[i], (512, 512)) for i in range(len(cameras))]
    distance = merge_views([...], size)                 one distance map ``h w`` for each view, each of any scale

The views are MoGe's (arXiv 2410.19115): 42 of 45 degrees, evenly over the sphere. Each estimate has a scale and a
large-scale error of its own, so only local changes are taken from it: the merged logarithm of the distance is the
least-squares solution whose differences between neighbours, and whose Laplacian, are the means of those that see them.
It is solved from coarse to fine. What comes out has no scale: :func:`panorama.unit_distance` gives it one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, vstack
from scipy.sparse.linalg import lsmr

from inspatio.cameras.cameras import Cameras
from inspatio.types import Image

VIEW_COUNT = 42
FIELD_OF_VIEW_DEG = 45.0
COARSEST = 256
"""The longer side at which solving begins."""
TOLERANCE = 1e-5
_GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


def split_cameras() -> Cameras:
    """The views' cameras, intrinsics in units of the picture's sides (corner at 0, middle at 0.5).

    Their world has z up; :func:`split_directions` has the panorama's directions in it.
    """
    index = np.arange(VIEW_COUNT)
    y = 1 - 2 * (index + 0.5) / VIEW_COUNT
    around, ring = 2 * np.pi * index / _GOLDEN_RATIO, np.sqrt(1 - y * y)
    poses = np.tile(np.eye(4), (VIEW_COUNT, 1, 1))
    for pose, forward in zip(poses, np.stack([np.cos(around) * ring, y, np.sin(around) * ring], axis=-1), strict=True):
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    focal = 0.5 / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2)
    return Cameras.from_poses(poses, np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]]))


def split_directions(size: tuple[int, int]) -> NDArray[np.float64]:
    """Unit rays ``h w 3`` of the middles of a panorama's pixels in the views' world."""
    height, width = size
    polar = np.pi * (np.arange(height) + 0.5) / height
    azimuth = 2 * np.pi * (1 - (np.arange(width) + 0.5) / width)
    polar, azimuth = np.meshgrid(polar, azimuth, indexing="ij")
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1)


def split_view(image: Image, camera: Cameras, size: tuple[int, int]) -> Image:
    """The picture ``h w 3`` of one view (``camera`` holds one), bilinear."""
    height, width = size
    rows, columns = (np.mgrid[:height, :width] + 0.5) / np.array(size)[:, None, None]
    rays = np.stack([columns, rows, np.ones(size)], axis=-1) @ np.linalg.inv(camera.intrinsics[0]).T
    x, y, z = np.moveaxis(rays @ camera.world_to_camera[0, :3, :3], -1, 0)
    u = np.mod(1 - np.arctan2(y, x) / (2 * np.pi), 1)
    v = np.arccos(np.clip(z / np.sqrt(x * x + y * y + z * z), -1, 1)) / np.pi
    places = (u * image.shape[1] - 0.5).astype(np.float32), (v * image.shape[0] - 0.5).astype(np.float32)
    # One column more on either side closes the seam, which remap does not know of.
    wrapped = np.concatenate((image[:, -1:], image, image[:, :1]), axis=1)
    seen = cv2.remap(wrapped, places[0] + 1, places[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.uint8)


def merge_views(
    distances: Sequence[NDArray[np.float32]], size: tuple[int, int], masks: Sequence[NDArray[np.bool_]] | None = None
) -> NDArray[np.float32]:
    """Merge the views' distances along the ray (42 maps ``h w``) to a panorama's, ``h w`` of ``size`` (height, width).

    ``masks``: where each is valid (None: everywhere). The scale is arbitrary.
    """
    assert len(distances) == VIEW_COUNT, f"{len(distances)} views, expected {VIEW_COUNT}"
    start = None
    if max(size) > COARSEST:
        coarser = merge_views(distances, (size[0] // 2, size[1] // 2), masks)
        start = np.log(cv2.resize(coarser, size[::-1], interpolation=cv2.INTER_LINEAR)).ravel()
    matrix, wanted = _equations(distances, size, masks)
    solved = lsmr(matrix, wanted, atol=TOLERANCE, btol=TOLERANCE, x0=start)[0]
    return np.exp(solved).reshape(size).astype(np.float32)


def _equations(
    distances: Sequence[NDArray[np.float32]], size: tuple[int, int], masks: Sequence[NDArray[np.bool_]] | None
) -> tuple[Any, NDArray[np.float64]]:
    """One equation for each neighbouring pair and for each Laplacian that some view sees: sparse matrix, right side."""
    sums, counts = np.zeros((3, *size)), np.zeros((3, *size))
    rays, cameras = split_directions(size), split_cameras()
    for i, distance in enumerate(distances):
        mask = np.ones(distance.shape, bool) if masks is None else masks[i]
        values, seen = _warped(distance, mask, rays, cameras[i : i + 1])
        for kind, stencil in enumerate((_right, _below, _around)):
            change, valid = stencil(values, seen)
            sums[kind] += np.where(valid, change, 0)
            counts[kind] += valid
    places = np.arange(size[0] * size[1]).reshape(size)
    right, below = np.roll(places, -1, axis=1), np.concatenate((places[1:], places[-1:]))
    above, left = np.concatenate((places[:1], places[:-1])), np.roll(places, 1, axis=1)
    stencils = (
        ((places, 1.0), (right, -1.0)),
        ((places, 1.0), (below, -1.0)),
        ((places, -4.0), (right, 1.0), (left, 1.0), (above, 1.0), (below, 1.0)),
    )
    parts, wanted = [], []
    for kind, stencil in enumerate(stencils):
        seen = counts[kind] > 0
        rows = np.arange(int(seen.sum()))
        entries = [(rows, columns[seen], np.full(len(rows), weight)) for columns, weight in stencil]
        row, column, weight = (np.concatenate(each) for each in zip(*entries, strict=True))
        parts.append(coo_matrix((weight, (row, column)), shape=(len(rows), places.size)))
        wanted.append(sums[kind][seen] / counts[kind][seen])
    return vstack(parts).tocsr(), np.concatenate(wanted)


def _warped(
    distance: NDArray[np.float32], mask: NDArray[np.bool_], rays: NDArray[np.float64], camera: Cameras
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A view's logarithm of the distance at the panorama's pixels, and which of them it sees."""
    projected = rays @ (camera.intrinsics[0] @ camera.world_to_camera[0, :3, :3]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = projected[..., 0] / projected[..., 2], projected[..., 1] / projected[..., 2]
    inside = (projected[..., 2] > 0) & (u > 0) & (u < 1) & (v > 0) & (v < 1)
    height, width = distance.shape
    columns = np.where(inside, u * width - 0.5, 0).astype(np.float32)
    rows = np.where(inside, v * height - 0.5, 0).astype(np.float32)
    known = mask & np.isfinite(distance) & (distance > 0)
    logs = np.log(np.where(known, distance, 1)).astype(np.float32)
    values = cv2.remap(logs, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Where a hole enters the interpolation, the value is not known.
    share = cv2.remap(known.astype(np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32), inside & (np.asarray(share) > 0.999)


def _right(values: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values - np.roll(values, -1, axis=1), seen & np.roll(seen, -1, axis=1)


def _below(values: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    change, valid = np.zeros_like(values), np.zeros_like(seen)
    change[:-1], valid[:-1] = values[:-1] - values[1:], seen[:-1] & seen[1:]
    return change, valid


def _around(values: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def neighbours(array: np.ndarray) -> tuple[np.ndarray, ...]:
        padded = np.concatenate((array[:1], array, array[-1:]))
        return padded[:-2], padded[2:], np.roll(array, 1, axis=1), np.roll(array, -1, axis=1)

    valid = seen.copy()
    for each in neighbours(seen):
        valid &= each
    return sum(neighbours(values)) - 4 * values, valid
