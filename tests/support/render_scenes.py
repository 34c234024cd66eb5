"""Small clips with depth and cameras to render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from inspatio.render import Renderer
from inspatio.scene import Scene


@dataclass(frozen=True)
class Clip:
    """What a renderer is given, in the order it takes it."""

    frames: np.ndarray
    depth: np.ndarray
    source_intrinsics: np.ndarray
    source: np.ndarray
    target_intrinsics: np.ndarray
    target: np.ndarray

    def part(self, places: Any) -> Clip:
        """The frames at these places."""
        return Clip(**{name: value[places] for name, value in vars(self).items()})

    def render(self, renderer: Renderer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return renderer.render_with_depth(
            self.frames, self.depth, self.source_intrinsics, self.source, self.target_intrinsics, self.target
        )

    def still(self) -> Clip:
        """The same with target cameras that are the source cameras."""
        return replace(self, target=self.source, target_intrinsics=self.source_intrinsics)


def turned(yaw_deg: float, pitch_deg: float, position: Sequence[float] | np.ndarray) -> np.ndarray:
    """world_to_camera of a camera at a place, turned."""
    a, b = np.radians([pitch_deg, yaw_deg])
    rotation = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]) @ np.array(
        [[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]]
    )
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ np.asarray(position, float)
    return pose


def hills(t: int = 5, h: int = 40, w: int = 56, seed: int = 0, unknown: float = 0.05) -> Clip:
    """Noise on hills with a near block before them; some depths unknown; cameras that all differ."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    depth = 3 + np.sin(x / 9 + rng.uniform(0, 6, (t, 1, 1))) + 0.5 * np.cos(y / 7)
    depth[:, h // 4 : h // 2, w // 3 : w // 2] = 1.5
    depth = np.where(rng.random(depth.shape) < unknown, rng.choice([0, -1, np.nan, np.inf], depth.shape), depth)
    intrinsics = np.tile(np.eye(3), (t, 1, 1))
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = rng.uniform(40, 60, (2, t))
    intrinsics[:, :2, 2] = rng.uniform(0.3, 0.7, (t, 2)) * (w, h)
    angles, places = rng.uniform(-8, 8, (2 * t, 2)), rng.uniform(-0.3, 0.3, (2 * t, 3))
    poses = np.stack([turned(yaw, pitch, place) for (yaw, pitch), place in zip(angles, places, strict=True)])
    return Clip(
        frames=rng.integers(1, 256, (t, h, w, 3), dtype=np.uint8),
        depth=depth.astype(np.float32),
        source_intrinsics=intrinsics,
        source=poses[:t],
        target_intrinsics=intrinsics[::-1].copy(),
        target=poses[t:],
    )


def wall(h: int = 24, w: int = 32, depth: float = 4.0, focal: float = 16.0, target: np.ndarray | None = None) -> Clip:
    """One frame of noise on a plane that faces the camera."""
    frames = np.random.default_rng(1).integers(1, 256, (1, h, w, 3), dtype=np.uint8)
    intrinsics = np.array([[[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]]])
    return Clip(
        frames=frames,
        depth=np.full((1, h, w), depth, np.float32),
        source_intrinsics=intrinsics,
        source=np.eye(4)[None],
        target_intrinsics=intrinsics,
        target=np.eye(4)[None] if target is None else target[None],
    )


class ArraySource:
    """Frames or depth that are all in memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self.values[list(indices)]


def scene_of(clip: Clip) -> Scene:
    return Scene(
        clip_id="hills",
        frames=ArraySource(clip.frames),
        depth=ArraySource(clip.depth),
        intrinsics=clip.source_intrinsics,
        world_to_camera=clip.source,
        size=clip.frames.shape[1:3],
        frame_rate=Fraction(24),
        scale="relative",
    )
