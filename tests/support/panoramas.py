"""A panorama of a box room that is known exactly: distances from a formula, a colour for each wall."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from inspatio.export.ply import ply_bytes
from inspatio.geometry import panorama
from inspatio.geometry.panorama import directions
from inspatio.types import Image

LOWER, UPPER = np.array([-1.5, -1.2, -1.8]), np.array([2.0, 1.3, 1.6])
"""Corners of the room in the panorama's world."""


def box_panorama(height: int) -> tuple[Image, np.ndarray]:
    """Picture ``h 2h 3`` and distance ``h 2h`` through the middle of every pixel."""
    rows, columns = np.mgrid[:height, : 2 * height] + 0.5
    rays = directions(rows, columns, (height, 2 * height))
    with np.errstate(divide="ignore"):
        reach = np.where(rays > 0, UPPER / rays, LOWER / rays)
    axis = reach.argmin(axis=-1)
    distance = reach.min(axis=-1)
    points = rays * distance[..., None]
    wall = 2 * axis + (np.take_along_axis(rays, axis[..., None], -1)[..., 0] > 0)
    palette = np.random.default_rng(1).integers(60, 200, (6, 3))
    shade = 40 * np.sin(3 * points).sum(axis=-1, keepdims=True) / 3
    return np.clip(palette[wall] + shade, 0, 255).astype(np.uint8), distance.astype(np.float32)


def box_depth(world_to_camera: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """True z-depth ``h w`` of a camera inside the room."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(intrinsics).T
    rays = rays @ world_to_camera[:3, :3]
    origin = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    with np.errstate(divide="ignore"):
        return np.where(rays > 0, (UPPER - origin) / rays, (LOWER - origin) / rays).min(axis=-1)


def write_point_cloud(folder: Path, photos: int = 3) -> None:
    """The room as a public point cloud: its points, and some photos with their cameras in every spelling."""
    image, distance = box_panorama(96)
    points, colours = panorama.published_points(image, distance)
    (folder / "conditions").mkdir(parents=True)
    (folder / "pointcloud.ply").write_bytes(ply_bytes(points.astype(np.float64), colours))
    cameras, frames = panorama.views((48, 64)), []
    for i in range(photos):
        photo = panorama.view_image(image, cameras.world_to_camera[i], cameras.intrinsics[i], (48, 64))
        cv2.imwrite(str(folder / f"conditions/{i:04d}.png"), photo[..., ::-1])
        lens = cameras.intrinsics[i].tolist()
        spelled = {"K": lens} if i else {"fx": lens[0][0], "fy": lens[1][1], "cx": lens[0][2], "cy": lens[1][2]}
        c2w = np.linalg.inv(cameras.world_to_camera[i])[: 3 if i else 4].tolist()
        frames.append({"id": i + 1, "path": f"conditions/{i:04d}.png", "c2w": c2w, **spelled})
    (folder / "transforms_condition.json").write_text(json.dumps({"frames": frames}))
