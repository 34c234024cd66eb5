"""Scenes in memory for tests.

``hills`` and ``wall``: noise with depth, as the arrays a renderer takes (``scene_of`` makes a scene of them).
``noise_scene``: frames and depth of pure noise under cameras that stand still, for networks that only need numbers.
``room``: the synthetic room filmed small, whose true views are known from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from inspatio.cameras import poses as cameras
from inspatio.cameras.cameras import Cameras, target_intrinsics
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.generation.base import Session, drive
from inspatio.render import Renderer
from inspatio.scene import Scene

ROOM_SIZE = (96, 160)
ROOM_FRAMES = 30
NOISE_SIZE = (32, 48)


class ArraySource:
    """Frames or depth maps that are all in memory: a ``scene.FrameSource`` and a ``scene.DepthSource``."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self.values[list(indices)]


def make_scene(
    frames: np.ndarray, depth: np.ndarray, poses: np.ndarray, intrinsics: np.ndarray, **fields: Any
) -> Scene:
    """A scene of arrays at 24 frames/s; ``fields`` are further fields of ``Scene``, by default relative depth."""
    return Scene(
        frames=ArraySource(frames),
        depth=ArraySource(depth.astype(np.float32)),
        intrinsics=np.broadcast_to(intrinsics, (len(frames), 3, 3)).copy(),
        world_to_camera=poses,
        size=(frames.shape[1], frames.shape[2]),
        frame_rate=Fraction(24),
        **{"clip_id": "clip", "scale": "relative", **fields},
    )


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
        """Frames, masks and depth of the target view."""
        render = renderer.render(self.frames, self.depth, *self.cameras(), with_depth=True)
        assert render.depth is not None
        return render.frames, render.masks, render.depth

    def cameras(self) -> tuple[Cameras, Cameras]:
        """Source and target cameras."""
        return (
            Cameras.from_poses(self.source, self.source_intrinsics),
            Cameras.from_poses(self.target, self.target_intrinsics),
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


def scene_of(clip: Clip) -> Scene:
    return make_scene(clip.frames, clip.depth, clip.source, clip.source_intrinsics)


def noise_scene(count: int, size: tuple[int, int] = NOISE_SIZE, seed: int = 0) -> Scene:
    """Noise at depths of 1 to 3, seen from one place, with the prompt "a room"."""
    height, width = size
    random = np.random.default_rng(seed)
    return make_scene(
        random.integers(0, 256, (count, height, width, 3), dtype=np.uint8),
        random.uniform(1.0, 3.0, (count, height, width)),
        np.tile(np.eye(4), (count, 1, 1)),
        np.array([[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1.0]]),
        scale="prior",
        prompt="a room",
    )


def sideways(count: int) -> np.ndarray:
    """``n 4 4`` world_to_camera of a slow move to the right."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = -0.02 * np.arange(count)
    return poses


def targets(scene: Scene, poses: np.ndarray) -> Cameras:
    """Target cameras at ``n 4 4`` poses, with the intrinsics that every target camera of a scene has."""
    return Cameras.from_poses(poses, target_intrinsics(scene.cameras([0]).intrinsics[0], scene.size))


def frames_of(session: Session, cameras: Cameras) -> np.ndarray:
    """All frames of a session along cameras, ``n h w 3``; checks that blocks follow one another."""
    blocks = list(drive(session, cameras))
    lengths = [len(block.frames) for block in blocks]
    assert [block.start for block in blocks] == np.cumsum([0, *lengths[:-1]]).tolist()
    return np.concatenate([block.frames.numpy() for block in blocks])


def room_intrinsics() -> np.ndarray:
    """``3 3`` for frames of ROOM_SIZE."""
    scale = ROOM_SIZE[0] / truth.SIZE[0]
    camera = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]]) @ truth.intrinsics()
    camera[:2, 2] = (ROOM_SIZE[1] - 1) / 2, (ROOM_SIZE[0] - 1) / 2
    return camera


@cache
def moments() -> tuple[int, ...]:
    """The moments of the example that the frames of :func:`room` show."""
    return tuple(np.linspace(0, truth.FRAME_COUNT - 1, ROOM_FRAMES).astype(int).tolist())


def room_scene(frames: np.ndarray, depth: np.ndarray, poses: np.ndarray) -> Scene:
    """Frames and depth as the room's source camera sees them, in metres."""
    return make_scene(frames, depth, poses, room_intrinsics(), scale="metres")


@cache
def room() -> Scene:
    """ROOM_FRAMES frames of the synthetic room, with true depth."""
    poses = truth.source_world_to_camera()[list(moments())]
    views = [(moment, pose, room_intrinsics(), ROOM_SIZE) for moment, pose in zip(moments(), poses, strict=True)]
    frames = np.stack([truth.true_view(*view) for view in views])
    return room_scene(frames, np.stack([truth.true_depth(*view) for view in views]), poses)


def orbit(count: int, degrees: float = 10.0) -> np.ndarray:
    """``count`` world_to_camera on the way from the first source camera around what is 2 m before it."""
    return cameras.invert(cameras.orbit(np.zeros(count), np.linspace(0, degrees, count), 2.0))


def psnr(image: np.ndarray, true: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images."""
    error = np.mean((image.astype(np.float64) - true) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
