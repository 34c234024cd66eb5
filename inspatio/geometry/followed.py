"""The camera of another clip as a trajectory: estimated from the clip, or given, and scaled to this scene.

Distances of a clip with depth are measured in foreground depths, as those of every trajectory are, so that a camera
that walks half way to its subject does so here too. A path without depth has no such scale: its farthest camera is put
at :data:`DEFAULT_REACH` foreground depths, or at the ``reach`` that is asked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from inspatio.cameras.formats import TrajectoryFile, read_trajectory
from inspatio.cameras.imported import has_motion, scaled_to
from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import FlightTrajectory
from inspatio.errors import ClipError, UsageError
from inspatio.geometry.imported import FilesGeometry, find_geometry
from inspatio.geometry.motion.backend import MotionGeometry
from inspatio.geometry.store import CAMERAS_FILE, DEPTH_FILE, Geometry, GeometryWriter, load_geometry
from inspatio.locations import cache
from inspatio.media import VideoInfo, probe
from inspatio.media.listing import is_video_name
from inspatio.scene import FOREGROUND_PERCENTILE
from inspatio.storage import atomic_folder

DEFAULT_REACH = 0.3
"""How far a followed path without depth goes from its start, in foreground depths."""
_FORMAT = 1
"""Raised when what is kept of an estimate changes."""

_log = logging.getLogger(__name__)


def follow(path: Path, reach: float | None = None) -> TrajectoryFile:
    """The camera of a clip, of a geometry folder or of a path file.

    Args:
        path: a video, a geometry folder of this project, or a camera path of any format.
        reach: the distance of the farthest camera from the first, in foreground depths of the new scene; None: as in
            the clip, or :data:`DEFAULT_REACH`.

    Raises:
        UsageError: the file cannot be read, or the camera does not move.
    """
    try:
        if is_video_name(path) and path.is_file():
            return _follow_video(path, reach)
        if (path / DEPTH_FILE).is_file():
            return _follow_geometry(path, load_geometry(path), (path / "cameras.json", path / DEPTH_FILE), reach)
    except ClipError as error:
        raise UsageError(f"follow: {error}") from None
    found = read_trajectory(path)
    if not isinstance(found.trajectory, FlightTrajectory):
        raise UsageError(f"follow({path}): a file of keyframes is for any scene already. Use it without follow")
    first = invert(found.trajectory.key_poses[:1])
    flight = replace(FlightTrajectory(first @ found.trajectory.key_poses), zoom=(1.0,))
    if not has_motion(flight.key_poses):
        raise UsageError(f"follow({path}): its camera does not move; expected one that does")
    reach = DEFAULT_REACH if reach is None else reach
    note = f"{path.name}: has no depth, so its farthest camera is put at {reach:g} foreground depths (reach=..)"
    return TrajectoryFile(scaled_to(flight, reach), found.files, (note,))


def _follow_video(path: Path, reach: float | None) -> TrajectoryFile:
    video, beside = probe(path), find_geometry(path)
    if beside is None:
        geometry = load_geometry(_estimated(video))
        found = _follow_geometry(path, geometry, (path,), reach)
        return replace(found, notes=(*found.notes, *geometry.settings["notes"]))
    with TemporaryDirectory(prefix="inspatio-followed-") as folder:
        FilesGeometry(beside).estimate(video, Path(folder), lambda done, total: None)
        files = (path, *sorted(each for each in beside.rglob("*") if each.is_file()))
        return _follow_geometry(path, load_geometry(Path(folder)), files, reach)


def _estimated(video: VideoInfo) -> Path:
    """The camera of a clip by its motion: a geometry folder with the depth of the first frame alone.

    It is kept in the user's cache by the clip's content and what it is estimated with, so that the next run, which
    reads its trajectory anew, does not estimate again.

    Raises:
        UsageError: the clip does not show how its camera moves.
    """
    backend = MotionGeometry(None)
    with video.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    made_from = json.dumps([_FORMAT, content, backend.fingerprint(video)], sort_keys=True)
    kept = cache() / "followed" / hashlib.sha256(made_from.encode()).hexdigest()[:24]
    if (kept / CAMERAS_FILE).is_file():
        return kept
    _log.info("follow: estimating the camera of %s (%d frames); it is kept", video.path.name, video.frame_count)
    with TemporaryDirectory(prefix="inspatio-followed-") as folder:
        summary = backend.estimate(video, Path(folder), lambda done, total: None)
        notes = list(summary.notes)
        if summary.scale == "prior":
            raise UsageError(
                f"follow({video.path}): its camera could not be estimated: {'; '.join(notes) or 'it does not move'}. "
                "Put geometry beside the clip, or give a camera path"
            )
        found = load_geometry(Path(folder))
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(kept) as made:
            height, width = found.depth.shape[1:]
            writer = GeometryWriter(made, found.image_size, (height, width), found.frame_count, same_depth=True)
            writer.write(found.depth[:1])
            facts = {"followed": video.path.name, "notes": notes}
            writer.finish(found.intrinsics, found.world_to_camera, found.scale, found.backend, facts)
    return kept


def _follow_geometry(path: Path, geometry: Geometry, files: tuple[Path, ...], reach: float | None) -> TrajectoryFile:
    poses = invert(geometry.world_to_camera)
    depth = np.asarray(geometry.depth[0], np.float32)
    known = depth[np.isfinite(depth) & (depth > 0)]
    if known.size == 0:
        raise UsageError(f"follow({path}): its first frame has no depth, so its camera has no scale; expected some")
    foreground = float(np.percentile(known, FOREGROUND_PERCENTILE))
    if not has_motion(poses, foreground):
        raise UsageError(f"follow({path}): its camera does not move; expected one that does")
    poses[:, :3, 3] /= foreground
    flight = FlightTrajectory(poses, unit="foreground", focal=geometry.intrinsics[:, 0, 0] / geometry.image_size[1])
    flight = replace(flight, source_focal=float(geometry.intrinsics[0, 0, 0]) / geometry.image_size[1])
    farthest = float(np.linalg.norm(poses[:, :3, 3], axis=1).max())
    if reach is not None:
        flight, farthest = scaled_to(flight, reach), reach
    note = f"{path.name}: {len(poses)} cameras, as far as {farthest:.2g} foreground depths from the first"
    return TrajectoryFile(flight, files, (note,))
