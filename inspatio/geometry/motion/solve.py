"""Find the cameras of a stretch of frames from its tracks, or say why that cannot be done.

A camera that stands still, one that only turns, a picture without texture, or one that moves by itself give no depth.
Each is told apart before or after mapping, and reported as :class:`Unsolvable` with its kind, so that the caller can
take a prior and say why. One track in ten is kept from the mapper; how well these agree with the cameras found is the
measure of success that is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import interpolate, invert
from inspatio.geometry.motion.mapper import MAPPER_COMMAND, MapperError, Observations, map_keyframes
from inspatio.geometry.motion.poses import LEAST_POINTS, OUTLIER_PIXELS, Lens, locate
from inspatio.geometry.motion.tracks import TrackedFrame
from inspatio.types import WorldToCamera

Array = NDArray[np.float64]

Kind: TypeAlias = Literal["short", "texture", "still", "rotation", "moving", "mapper"]

LEAST_FRAMES = 8
LEAST_TRACKS = 60
"""Median number of tracks in a keyframe that also are in the keyframe before."""
LEAST_MOTION = 0.006
"""Largest median motion of the tracks between two keyframes, as a share of the longer side: below, it stands still."""
TURN_PIXELS = 1.0
"""What a turning camera sees is explained by one homography to this many pixels (at 832 wide)."""
TURN_SHARE = 0.9
LEAST_REGISTERED = 0.6
"""Share of the keyframes that the mapper must have placed."""
LEAST_EXPLAINED = 0.4
"""Share of the longer tracks that must be one scene at rest."""
LEAST_AT_REST = 0.6
"""Share of the tracks between two keyframes that one rigid motion of the camera explains, where the picture is mostly a
scene at rest: at least 0.9 in clips that are solved."""
NO_CAMERAS = "the mapper found no consistent cameras"
LEAST_ANGLE = 1.0
"""Degrees: the median angle under which a point is seen from the two ends of its track."""
LARGEST_HELD_OUT_ERROR = 2.0
"""Pixels: median reprojection error of the tracks that the mapper did not see."""
HELD_OUT = 10
"""Of so many tracks one is kept from the mapper."""
LONGEST_LOST = 8
"""Frames in a row whose poses may be interpolated."""
MAPPER_LIMIT_S = 300.0


class Unsolvable(Exception):
    """The stretch has no cameras; the message is the end of a sentence that begins with its frames."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind: Kind = kind


@dataclass(frozen=True, eq=False)
class Solution:
    """Cameras of ``n`` frames and the points that they were found with.

    ``visible`` holds for each frame the indices into ``points`` (``v 3``) of those it sees.
    """

    lens: Lens
    world_to_camera: WorldToCamera
    point_ids: NDArray[np.int64]
    points: Array
    visible: list[NDArray[np.int64]]
    held_out_error: float
    """Median in pixels, on tracks that the mapper did not see."""


def solve(
    frames: Sequence[TrackedFrame],
    size: tuple[int, int],
    lens: Lens | None = None,
    focal: float | None = None,
    *,
    focal_start: float | None = None,
    limit_s: float = MAPPER_LIMIT_S,
    command: Sequence[str] = MAPPER_COMMAND,
) -> Solution:
    """Find the cameras of consecutive frames of one shot.

    Args:
        frames: tracks of every frame; some are keyframes.
        size: (height, width) of the frames that were tracked.
        lens: the camera, where an earlier stretch of the shot has told it.
        focal: its focal length in pixels of these frames, where only that is known.
        focal_start: about that focal length, where something hints at it and it is to be estimated.
        limit_s: seconds of computing after which the mapper is killed.
        command: the mapper's program.

    Raises:
        Unsolvable: the frames do not show their cameras; kind and message say why.
    """
    keyframes = [frame for frame in frames if frame.is_keyframe]
    _check_motion(frames, keyframes, max(size))
    shown = [frame.ids % HELD_OUT != 0 for frame in keyframes]
    observations = Observations(
        size,
        [frame.ids[kept] for frame, kept in zip(keyframes, shown, strict=True)],
        [frame.points[kept] for frame, kept in zip(keyframes, shown, strict=True)],
        focal=lens.focal if lens else focal,
        distortion=lens.distortion if lens else None,
        focal_start=focal_start,
    )
    try:
        found = map_keyframes(observations, limit_s, command)
    except MapperError as error:
        raise Unsolvable("mapper", f"{error}") from None
    registered = np.isfinite(found.world_to_camera[:, 0, 0])
    if registered.mean() < LEAST_REGISTERED:
        at_rest = _share_at_rest(keyframes, max(size))
        if at_rest < LEAST_AT_REST:
            raise Unsolvable(
                "moving", f"what fills the picture moves by itself ({at_rest:.0%} of it could be one scene at rest)"
            )
        fit = f"only {registered.sum()} of {len(keyframes)} keyframes fit together" if registered.any() else NO_CAMERAS
        raise Unsolvable("mapper", fit)
    ids, counts = np.unique(np.concatenate(observations.ids), return_counts=True)
    explained = np.isin(ids[counts >= 3], found.point_ids).mean()
    if explained < LEAST_EXPLAINED:
        raise Unsolvable("moving", f"most of what is seen moves by itself ({explained:.0%} of the tracks stand still)")
    lens = Lens(size, found.focal, found.distortion)
    visible = [np.flatnonzero(np.isin(found.point_ids, frame.ids)) for frame in frames]
    starts = dict(zip((frame.index for frame in keyframes), found.world_to_camera, strict=True))
    poses = _locate_all(frames, found.point_ids, found.points, visible, lens, starts)
    angle = median_angle(found.points, visible, poses)
    if angle < LEAST_ANGLE:
        raise Unsolvable("rotation", f"the camera hardly moves from its place (points are seen under {angle:.1f} deg)")
    error = held_out_error(frames, poses, lens)
    if not error < LARGEST_HELD_OUT_ERROR:
        raise Unsolvable("mapper", f"the cameras found are off by {error:.1f} pixels on tracks kept back")
    return Solution(lens, poses, found.point_ids, found.points, visible, error)


