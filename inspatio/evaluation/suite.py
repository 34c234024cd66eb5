"""The held-out suite: synthetic clips that training never sees, defined by seeds, with their truth.

    for clip in SUITES["synthetic"].clips:
        truth = load_truth(SUITES["synthetic"], clip, cache() / "suites")      ray-cast at the first use, then read

A clip is a random room (``synthetic_room/random_room.py``) of the suite's own textures, filmed by a moving camera, and
a path for the new camera. Its truth is what that camera truly sees. A suite is frozen: its clips never change, and
figures are comparable only within one version. To add clips, append them to a new version.

Source cameras and target paths are kinds with amplitudes drawn from the clip's seed; translations of paths are in
foreground depths, as in trajectory files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from inspatio.cameras import poses
from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.trajectory import MatrixTrajectory, OrbitTrajectory, Trajectory
from inspatio.config import Controls
from inspatio.errors import UserError
from inspatio.evaluation.regions import seen_before
from inspatio.evaluation.synthetic_room import textures
from inspatio.evaluation.synthetic_room.random_room import Room, make_room
from inspatio.geometry.scene import read_scene
from inspatio.geometry.store import GeometryWriter
from inspatio.media import VideoWriter
from inspatio.scene import Scene, adapt
from inspatio.storage import atomic_folder, write_text
from inspatio.types import DepthMaps, Frames, Image, Intrinsics, Progress, WorldToCamera

FRAME_COUNT = 45
"""Blocks of 9, 12, 12 and 12 frames."""
FRAME_RATE = Fraction(24)
SMALL, LARGE = (240, 416), (480, 832)
KEEP_FRAMES = Controls(adaptive_frames=False)
"""Paths are laid over the clips as they are: one target camera for each source frame."""

PathKind = Literal["orbit", "rise", "swing", "dolly", "pull_back", "truck"]
SourceKind = Literal["handheld", "walk", "arc"]
_PROBE = (15, 26)
_PROBE_TOLERANCE = 2.0
"""Mean difference (of 255) of small views from which on a kept truth is of another scene."""


@dataclass(frozen=True)
class SuiteClip:
    """One clip of a suite: everything else follows from these."""

    name: str
    seed: int
    path: PathKind
    source: SourceKind = "handheld"
    size: tuple[int, int] = SMALL
    """(height, width)."""

    @cached_property
    def room(self) -> Room:
        return make_room(self.seed, textures.SUITE)

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

    def _random(self, what: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *what.encode()])


@dataclass(frozen=True)
class Suite:
    """A frozen set of clips; ``name`` and ``version`` name its figures."""

    name: str
    version: int
    clips: tuple[SuiteClip, ...]


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


SOURCES: dict[SourceKind, Callable[[np.ndarray, np.random.Generator], WorldToCamera]] = {
    "handheld": _handheld,
    "walk": _walk,
    "arc": _arc,
}


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1, 1]))


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
    )


SUITES = {"synthetic": Suite("synthetic", 1, _synthetic())}


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of a clip along its path: what the new camera sees, from files that are read when asked for."""

    clip: SuiteClip
    folder: Path

    @property
    def video(self) -> Path:
        """The source video; its true geometry is in :attr:`geometry`."""
        return self.folder / "source.mp4"

    @property
    def geometry(self) -> Path:
        return self.folder / "geometry"

    @cached_property
    def cameras(self) -> Cameras:
        """The target cameras, in metres."""
        file = CameraFile.load(self.folder / "cameras.json", f"Delete {self.folder}.")
        return Cameras(file.intrinsics, file.world_to_camera)

    def scene(self, geometry: Path | None = None) -> Scene:
        """The clip with its true geometry, or with that of another folder."""
        return read_scene(self.video, geometry or self.geometry, self.clip.size)

    def frames(self, places: Iterable[int]) -> Frames:
        """``t h w 3`` uint8: what the target cameras see."""
        return np.stack([_read_png(self.folder / "views" / f"{place:05d}.png") for place in places])

    @cached_property
    def depth(self) -> DepthMaps:
        """``n h w`` z-depth of the target views in metres, memory-mapped float16."""
        return np.load(self.folder / "depth.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def seen(self) -> np.ndarray:
        """``n h w`` bool: the surface that a pixel of the target view shows is seen in some source frame."""
        return np.load(self.folder / "seen.npy", mmap_mode="r", allow_pickle=False)


def load_truth(suite: Suite, clip: SuiteClip, folder: Path, progress: Progress = lambda done, total: None) -> Truth:
    """The truth of a clip, ray-cast into ``folder/<suite>-<version>/<clip>`` unless it is there already.

    Raises:
        UserError: what is there was made by other code: the scenes of a suite must not change.
    """
    path = folder / f"{suite.name}-{suite.version}" / clip.name
    truth = Truth(clip, path)
    if not (path / "truth.json").exists():
        with atomic_folder(path) as part:
            _make(Truth(clip, part), progress)
    kept = np.array(json.loads((path / "truth.json").read_text())["probe"], float)
    difference = float(np.abs(kept - probe_views(clip)).mean())
    if difference > _PROBE_TOLERANCE:
        raise UserError(
            f"{path}: the kept truth is of another scene: got small views that differ by {difference:.1f} of 255, "
            f"expected at most {_PROBE_TOLERANCE:g}. Delete the folder to make it again"
        )
    return truth


def probe_views(clip: SuiteClip) -> np.ndarray:
    """Two tiny views of a clip's room, its first and last source frame: what tells whether a scene has changed."""
    shrink = np.diag([_PROBE[1] / clip.size[1], _PROBE[0] / clip.size[0], 1])
    views = [_source_view(clip, frame, shrink @ clip.intrinsics, _PROBE) for frame in (0, FRAME_COUNT - 1)]
    return np.stack(views).astype(float)


def _source_view(clip: SuiteClip, frame: int, intrinsics: Intrinsics, size: tuple[int, int]) -> Image:
    return clip.room.view(clip.time(frame), clip.source_world_to_camera[frame], intrinsics, size)


def _make(truth: Truth, progress: Progress) -> None:
    """Ray-cast source and target views; the folder is ``truth.folder``."""
    clip, total = truth.clip, 2 * FRAME_COUNT
    sources = clip.source_world_to_camera
    truth.geometry.mkdir(parents=True)
    writer = GeometryWriter(truth.geometry, clip.size, clip.size, FRAME_COUNT, dtype=np.float16)
    source_depth = np.empty((FRAME_COUNT, *clip.size), np.float16)
    with VideoWriter(truth.video, clip.size, FRAME_RATE, quality="render") as video:
        for frame in range(FRAME_COUNT):
            video.write(_source_view(clip, frame, clip.intrinsics, clip.size)[None])
            source_depth[frame] = clip.room.depth(clip.time(frame), sources[frame], clip.intrinsics, clip.size)
            writer.write(source_depth[frame][None])
            progress(frame + 1, total)
    writer.finish(clip.intrinsics, sources, "metres", "truth", {"clip": clip.name, "seed": clip.seed})
    scene, targets = adapt(truth.scene(), clip.trajectory, KEEP_FRAMES)
    depth, seen = np.empty((FRAME_COUNT, *clip.size), np.float16), np.empty((FRAME_COUNT, *clip.size), bool)
    (truth.folder / "views").mkdir()
    source_cameras = scene.cameras(range(FRAME_COUNT))
    for place in range(FRAME_COUNT):
        pose, intrinsics, time = targets.world_to_camera[place], targets.intrinsics[place], clip.time(place)
        view = clip.room.view(time, pose, intrinsics, clip.size)
        if not cv2.imwrite(str(truth.folder / "views" / f"{place:05d}.png"), view[..., ::-1]):
            raise UserError(f"{truth.folder}: a view could not be written. Free some space on the disk")
        depth[place] = clip.room.depth(time, pose, intrinsics, clip.size)
        seen[place] = seen_before(depth[place], targets[[place]], source_depth, source_cameras, place)
        progress(FRAME_COUNT + place + 1, total)
    np.save(truth.folder / "depth.npy", depth)
    np.save(truth.folder / "seen.npy", seen)
    CameraFile(
        clip.size,
        targets.intrinsics,
        targets.world_to_camera,
        "metres",
        frame_rate=FRAME_RATE,
        timeline=tuple(range(FRAME_COUNT)),
    ).save(truth.folder / "cameras.json")
    write_text(truth.folder / "truth.json", json.dumps({"seed": clip.seed, "probe": probe_views(clip).tolist()}))


def _read_png(path: Path) -> Image:
    image = cv2.imread(str(path))
    if image is None:
        raise UserError(f"{path}: cannot be read as a PNG. Delete the clip's folder, so that it is made again")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
