"""The noise that frames start from: fresh for each, one field for all, or attached to the scene's surfaces.

Frames are made independently, so whatever the network does not know it decides anew with new noise: a path flickers.
One field for all frames ends the flicker of a camera that stands still, but details then stick to the screen. Noise
that is attached to surfaces moves with them.

How it is attached: space is divided into voxels of about two pixels' size, and every voxel has a random priority and a
random number for each latent channel, both hashes of its position and the seed. A latent cell (8x8 pixels) takes the
numbers of the voxel of highest priority among those that it sees; where it sees none, it takes the fixed field. As the
camera moves, a cell's voxel goes with its surface until it leaves the cell. A voxel counts for one cell only (the one
that its centre projects into), so the cells of a frame are independent and normal, as the network expects. Nothing
depends on other frames: any frame can be made alone, in any order.

What is lost: voxels double in size where the distance doubles, so that going towards a surface gives it new noise at
each doubling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.config import FrameNoise
from inspatio.jit import compiled
from inspatio.models.worldfm.autoencoder import SHRINK
from inspatio.models.worldfm.dit import LATENT_CHANNELS
from inspatio.types import DepthMaps

VOXEL_PIXELS = 2.0
"""A voxel's least size in pixels: a surface that moves by a fraction of a pixel must still show the same ones."""


class NoiseSource:
    """Unit noise for the frames of one session, ``b 4 h/8 w/8`` float32 on the host."""

    def __init__(self, kind: FrameNoise, seed: int, size: tuple[int, int]) -> None:
        """``size`` is (height, width) of the frames in pixels."""
        self.kind: FrameNoise = kind
        self._seed = seed
        self._shape = (LATENT_CHANNELS, size[0] // SHRINK, size[1] // SHRINK)

    def draw(self, step: int, places: Sequence[int], depth: DepthMaps, cameras: Cameras) -> torch.Tensor:
        """Noise for a sampling step of some frames.

        Args:
            step: the number of the sampling step; each has noise of its own.
            places: where the frames are in the clip; only fresh noise depends on it.
            depth: ``b h w`` z-depth of the target views, 0 unknown.
            cameras: the ``b`` target cameras.
        """
        if self.kind == "fresh":
            return torch.from_numpy(np.stack([self.normal(step, place) for place in places]))
        field = self.normal(step)
        if self.kind == "fixed":
            return torch.from_numpy(np.repeat(field[None], len(places), axis=0))
        frames = []
        for index in range(len(places)):
            voxels = visible_voxels(depth[index], cameras.intrinsics[index], cameras.world_to_camera[index])
            frames.append(np.where(voxels != 0, voxel_noise(voxels, self._seed, step), field))
        return torch.from_numpy(np.stack(frames))

    def normal(self, *key: int) -> NDArray[np.float32]:
        """A field ``4 h/8 w/8`` that depends on the seed and a key only."""
        return np.random.default_rng([self._seed, *key]).standard_normal(self._shape, np.float32)


def visible_voxels(depth: NDArray[np.float32], intrinsics: np.ndarray, world_to_camera: np.ndarray) -> np.ndarray:
    """The voxel of highest priority in each latent cell, ``h/8 w/8`` uint64; 0 where a cell sees none."""
    rows, columns = (side // SHRINK for side in depth.shape)
    best = np.zeros((rows, columns), np.uint64)
    to_world = np.linalg.inv(world_to_camera)
    _vote(
        np.ascontiguousarray(depth, np.float32),
        np.ascontiguousarray(intrinsics, np.float64),
        np.ascontiguousarray(world_to_camera, np.float64),
        to_world,
        best,
    )
    return best


def voxel_noise(voxels: NDArray[np.uint64], seed: int, step: int) -> NDArray[np.float32]:
    """Unit noise ``4 h w`` of voxels ``h w``: Box-Muller on hashes of the voxel, the seed, the step and the channel."""
    fields = []
    for channel in range(LATENT_CHANNELS):
        keys = [_hash(voxels, np.uint64(seed & (1 << 63) - 1), np.uint64(8 * step + 2 * channel + k)) for k in range(2)]
        first, second = ((key >> np.uint64(11)).astype(np.float64) * 2.0**-53 for key in keys)
        fields.append(np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second))
    return np.stack(fields).astype(np.float32)


def _hash(voxels: NDArray[np.uint64], seed: np.uint64, salt: np.uint64) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        mixed = voxels ^ (seed * np.uint64(0x9E3779B97F4A7C15)) ^ (salt * np.uint64(0xD1B54A32D192ED03))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return mixed ^ (mixed >> np.uint64(31))


@compiled
def _mix(value):
    """splitmix64 of one number."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def _vote(depth, intrinsics, world_to_camera, to_world, best):
    """For every pixel its voxel; into ``best`` (``rows columns`` uint64) the hash of the highest of each cell."""
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    centre = np.empty(3)
    for y in range(height):
        for x in range(width):
            z = np.float64(depth[y, x])
            if not (z > 0 and z < np.inf):
                continue
            px, py = (x - cx) / fx * z, (y - cy) / fy * z
            level = np.ceil(np.log2(VOXEL_PIXELS * z / fx))
            size = 2.0**level
            key = np.uint64(np.int64(level))
            for i in range(3):
                position = to_world[i, 0] * px + to_world[i, 1] * py + to_world[i, 2] * z + to_world[i, 3]
                number = np.floor(position / size)
                centre[i] = (number + 0.5) * size
                key = _mix(key * np.uint64(0x9E3779B97F4A7C15) + np.uint64(np.int64(number)))
            u, v, w = world_to_camera[0, 3], world_to_camera[1, 3], world_to_camera[2, 3]
            for i in range(3):
                u += world_to_camera[0, i] * centre[i]
                v += world_to_camera[1, i] * centre[i]
                w += world_to_camera[2, i] * centre[i]
            if w <= 0:
                continue
            column, row = np.floor((fx * u / w + cx + 0.5) / SHRINK), np.floor((fy * v / w + cy + 0.5) / SHRINK)
            if 0 <= row < best.shape[0] and 0 <= column < best.shape[1]:
                i, j = np.int64(row), np.int64(column)
                best[i, j] = max(best[i, j], key)