def _check_motion(frames: Sequence[TrackedFrame], keyframes: Sequence[TrackedFrame], longest: int) -> None:
    if len(frames) < LEAST_FRAMES:
        raise Unsolvable("short", f"{len(frames)} frames are too few to see the camera move")
    stops = [*keyframes, *([] if frames[-1].is_keyframe else [frames[-1]])]
    common = [len(np.intersect1d(a.ids, b.ids, assume_unique=True)) for a, b in pairwise(stops)]
    if np.median(common) < LEAST_TRACKS:
        raise Unsolvable("texture", f"there is too little texture to follow ({np.median(common):.0f} points)")
    motions, turns = [], []
    for place, first in enumerate(stops):
        for second in stops[:place:-1]:  # the farthest that still shares enough
            _, a, b = np.intersect1d(first.ids, second.ids, assume_unique=True, return_indices=True)
            if len(a) >= LEAST_TRACKS:
                motions.append(float(np.median(np.linalg.norm(second.points[b] - first.points[a], axis=1))))
                turns.append(_turning_share(first.points[a], second.points[b], longest))
                break
    if max(motions, default=0.0) < LEAST_MOTION * longest:
        raise Unsolvable("still", "the camera stands still")
    if len(keyframes) < 3:
        raise Unsolvable("short", f"the camera hardly moves within {len(frames)} frames")
    if min(turns) > TURN_SHARE:
        raise Unsolvable("rotation", "the camera only turns, or looks at one flat surface")


def _turning_share(first: NDArray[np.float32], second: NDArray[np.float32], longest: int) -> float:
    """The share of points (``v 2`` each) whose motion one homography explains, as it does for a camera that turns."""
    limit = TURN_PIXELS * max(longest / 832, 0.5)
    homography, _ = cv2.findHomography(first, second, cv2.USAC_DEFAULT, limit)
    if homography is None:
        return 0.0
    moved = cv2.perspectiveTransform(first[:, None], homography)[:, 0]
    return float((np.linalg.norm(moved - second, axis=1) < limit).mean())


def _share_at_rest(keyframes: Sequence[TrackedFrame], longest: int) -> float:
    """The share of the tracks that one fundamental matrix explains between keyframes, median over the clip."""
    limit = TURN_PIXELS * max(longest / 832, 0.5)
    shares = []
    for first, second in zip(keyframes, keyframes[2:], strict=False):
        _, a, b = np.intersect1d(first.ids, second.ids, assume_unique=True, return_indices=True)
        if len(a) >= LEAST_TRACKS:
            _, fits = cv2.findFundamentalMat(first.points[a], second.points[b], cv2.USAC_DEFAULT, limit)
            shares.append(0.0 if fits is None else float(np.mean(fits)))
    return float(np.median(shares)) if shares else 1.0


