"""The truth of the suite's clips: what the new camera truly sees, ray-cast at the first use and kept as files.

    truth = load_truth(clip, cache() / "suites")

Truths are kept by the content of the scene, not by the version of the suite, and the folder does not grow beyond
:data:`LARGEST_CACHE`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.errors import UserError
from inspatio.evaluation.regions import seen_before
from inspatio.evaluation.suite import FRAME_COUNT, FRAME_RATE, KEEP_FRAMES, SuiteClip
from inspatio.geometry.scene import read_scene
from inspatio.geometry.store import GeometryWriter
from inspatio.media import VideoWriter
from inspatio.scene import Scene, adapt
from inspatio.storage import atomic_folder, write_text
from inspatio.types import DepthMaps, Frames, Image, Progress

LARGEST_CACHE = 3 * 2**30
"""Bytes of kept truths; those of the whole suite take about 1 GB."""
_FORMAT = 1
"""Of the files of a truth; raised when they change."""
_DONE = "truth.json"
"""Written last; its time is that of the last use."""
_PROBE = (15, 26)

_log = logging.getLogger(__name__)


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


def load_truth(clip: SuiteClip, folder: Path, progress: Progress = lambda done, total: None) -> Truth:
    """The truth of a clip, ray-cast into ``folder/<clip>-<content key>`` unless it is there already.

    Raises:
        UserError: it cannot be written.
    """
    path = folder / f"{clip.name}-{content_key(clip)}"
    if not (path / _DONE).exists():
        with atomic_folder(path) as part:
            _make(Truth(clip, part), progress)
    (path / _DONE).touch()
    discard_unused(folder)
    return Truth(clip, path)


def content_key(clip: SuiteClip) -> str:
    """A short hash of what a clip's truth is made from: tiny views of the room, both cameras' paths, size and lens.

    A truth that was kept under another key is of another scene (or of a compiler that rounds otherwise), and is never
    taken for this one.
    """
    found = hashlib.sha256(f"{_FORMAT} {clip.seed} {clip.size}".encode())
    found.update(probe_views(clip).tobytes())
    for numbers in (clip.intrinsics, clip.source_world_to_camera, clip.trajectory.camera_to_world(FRAME_COUNT, 1.0)):
        found.update((np.round(np.asarray(numbers), 6) + 0.0).tobytes())  # + 0.0: no negative zero
    return found.hexdigest()[:12]


def probe_views(clip: SuiteClip) -> np.ndarray:
    """Two tiny views of a clip's room, its first and last source frame: what tells whether a scene has changed."""
    shrink = np.diag([_PROBE[1] / clip.size[1], _PROBE[0] / clip.size[0], 1])
    return np.stack([clip.source_view(frame, shrink @ clip.intrinsics, _PROBE) for frame in (0, FRAME_COUNT - 1)])


def discard_unused(folder: Path, limit: int = LARGEST_CACHE) -> None:
    """Delete truths, those that were not used for longest first, until the folder has at most ``limit`` bytes."""
    kept = sorted(folder.rglob(_DONE), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for done in kept:
        total += sum(path.stat().st_size for path in done.parent.rglob("*") if path.is_file())
        if total > limit:
            _log.info("%s is deleted: kept truths take more than %.1f GiB", done.parent, limit / 2**30)
            shutil.rmtree(done.parent)


def _make(truth: Truth, progress: Progress) -> None:
    """Ray-cast source and target views; the folder is ``truth.folder``."""
    clip, total = truth.clip, 2 * FRAME_COUNT
    sources = clip.source_world_to_camera
    truth.geometry.mkdir(parents=True)
    writer = GeometryWriter(truth.geometry, clip.size, clip.size, FRAME_COUNT, dtype=np.float16)
    source_depth = np.empty((FRAME_COUNT, *clip.size), np.float16)
    with VideoWriter(truth.video, clip.size, FRAME_RATE, quality="render") as video:
        for frame in range(FRAME_COUNT):
            video.write(clip.source_view(frame, clip.intrinsics, clip.size)[None])
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
    write_text(truth.folder / _DONE, json.dumps({"clip": clip.name, "seed": clip.seed}))


def _read_png(path: Path) -> Image:
    image = cv2.imread(str(path))
    if image is None:
        raise UserError(f"{path}: cannot be read as a PNG. Delete the clip's folder, so that it is made again")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
