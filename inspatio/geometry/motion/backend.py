"""Geometry backend ``motion``: depth and cameras of a clip whose camera moves, without any network or weights.

    tracks.py      corners followed through the clip; cuts and keyframes
    pieces.py      shots, and long shots in overlapping parts, so that memory does not grow with the clip
    solve.py       cameras of a piece: of keyframes by mapper.py (pycolmap, in a process of its own), then poses.py
    depth.py       depth of every frame: optical flow triangulated between keyframes, carried to the frames between
    views.py       the same for a few views of one place, which are too far apart to be followed

A piece whose cameras cannot be found (a camera that stands still or only turns, no texture, too much that moves by
itself) gets the prior of ``plane.py``, and ``cameras.json`` records for all frames which they have and why. Scale is
free; each shot has a foreground depth of about 1, like the prior, and its own world, which begins at its first camera.

The result is the same bytes in every run on one machine with the same libraries.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert, relative_to_first
from inspatio.errors import ClipError
from inspatio.geometry.backend import GeometryBackend, GeometrySummary
from inspatio.geometry.motion.depth import Stretch, depth_maps
from inspatio.geometry.motion.mapper import MAPPER_COMMAND
from inspatio.geometry.motion.pieces import Piece, divide, shrunk
from inspatio.geometry.motion.poses import Lens
from inspatio.geometry.motion.solve import MAPPER_LIMIT_S, Solution, Unsolvable, solve
from inspatio.geometry.motion.tracks import Grey, TrackedFrame, track
from inspatio.geometry.motion.views import solve_views, view_depth
from inspatio.geometry.plane import PlaneGeometry, plane_depth, plane_intrinsics
from inspatio.geometry.store import GeometryWriter
from inspatio.media import SourceInfo, SourceReader, is_still, open_source
from inspatio.media.lens_metadata import focal_length_in_pixels
from inspatio.media.pictures import PictureInfo
from inspatio.scene import FOREGROUND_PERCENTILE
from inspatio.types import Intrinsics, Progress, WorldToCamera

VERSION, VIEWS_VERSION = 4, 2
TRACKED_LONGEST = 832
"""Longer side in pixels of the frames that corners are tracked in."""
MAP_LONGEST = 416
"""Longer side of the depth maps."""
NO_PYCOLMAP = "pycolmap is not installed (it has no wheel for this system)"


@dataclass(frozen=True)
class MotionGeometry:
    """Backend ``motion``.

    ``focal`` is the focal length in pixels of the upright source frame, where it is known; else it is estimated, from
    what the file's metadata say of the lens or from a usual one. ``otherwise`` takes the
    clips of which no frame's camera can be found. ``mapper`` is killed after ``mapper_limit_s``
    seconds of computing.
    """

    focal: float | None = None
    otherwise: GeometryBackend = field(default_factory=PlaneGeometry)
    mapper: Sequence[str] = MAPPER_COMMAND
    mapper_limit_s: float = MAPPER_LIMIT_S

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        """Options, and the versions of the libraries that the numbers come from."""
        hint = _focal_hint(video)
        return {
            "backend": "motion",
            "version": VERSION,
            "focal": self.focal,
            "otherwise": self.otherwise.fingerprint(video),
            "pycolmap": version("pycolmap") if _has_pycolmap() else None,
            "opencv": cv2.__version__,
            # Geometry from before metadata were read stays good where there are none.
            **({} if hint is None else {"focal_start": round(hint, 3)}),
            **({"views": VIEWS_VERSION} if is_still(video) and video.frame_count > 1 else {}),
        }

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the clip's geometry into the empty ``folder``; see the module docstring for the steps."""
        result = _Result(video, folder)
        if not _has_pycolmap():
            return self._otherwise(video, folder, NO_PYCOLMAP, progress)
        if is_still(video) and video.frame_count > 1:
            return self._of_views(video, folder, progress)
        tracked_size = _size_within(video.size, TRACKED_LONGEST)
        # Tracking is about a quarter of the work of a frame.
        total = 4 * video.frame_count

        def tracked(reader: SourceReader) -> Iterator[tuple[TrackedFrame, Grey]]:
            greys: list[Grey] = []

            def read() -> Iterator[Grey]:
                for index in range(video.frame_count):
                    greys[:] = [cv2.cvtColor(reader.read([index])[0], cv2.COLOR_RGB2GRAY)]
                    yield greys[0]

            for frame in track(read()):
                progress(frame.index + 1 + 3 * result.frames, total)
                yield frame, greys[0]

        hint = _focal_hint(video)
        focal, start = (None if f is None else f * tracked_size[1] / video.size[1] for f in (self.focal, hint))
        previous: tuple[Piece, Solution] | None = None
        with open_source(video, tracked_size, "stretch") as reader:
            for piece in divide(tracked(reader), result.map_size):
                joins = previous if not piece.starts_shot else None
                try:
                    lens = joins[1].lens if joins else None
                    solution = solve(
                        piece.frames,
                        tracked_size,
                        lens,
                        focal,
                        focal_start=start,
                        limit_s=self.mapper_limit_s,
                        command=self.mapper,
                    )
                except Unsolvable as error:
                    result.add_prior(piece, error)
                    previous = None
                    continue
                solution = _joined(piece, solution, *joins) if joins else _normalised(solution)
                for inverse in result.add_motion(piece, solution):
                    result.write(inverse)
                    progress(piece.frames[-1].index + 1 + 3 * result.frames, total)
                previous = piece, solution
        if result.reasons_for_nothing:
            return self._otherwise(video, folder, result.reasons_for_nothing, progress)
        return result.finish(progress)

    def _of_views(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """The geometry of several views of one place, which are no path to be followed."""
        size, map_size = _size_within(video.size, TRACKED_LONGEST), _size_within(video.size, MAP_LONGEST)
        hint = _focal_hint(video)
        focal, start = (None if f is None else f * size[1] / video.size[1] for f in (self.focal, hint))
        count = video.frame_count
        with open_source(video, size, "stretch") as reader:
            views = [cv2.cvtColor(reader.read([index])[0], cv2.COLOR_RGB2GRAY) for index in range(count)]
        try:
            solution = _normalised(
                solve_views(views, focal, focal_start=start, limit_s=self.mapper_limit_s, command=self.mapper)
            )
        except Unsolvable as error:
            return self._otherwise(video, folder, f"the views do not fit together: {error}", progress)
        lens = Lens(map_size, solution.lens.focal * map_size[1] / size[1], solution.lens.distortion)
        writer = GeometryWriter(folder, video.size, map_size, count)
        for done, inverse in enumerate(view_depth([shrunk(view, map_size) for view in views], solution, lens), start=1):
            writer.write(np.where(inverse > 0, 1 / np.maximum(inverse, 1e-6), 0).astype(np.float32)[None])
            progress(done, count)
        camera = _pinhole(solution.lens, video.size)
        facts = _solution_facts(camera, solution)
        writer.finish(camera, solution.world_to_camera, "relative", "motion", {"views": facts})
        notes = ()
        if count == 2 and self.focal is None:
            found = f"{camera[0, 0]:.0f} pixels was found"
            notes = (f"Two views hardly show their focal length ({found}). Give it by --focal, or add a view.",)
        return GeometrySummary("motion", "relative", count, notes)

    def _otherwise(self, video: SourceInfo, folder: Path, reason: str, progress: Progress) -> GeometrySummary:
        """The geometry of a clip without a single frame of known camera, and why it is not by motion."""
        try:
            summary = self.otherwise.estimate(video, folder, progress)
        except ClipError as error:
            raise ClipError(f"{error} {_sentence(f'nor by motion: {reason}')}") from error
        return replace(summary, notes=(_sentence(f"no geometry by motion: {reason}"), *summary.notes))


class _Result:
    """The geometry folder as it grows, and the record of which frames have which kind of geometry."""

    def __init__(self, video: SourceInfo, folder: Path) -> None:
        self._video, self._folder, self._prior = video, folder, PlaneGeometry()
        self.map_size = _size_within(video.size, MAP_LONGEST)
        self._writer: GeometryWriter | None = None
        self._intrinsics: list[Intrinsics] = []
        self._poses: list[WorldToCamera] = []
        self._runs: list[dict[str, Any]] = []
        self.frames = 0
        """Frames whose geometry is known or decided."""

    def add_prior(self, piece: Piece, error: Unsolvable) -> None:
        count = len(piece.own)
        camera = plane_intrinsics(self._video.size, self._prior.field_of_view_deg)
        self._intrinsics.append(np.tile(camera, (count, 1, 1)))
        self._poses.append(np.tile(np.eye(4), (count, 1, 1)))
        self._record(piece, "plane", because=error.kind, reason=str(error))
        if self._writer is not None:
            self._write_planes(count)
        self.frames += count

    def add_motion(self, piece: Piece, solution: Solution) -> Iterator[NDArray[np.float32]]:
        """Start a piece with cameras; returns the inverse depth of its own frames, to be written."""
        if self._writer is None:
            self._writer = GeometryWriter(self._folder, self._video.size, self.map_size, self._video.frame_count)
            self._write_planes(self.frames)
        lens = solution.lens
        camera = _pinhole(lens, self._video.size)
        self._intrinsics.append(np.tile(camera, (len(piece.own), 1, 1)))
        self._poses.append(solution.world_to_camera[piece.own.start : piece.own.stop])
        self._record(
            piece,
            "motion",
            **_solution_facts(camera, solution),
        )
        scale = self.map_size[1] / lens.size[1]
        keyframes = [place for place, frame in enumerate(piece.frames) if frame.is_keyframe]
        stretch = Stretch(
            piece.greys,
            Lens(self.map_size, lens.focal * scale, lens.distortion),
            solution.world_to_camera,
            [solution.points[at] for at in solution.visible],
            sorted({0, *keyframes, len(piece.frames) - 1}),
        )
        return depth_maps(stretch, piece.own)

    def write(self, inverse: NDArray[np.float32]) -> None:
        """Write the next frame's ``h w`` inverse depth."""
        assert self._writer is not None, "add_motion opens the writer"
        self._writer.write(1 / np.maximum(inverse, 1e-6)[None])
        self.frames += 1

    @property
    def reasons_for_nothing(self) -> str:
        """Why no piece has cameras; empty where one has."""
        if self._writer is not None:
            return ""
        return self._runs[0]["reason"] if len(self._runs) == 1 else "; ".join(self._reasons())

    def finish(self, progress: Progress) -> GeometrySummary:
        """Close the folder."""
        assert self._writer is not None, "a piece has cameras"
        self._writer.finish(
            np.concatenate(self._intrinsics), np.concatenate(self._poses), "relative", "motion", {"shots": self._runs}
        )
        count = self._video.frame_count
        progress(4 * count, 4 * count)
        notes = [*self._reasons()]
        prior = sum(run["last"] - run["first"] + 1 for run in self._runs if run["kind"] == "plane")
        if prior:
            notes.append(f"{prior} of {count} frames have a prior (a tilted plane) instead of depth")
        return GeometrySummary("motion", "relative", count, tuple(map(_sentence, notes)))

    def _reasons(self) -> Iterator[str]:
        for run in self._runs:
            if "reason" in run:
                yield f"frames {run['first']} to {run['last']}: {run['reason']}"

    def _record(self, piece: Piece, kind: str, **facts: Any) -> None:
        last = piece.first + len(piece.own) - 1
        self._runs.append({"first": piece.first, "last": last, "kind": kind, "cut": piece.starts_shot, **facts})

    def _write_planes(self, count: int) -> None:
        assert self._writer is not None, "the writer is open"
        plane = plane_depth(self.map_size, self._prior.far_to_near)
        for _ in range(count):
            self._writer.write(plane)


def _has_pycolmap() -> bool:
    return importlib.util.find_spec("pycolmap") is not None


def _focal_hint(video: SourceInfo) -> float | None:
    """The focal length in pixels that the source's file says, of views that of the first."""
    path = video.files[0] if isinstance(video, PictureInfo) else video.path
    return focal_length_in_pixels(path, video.size)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _size_within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(height, width) of the same shape, even and at most ``longest`` long; small frames keep their size."""
    if max(size) <= longest:
        return size
    scale = longest / max(size)
    return 2 * round(size[0] * scale / 2), 2 * round(size[1] * scale / 2)


def _solution_facts(camera: Intrinsics, solution: Solution) -> dict[str, float]:
    """What ``cameras.json`` records of cameras that were found."""
    return {
        "focal": round(float(camera[0, 0]), 2),
        "distortion": round(solution.lens.distortion, 5),
        "points": len(solution.points),
        "held_out_error_px": round(solution.held_out_error, 3),
    }


def _pinhole(lens: Lens, size: tuple[int, int]) -> Intrinsics:
    """``3 3`` intrinsics of the pinhole camera nearest to the lens (least squares), for frames of ``size``."""
    rows, columns = np.mgrid[: lens.size[0] : 8, : lens.size[1] : 8]
    square = (lens.rays(np.stack([columns, rows], axis=-1).astype(np.float64)) ** 2).sum(-1)
    focal = lens.focal * (1 + lens.distortion * (square**2).sum() / square.sum()) * size[1] / lens.size[1]
    return np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])


def _normalised(solution: Solution) -> Solution:
    """The same cameras in the world of the first, scaled so that the first frame's foreground depth is 1."""
    start = solution.world_to_camera[0]
    points = solution.points @ start[:3, :3].T + start[:3, 3]
    depth = points[solution.visible[0], 2]
    scale = 1 / float(np.percentile(depth[depth > 0], FOREGROUND_PERCENTILE))
    poses = relative_to_first(solution.world_to_camera)
    poses[:, :3, 3] *= scale
    return replace(solution, world_to_camera=poses, points=points * scale)


def _joined(piece: Piece, solution: Solution, before: Piece, known: Solution) -> Solution:
    """The same cameras in the world of the part of the shot before, which shares frames and tracks with this one."""
    place = piece.own.start
    there = piece.frames[place].index - before.frames[0].index
    pose, target = solution.world_to_camera[place], known.world_to_camera[there]
    _, ours, theirs = np.intersect1d(
        solution.point_ids[solution.visible[place]], known.point_ids[known.visible[there]], return_indices=True
    )
    depths = [
        (each.points[each.visible[at][chosen]] @ matrix[2, :3]) + matrix[2, 3]
        for each, at, chosen, matrix in ((solution, place, ours, pose), (known, there, theirs, target))
    ]
    scale = float(np.median(depths[1] / depths[0]))
    poses = solution.world_to_camera @ invert(pose)
    poses[:, :3, 3] *= scale
    points = scale * (solution.points @ pose[:3, :3].T + pose[:3, 3])
    to_world = invert(target)
    return replace(solution, world_to_camera=poses @ target, points=points @ to_world[:3, :3].T + to_world[:3, 3])
