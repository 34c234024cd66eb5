"""The example's room, filmed small: a scene in memory whose truth is known, for tests of the preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from inspatio.cameras import poses as cameras
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.scene import Scene

SIZE = (96, 160)
FRAMES = 30


@dataclass(frozen=True)
class Held:
    """Frames or depth held in memory."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self.values[list(indices)]


def intrinsics() -> np.ndarray:
    scale = SIZE[0] / truth.SIZE[0]
    camera = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]]) @ truth.intrinsics()
    camera[:2, 2] = (SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2
    return camera


@cache
def moments() -> tuple[int, ...]:
    """The moments of the example that the small clip's frames show."""
    return tuple(np.linspace(0, truth.FRAME_COUNT - 1, FRAMES).astype(int).tolist())


@cache
def room() -> Scene:
    poses = truth.source_world_to_camera()[list(moments())]
    views = [(moment, pose, intrinsics(), SIZE) for moment, pose in zip(moments(), poses, strict=True)]
    return make_scene(
        np.stack([truth.true_view(*view) for view in views]),
        np.stack([truth.true_depth(*view) for view in views]),
        poses,
    )


def make_scene(frames: np.ndarray, depth: np.ndarray, poses: np.ndarray) -> Scene:
    return Scene(
        clip_id="room",
        frames=Held(frames),
        depth=Held(depth.astype(np.float32)),
        intrinsics=np.tile(intrinsics(), (len(frames), 1, 1)),
        world_to_camera=poses,
        size=(frames.shape[1], frames.shape[2]),
        frame_rate=Fraction(24),
        scale="metres",
    )


def orbit(count: int, degrees: float = 10.0) -> np.ndarray:
    """``count`` world_to_camera on the way from the first source camera around what is 2 m before it."""
    return cameras.invert(cameras.orbit(np.zeros(count), np.linspace(0, degrees, count), 2.0))


def psnr(image: np.ndarray, true: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(np.float64) - true) ** 2)))
