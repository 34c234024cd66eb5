"""The held-out suite: synthetic clips that training never sees, defined by seeds.

    for clip in SUITES["synthetic"].clips:
        truth = load_truth(clip, cache() / "suites")      ray-cast at the first use, then read (``truth.py``)

A clip is a random room (``synthetic_room/random_room.py``) of the suite's own textures, filmed by a moving camera, and
a path for the new camera. A suite is frozen: its clips never change, and averages are comparable only within one
version. To add clips, append them to a new version; the earlier clips stay what they were, so that their figures can be
taken over. Version 2 added ``walk_forward`` and ``table_orbit`` to the 28 clips of version 1.

Source cameras and target paths are kinds with amplitudes drawn from the clip's seed; translations of paths are in
foreground depths, as in trajectory files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np

from inspatio.cameras import poses
from inspatio.cameras.trajectory import MatrixTrajectory, OrbitTrajectory, Trajectory
from inspatio.clip_options import Controls
from inspatio.evaluation.synthetic_room import textures
from inspatio.evaluation.synthetic_room.random_room import Room, make_hall, make_room, make_table_room
from inspatio.evaluation.synthetic_room.textures import Family
from inspatio.types import Image, Intrinsics, WorldToCamera

FRAME_COUNT = 45
"""Blocks of 9, 12, 12 and 12 frames."""
FRAME_RATE = Fraction(24)
SMALL, LARGE = (240, 416), (480, 832)
KEEP_FRAMES = Controls(adaptive_frames=False)
"""Paths are laid over the clips as they are: one target camera for each source frame."""

PathKind = Literal["orbit", "rise", "swing", "dolly", "pull_back", "truck"]
SourceKind = Literal["handheld", "walk", "arc", "walk_forward", "around"]
SceneKind = Literal["room", "hall", "table"]
ROOMS: dict[SceneKind, Callable[[int, Family], Room]] = {
    "room": make_room,
    "hall": make_hall,
    "table": make_table_room,
}


@dataclass(frozen=True)
class SuiteClip:
    """One clip of a suite: everything else follows from these."""

    name: str
    seed: int
    path: PathKind
    source: SourceKind = "handheld"
    size: tuple[int, int] = SMALL
    """(height, width)."""
    scene: SceneKind = "room"

    @cached_property
    def room(self) -> Room:
        return ROOMS[self.scene](self.seed, textures.SUITE)

    @cached_property
    def intrinsics(self) -> Intrinsics:
        """``3 3``: a horizontal field of view of 53 to 68 degrees, principal point at the centre."""
        height, width = self.size
        focal = width * self._random("lens").uniform(0.74, 1.0)
        return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])

    @cached_property
    def source_world_to_camera(self) -> WorldToCamera:
        """``n 4 4``, the first camera at the origin."""
        return SOURCES[self.source](np.linspace(0, 1, FRAME_COUNT), self._random("source"))

    @property
    def trajectory(self) -> Trajectory:
        """The path of the new camera."""
        return PATHS[self.path](self._random("path"))

    def time(self, frame: int) -> float:
        """The room's time at a source frame."""
        return frame / (FRAME_COUNT - 1)

    def source_view(self, frame: int, intrinsics: Intrinsics, size: tuple[int, int]) -> Image:
        """Ray-cast ``h w 3``: what the source camera sees at a frame, through a lens for pictures of ``size``."""
        return self.room.view(self.time(frame), self.source_world_to_camera[frame], intrinsics, size)

    def _random(self, what: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *what.encode()])


@dataclass(frozen=True)
class Suite:
    """A frozen set of clips; ``name`` and ``version`` name its figures."""

    name: str
    version: int
    clips: tuple[SuiteClip, ...]


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1, 1]))


def _moved(position: np.ndarray, yaw_deg: np.ndarray, pitch_deg: np.ndarray) -> WorldToCamera:
    """Cameras at ``n 3`` positions, turned (positive: to the right, up)."""
    turn = poses.orbit(pitch_deg, -yaw_deg, 0.0)
    return poses.relative_to_first(poses.invert(poses.compose(turn[:, :3, :3], position)))