def _locate_all(
    frames: Sequence[TrackedFrame],
    point_ids: NDArray[np.int64],
    points: Array,
    visible: Sequence[NDArray[np.int64]],
    lens: Lens,
    starts: dict[int, WorldToCamera],
) -> WorldToCamera:
    """The pose of every frame: forward from the first keyframe that is known, then backward from it."""
    poses = np.full((len(frames), 4, 4), np.nan)
    begin = next(place for place, frame in enumerate(frames) if np.isfinite(starts.get(frame.index, np.nan)).all())
    for places in (range(begin, len(frames)), range(begin - 1, -1, -1)):
        near = starts[frames[begin].index]
        for place in places:
            frame = frames[place]
            at = visible[place]
            seen = np.searchsorted(frame.ids, point_ids[at])
            start = starts.get(frame.index, near)
            if len(at) < LEAST_POINTS:
                continue
            start = start if np.isfinite(start).all() else near
            pose, error = locate(points[at], lens.rays(frame.points[seen].astype(np.float64)), start, lens.focal)
            if (error < OUTLIER_PIXELS).sum() >= max(LEAST_POINTS, 0.3 * len(at)):
                poses[place] = near = pose
    return _interpolated(poses)


def _interpolated(poses: WorldToCamera) -> WorldToCamera:
    """Short gaps of poses (NaN) closed between their neighbours; at an end the neighbour is repeated."""
    known = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    gaps = np.diff(np.concatenate([[-1], known, [len(poses)]])) - 1
    if gaps.max() > LONGEST_LOST:
        raise Unsolvable("mapper", f"the camera is lost for {gaps.max()} frames")
    filled = poses[known[np.searchsorted(known, np.arange(len(poses))).clip(max=len(known) - 1)]]
    for before, after in pairwise(known):
        inside = np.arange(before + 1, after)
        if len(inside):
            ends = [np.broadcast_to(poses[end], (len(inside), 4, 4)) for end in (before, after)]
            filled[inside] = interpolate(ends[0], ends[1], (inside - before) / (after - before))
    filled[: known[0]] = poses[known[0]]
    return filled


def median_angle(points: Array, visible: Sequence[NDArray[np.int64]], poses: WorldToCamera) -> float:
    """Degrees between the directions from a point to the first and the last camera that see it, median."""
    centres = invert(poses)[:, :3, 3]
    first, last = np.full(len(points), -1), np.full(len(points), -1)
    for place, at in enumerate(visible):
        first[at[first[at] < 0]] = place
        last[at] = place
    used = first >= 0
    a, b = (centres[ends[used]] - points[used] for ends in (first, last))
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(np.rad2deg(np.median(np.arccos(np.clip(cosine, -1, 1)))))


def held_out_error(frames: Sequence[TrackedFrame], poses: WorldToCamera, lens: Lens, least_seen: int = 4) -> float:
    """Median reprojection error in pixels of the tracks that were kept from the mapper, each triangulated here; those
    count that ``least_seen`` frames see."""
    chosen = [frame.ids % HELD_OUT == 0 for frame in frames]
    ids = np.concatenate([frame.ids[kept] for frame, kept in zip(frames, chosen, strict=True)])
    pixels = np.concatenate([frame.points[kept] for frame, kept in zip(frames, chosen, strict=True)]).astype(float)
    place = np.repeat(np.arange(len(frames)), [int(kept.sum()) for kept in chosen])
    _, track, count = np.unique(ids, return_inverse=True, return_counts=True)
    long = count[track] >= least_seen
    pixels, place, track = pixels[long], place[long], track[long]
    rays = lens.rays(pixels)
    directions = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    directions = np.einsum("vji,vj->vi", poses[place, :3, :3], directions)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The point nearest to all rays of a track: sum over them of (I - d d^T) (x - c) = 0.
    across = np.eye(3) - directions[:, :, None] * directions[:, None]
    centres = invert(poses)[place, :3, 3]
    left, right = np.zeros((len(count), 3, 3)), np.zeros((len(count), 3))
    np.add.at(left, track, across)
    np.add.at(right, track, np.einsum("vij,vj->vi", across, centres))
    left += 1e-9 * np.eye(3)
    points = np.linalg.solve(left, right[..., None])[..., 0][track]
    camera = np.einsum("vij,vj->vi", poses[place, :3, :3], points) + poses[place, :3, 3]
    ahead = camera[:, 2] > 0
    seen = lens.pixels(camera[:, :2] / np.where(ahead, camera[:, 2], 1)[:, None])
    error = np.where(ahead, np.linalg.norm(seen - pixels, axis=1), np.inf)
    return float(np.median(error)) if len(error) else np.inf