def _shake(time: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    """``n 3``: the unsteadiness of a hand, a few slow waves of up to ``size``."""
    waves = rng.uniform(3, 9, (3, 1)) * time + rng.uniform(0, 2 * np.pi, (3, 1))
    return size * np.sin(waves).T


def _handheld(time: np.ndarray, rng: np.random.Generator) -> WorldToCamera:
    """A slow drift of 10 to 35 cm by hand."""
    ease = time * time * (3 - 2 * time)
    way = rng.choice([-1, 1]) * np.array([rng.uniform(0.1, 0.33), rng.uniform(-0.04, 0.04), rng.uniform(-0.05, 0.12)])
    yaw = rng.uniform(-2.5, 2.5) * ease + _shake(time, rng, 0.25)[:, 0]
    return _moved(ease[:, None] * way + _shake(time, rng, 0.008), yaw, _shake(time, rng, 0.25)[:, 1])


def _walk(time: np.ndarray, rng: np.random.Generator) -> WorldToCamera:
    """A walk of 40 to 60 cm forward, with the sway of steps."""
    sway = 0.02 * np.sin(2 * np.pi * rng.uniform(1.5, 2.5) * time)
    position = np.stack([sway, -0.5 * np.abs(sway), rng.uniform(0.4, 0.6) * time], axis=-1)
    return _moved(position, rng.uniform(-4, 4) * time + 12 * sway, _shake(time, rng, 0.3)[:, 1])


def _arc(time: np.ndarray, rng: np.random.Generator) -> WorldToCamera:
    """A sixth of a turn at most around what is 2.5 m ahead."""
    degrees = rng.choice([-1, 1]) * rng.uniform(8, 15) * time
    return poses.invert(poses.orbit(_shake(time, rng, 0.3)[:, 0] * time, degrees, 2.5))


def _walk_forward(time: np.ndarray, rng: np.random.Generator) -> WorldToCamera:
    """A walk straight on at a person's speed, some 2 m, with the sway and the bob of three steps."""
    step = 2 * np.pi * rng.uniform(1.4, 1.7) * time
    sway, bob = 0.022 * np.sin(step), 0.018 * np.abs(np.sin(step))
    position = np.stack([sway, bob, rng.uniform(1.9, 2.2) * time], axis=-1)
    return _moved(position, rng.uniform(-3, 3) * time + 15 * sway, 20 * bob + _shake(time, rng, 0.2)[:, 1])


def _around(time: np.ndarray, rng: np.random.Generator) -> WorldToCamera:
    """A walk of 28 to 36 degrees around what is 2.3 m ahead."""
    degrees = _sign(rng) * rng.uniform(28, 36) * time
    return poses.invert(poses.orbit(_shake(time, rng, 0.4)[:, 0] * time, degrees, 2.3))


SOURCES: dict[SourceKind, Callable[[np.ndarray, np.random.Generator], WorldToCamera]] = {
    "handheld": _handheld,
    "walk": _walk,
    "arc": _arc,
    "walk_forward": _walk_forward,
    "around": _around,
}


def _truck(rng: np.random.Generator) -> Trajectory:
    shift = _sign(rng) * rng.uniform(0.15, 0.28)
    return MatrixTrajectory(poses.compose(np.eye(3), np.array([[0, 0, 0], [shift, 0, 0]])), "foreground")


def _swing(rng: np.random.Generator) -> Trajectory:
    pitch, yaw = rng.uniform(3, 7), _sign(rng) * rng.uniform(6, 10)
    return OrbitTrajectory((0, pitch, 0), (0, yaw, 0), (1,))


PATHS: dict[PathKind, Callable[[np.random.Generator], Trajectory]] = {
    "orbit": lambda rng: OrbitTrajectory((0,), (0, _sign(rng) * rng.uniform(8, 13)), (1,)),
    "rise": lambda rng: OrbitTrajectory((0, rng.uniform(6, 11)), (0,), (1,)),
    "swing": _swing,
    "dolly": lambda rng: OrbitTrajectory((0,), (0,), (0, rng.uniform(0.3, 0.45))),
    "pull_back": lambda rng: OrbitTrajectory((0,), (0,), (0, -rng.uniform(0.25, 0.4), 0)),
    "truck": _truck,
}
RETURNING: tuple[PathKind, ...] = ("swing", "pull_back")
"""Paths that go and come back on the same way, so that holes are seen twice; they are farthest in the middle."""


def _synthetic() -> tuple[SuiteClip, ...]:
    sources: tuple[SourceKind, ...] = ("handheld", "handheld", "walk", "arc")
    small = [
        SuiteClip(f"{path}_{number}", 900_000 + 10 * place + number, path, source)
        for place, path in enumerate(PATHS)
        for number, source in enumerate(sources)
    ]
    large: tuple[PathKind, ...] = ("orbit", "swing", "dolly", "truck")
    return (
        *small,
        *(SuiteClip(f"{path}_large", 900_100 + place, path, size=LARGE) for place, path in enumerate(large)),
        SuiteClip("walk_forward", 900_200, "orbit", "walk_forward", scene="hall"),
        SuiteClip("table_orbit", 900_201, "swing", "around", scene="table"),
    )


SUITES = {"synthetic": Suite("synthetic", 2, _synthetic())}
