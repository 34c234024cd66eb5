"""Depth of every frame of a moving camera whose poses are known, from optical flow.

Keyframes: DIS optical flow (Kroeger et al. 2016) to up to six frames with useful parallax on both sides, each pixel
triangulated with the known poses where its flow returns and lies on its epipolar line, and the weighted median taken.
What comes out far and yet hides what is nearer goes along its epipolar lines, and its depth does not count.
What that leaves open (occlusions, surfaces without texture) is filled with an edge-aware smoother (Min et al. 2014),
guided by the picture and tied to the sparse points. What moves by itself is told by its flow to the next frame, which
its filled depth cannot explain. It gets one depth: that of the same surface in the keyframe before, carried along the
flow, together with a guess from this one, the depth of the nearest surfaces around its lower edge (something that moves
stands in front of what it hides, and mostly on what is below it). A surface that was seen at rest counts as many
guesses, so that it keeps its depth when it starts to move.

Frames between keyframes carry the depth of both along the flow, so that a surface keeps its depth in time whether it
moves or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.geometry.motion.poses import Lens
from inspatio.geometry.motion.tracks import Grey
from inspatio.geometry.motion.triangulate import carry, smooth_pass, triangulate, weighted_median
from inspatio.types import WorldToCamera

Map = NDArray[np.float32]

PARALLAX = (0.008, 0.018, 0.03)
"""Wanted parallax of the median point between a keyframe and its neighbours, as shares of the longer side."""
MOST_APART = 90
"""Frames between a keyframe and its farthest neighbour."""
LEAST_IN_VIEW = 0.5
"""A neighbour sees at least this share of the keyframe's points."""
LARGEST_RETURN = 0.75
LARGEST_MISS = 0.5
"""Pixels of the depth maps, at 416 wide; see ``triangulate``."""
TRUSTED_PARALLAX = 2.0
"""Pixels of the depth map: a triangulated depth counts where a median point's parallax, all neighbours together, is
above this."""
SMOOTHING = 1000.0
EDGE_STEP = 6.0
"""Grey levels over which the smoother's links decay."""
MOVING_PIXELS, MOVING_RATIO = 0.6, 4.0
"""What moves by itself is this far from where it should be, in pixels of the depth map from one frame to the next, and
so many times as far as the median of what stands still."""
LEAST_MOVING_AREA = 0.0006
"""As a share of the frame; smaller spots are noise of the flow."""
FAR_PERCENTILE, FARTHER = 98.0, 1.5
"""What is so many times as far as this percentile of the sparse points is sky, or goes along its epipolar lines."""
LEAST_HIDDEN, HIDDEN_SHARE = 4, 0.25
"""It is the latter where it hides so many sparse points that are nearer, and this share of what is usual."""
AT_REST = 20.0
"""How many guesses the depth of a surface seen at rest counts for; also the most that guesses add up to."""
LEAST_CARRIED = 0.5
"""Share of a moving thing that must be found in the keyframe before for its depth there to count."""
CARRIED_MISS = 1.0
"""Carried depth counts as that of a surface at rest up to this many pixels."""
LARGEST_CHANGE = 16.0
"""Grey levels by which a pixel and the one its depth is carried from may differ."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Frames whose poses are known in one world.

    ``greys`` are ``h w`` uint8 at the size of the depth maps and of ``lens``; ``world_to_camera`` is ``n 4 4``;
    ``visible`` gives for each frame the sparse points it sees, ``v 3`` in the world. ``keyframes`` are ascending and
    hold the first and the last frame.
    """

    greys: Sequence[Grey]
    lens: Lens
    world_to_camera: WorldToCamera
    visible: Sequence[NDArray[np.float64]]
    keyframes: Sequence[int]


def depth_maps(stretch: Stretch, wanted: range) -> Iterator[Map]:
    """Yield the inverse depth (``h w``, everywhere known) of the wanted frames in order."""
    estimator = _Estimator(stretch)
    before, known = -1, None
    for after in stretch.keyframes:
        if after < wanted.start:
            before = after
            continue
        if before >= wanted.stop:
            return
        if known is None and before >= 0 and after > wanted.start:
            known = estimator.keyframe(before)
        following = estimator.keyframe(after)
        for frame in range(before + 1, after):
            if frame in wanted:
                assert known is not None, "the first keyframe is the first frame"
                yield estimator.between(frame, (before, known), (after, following))
        if after in wanted:
            yield following
        before, known = after, following


class _Estimator:
    def __init__(self, stretch: Stretch) -> None:
        self._at = stretch
        height, width = stretch.lens.size
        rows, columns = np.mgrid[:height, :width]
        self._rays = stretch.lens.rays(np.stack([columns, rows], axis=-1).astype(np.float64)).astype(np.float32)
        self._before: tuple[int, Map, Map] | None = None
        """The last keyframe, its inverse depth, and how many guesses each pixel's counts for."""
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flow.setFinestScale(0)

    def keyframe(self, frame: int) -> Map:
        """The filled inverse depth of a frame from its flow to others."""
        inverse, weight = self._triangulated(frame)
        points = self._points(frame)
        middle = float(np.median(1 / points[:, 2]))
        trusted = np.sqrt(weight) * middle > TRUSTED_PARALLAX
        trusted &= ~self._hiding_what_is_nearer(frame, np.where(trusted, inverse, 0), points)
        guide = self._at.greys[frame]
        sparse, at = self._sparse(points)
        inverse[~trusted] = 0
        known = trusted.astype(np.float32)
        open_ = sparse & ~trusted
        inverse[open_], known[open_] = at[open_], 0.1
        filled = np.where(trusted, inverse, fill(inverse, known, guide))
        moving, guesses = self._moving(frame, filled, trusted)
        inverse = np.where(moving > 0, moving, filled).astype(np.float32)
        self._before = frame, inverse, np.where(trusted, np.float32(AT_REST), guesses)
        return inverse

    def _carried(self, frame: int) -> tuple[Map, Map]:
        """Inverse depth carried from the keyframe before (0 unknown), and the guesses that it counts for."""
        size, lens = self._at.lens.size, self._at.lens
        inverse, weight = np.zeros(size, np.float32), np.zeros(size, np.float32)
        if self._before is not None:
            source, known, guesses = self._before
            flow = self._flow_between(frame, source)
            miss = np.empty(size, np.float32)
            carry(flow, self._rays, self._pose(source, frame), known, lens.focal, lens.distortion, inverse, miss)
            weight = np.where(self._looks_alike(frame, source, flow), _along(guesses, flow, cv2.INTER_NEAREST), 0)
        return inverse, weight

    def _looks_alike(self, frame: int, other: int, flow: Map) -> NDArray[np.bool_]:
        """``h w``: whether a pixel and the one that its flow leads to in another frame are about as bright."""
        greys = self._at.greys
        return cv2.absdiff(_along(greys[other], flow, cv2.INTER_LINEAR), greys[frame]) <= LARGEST_CHANGE

    def between(self, frame: int, before: tuple[int, Map], after: tuple[int, Map]) -> Map:
        """The inverse depth of a frame carried from its two keyframes; each counts by how near it is in time."""
        size, lens = self._at.lens.size, self._at.lens
        total, known, nearest = np.zeros(size, np.float32), np.zeros(size, np.float32), abs(after[0] - before[0])
        for source, inverse in (before, after):
            flow = self._flow_between(frame, source)
            carried, miss = np.empty(size, np.float32), np.empty(size, np.float32)
            carry(flow, self._rays, self._pose(source, frame), inverse, lens.focal, lens.distortion, carried, miss)
            same = self._looks_alike(frame, source, flow)
            share = 1 - abs(frame - source) / nearest
            # What stands still is carried exactly; what does not only where no keyframe shows it at rest.
            weight = np.where(miss < CARRIED_MISS, share, 0.01 * share) * (same & (carried > 0))
            total += weight * carried
            known += weight
        inverse = np.where(known > 0, total / np.maximum(known, 1e-9), 0)
        return np.where(known > 0, inverse, fill(inverse, (known > 0).astype(np.float32), self._at.greys[frame]))

    def _flow_between(self, source: int, target: int) -> Map:
        """``h w 2`` optical flow (columns, rows) in pixels from one frame to another."""
        greys = self._at.greys
        return self._flow.calc(greys[source], greys[target], None)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def _pose(self, source: int, target: int) -> NDArray[np.float64]:
        return self._at.world_to_camera[target] @ invert(self._at.world_to_camera[source])

    def _points(self, frame: int) -> NDArray[np.float64]:
        """The sparse points that a frame sees, in its camera."""
        pose = self._at.world_to_camera[frame]
        points = self._at.visible[frame] @ pose[:3, :3].T + pose[:3, 3]
        return points[points[:, 2] > 0]

    def _sparse(self, points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], Map]:
        """Where the frame's map has a sparse point, and the points' inverse depth there."""
        height, width = self._at.lens.size
        column, row = np.rint(self._at.lens.pixels(points[:, :2] / points[:, 2:])).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        inverse = np.zeros((height, width), np.float32)
        inverse[row[inside], column[inside]] = 1 / points[inside, 2]
        return inverse > 0, inverse

    def _triangulated(self, frame: int) -> tuple[Map, Map]:
        """Inverse depth (0 unknown) and weight, the median over the frame's neighbours."""
        flows = (
            (self._flow_between(frame, other), self._flow_between(other, frame), self._pose(frame, other))
            for other in self._neighbours(frame)
        )
        return triangulate_flows(flows, self._rays, self._at.lens)

    def _hiding_what_is_nearer(self, frame: int, inverse: Map, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where a frame's inverse depth (0 unknown) is of something far that hides what is nearer, as nothing can.

        Something that goes along its epipolar lines passes every check of triangulation and comes out too far. It is
        told from sky by the sparse points of other frames that lie before it and yet are not seen here.
        """
        height, width = inverse.shape
        far = FARTHER * float(np.percentile(points[:, 2], FAR_PERCENTILE))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
        suspects = cv2.morphologyEx(((inverse > 0) & (inverse < 1 / far)).astype(np.uint8), cv2.MORPH_CLOSE, disc)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(suspects)
        if count == 1:
            return np.zeros((height, width), np.bool_)
        nearby = range(max(frame - MOST_APART, 0), min(frame + MOST_APART + 1, len(self._at.greys)))
        elsewhere = np.unique(np.concatenate([self._at.visible[other] for other in nearby]), axis=0)
        pose = self._at.world_to_camera[frame]
        elsewhere = elsewhere @ pose[:3, :3].T + pose[:3, 3]
        expected, nearer = self._sparse(elsewhere[elsewhere[:, 2] > 0])
        hidden = expected & (inverse > 0) & (nearer > FARTHER * inverse)
        usual = expected.mean()
        untrue = np.zeros((height, width), np.bool_)
        for label in range(1, count):
            own = labels == label
            found = int(np.count_nonzero(hidden & own))
            if found >= LEAST_HIDDEN and found >= HIDDEN_SHARE * usual * stats[label, cv2.CC_STAT_AREA]:
                untrue |= own
        return untrue

    def _neighbours(self, frame: int) -> list[int]:
        """The nearest frames on both sides at which the parallax reaches each wanted size, or comes nearest to it."""
        wanted = [share * max(self._at.lens.size) for share in PARALLAX]
        found: list[int] = []
        sides = [self._parallax(frame, step) for step in (-1, 1)]
        for side, other in zip(sides, reversed(sides), strict=True):
            # Where the clip ends too early on one side, the other side gives more.
            levels = wanted if other and max(other.values()) >= wanted[0] else [*wanted, 1.5 * wanted[-1]]
            for level in levels:
                reached = [at for at, parallax in side.items() if parallax >= level]
                if reached:
                    found.append(reached[0])
            if side and max(side.values()) < levels[-1]:
                found.append(max(side, key=lambda at: side[at]))
        return sorted(set(found))

    def _parallax(self, frame: int, step: int) -> dict[int, float]:
        """Median parallax in pixels between a frame and those on one side, as far as they see the same."""
        lens, points = self._at.lens, self._points(frame)
        stop = frame + step * MOST_APART
        parallax = {}
        for other in range(frame + step, min(max(stop, -1), len(self._at.greys)), step):
            pose = self._pose(frame, other)
            turned = points @ pose[:3, :3].T
            moved = turned + pose[:3, 3]
            ahead = (moved[:, 2] > 0) & (turned[:, 2] > 0)
            if not ahead.any():
                break
            turned, moved = turned[ahead], moved[ahead]
            pixels = lens.pixels(moved[:, :2] / moved[:, 2:])
            inside = ((pixels >= 0) & (pixels <= np.array(lens.size[::-1]) - 1)).all(axis=1)
            if inside.sum() < LEAST_IN_VIEW * len(points):
                break
            shift = moved[:, :2] / moved[:, 2:] - turned[:, :2] / turned[:, 2:]
            parallax[other] = lens.focal * float(np.median(np.linalg.norm(shift, axis=1)))
        return parallax

    def _moving(self, frame: int, filled: Map, trusted: NDArray[np.bool_]) -> tuple[Map, Map]:
        """Inverse depth of what moves by itself, and the guesses that it is made of; 0 elsewhere."""
        size, lens = self._at.lens.size, self._at.lens
        moves = ~trusted
        rows, columns = np.indices(size, np.float32)
        for other in (frame - 1, frame + 1):
            if not 0 <= other < len(self._at.greys):
                continue
            flow = self._flow_between(frame, other)
            pose = self._pose(frame, other)
            camera = self._rays @ pose[:3, :2].T.astype(np.float32) + pose[:3, 2].astype(np.float32)
            camera += filled[..., None] * pose[:3, 3].astype(np.float32)
            still = lens.pixels(camera[..., :2] / np.maximum(camera[..., 2:], 1e-9)) - np.stack([columns, rows], -1)
            miss = np.linalg.norm(flow - still, axis=-1)
            usual = float(np.median(miss[trusted])) if trusted.any() else 0.0
            moves &= miss > max(MOVING_PIXELS, MOVING_RATIO * usual)
            moves &= self._looks_alike(frame, other, flow)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
        mask = cv2.morphologyEx(moves.astype(np.uint8), cv2.MORPH_CLOSE, disc)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        inverse, guesses = np.zeros(size, np.float32), np.zeros(size, np.float32)
        carried, weight = self._carried(frame)
        for label in range(1, count):
            top, height, area = stats[label, [cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA]]
            if area < LEAST_MOVING_AREA * mask.size:
                continue
            own = labels == label
            ring = cv2.dilate(own.astype(np.uint8), disc, iterations=2).astype(bool) & ~own & trusted
            lower = ring & (rows >= top + 0.75 * height)
            around = filled[lower] if lower.sum() >= 8 else filled[ring]
            known = own & (weight > 0) & (carried > 0)
            total, number = (float(np.median(around)), 1.0) if around.size else (0.0, 0.0)
            if known.sum() >= LEAST_CARRIED * own.sum():
                past = float(np.median(weight[known]))
                total, number = total + past * float(np.median(carried[known])), number + past
            if number > 0:
                inverse[own], guesses[own] = total / number, min(number, AT_REST)
        return inverse, guesses


def _along(values: NDArray, flow: Map, filter_: int) -> NDArray:
    """``h w``: a map of another frame, looked up where the flow of each pixel leads."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    return cv2.remap(values, columns + flow[..., 0], rows + flow[..., 1], filter_)


def triangulate_flows(
    flows: Iterable[tuple[NDArray[np.float32], NDArray[np.float32], WorldToCamera]], rays: Map, lens: Lens
) -> tuple[Map, Map]:
    """Inverse depth (0 unknown) of a frame and its weight, both ``h w``: the weighted median over its flows.

    A flow is that to another frame and back (``h w 2``, pixels), with the other's pose relative to this frame
    (``4 4``); ``rays`` are those of the pixels.
    """
    inverse, weight = [], []
    for there, back, pose in flows:
        inverse.append(np.zeros(lens.size, np.float32))
        weight.append(np.zeros(lens.size, np.float32))
        triangulate(
            there, back, rays, pose, lens.focal, lens.distortion, LARGEST_RETURN, LARGEST_MISS, inverse[-1], weight[-1]
        )
    median, total = np.zeros(lens.size, np.float32), np.zeros(lens.size, np.float32)
    if inverse:
        weighted_median(np.stack(inverse), np.stack(weight), median, total)
    return median, total


def fill(inverse: Map, known: Map, guide: Grey) -> Map:
    """Spread known inverse depth (weight ``known``, 0 unknown) over the whole map, along but not across edges of the
    grey ``guide``: three passes of the fast global smoother on each axis."""
    grey = guide.astype(np.float32)
    across = np.exp(-np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) / EDGE_STEP)
    down = np.ascontiguousarray(np.exp(-np.abs(np.diff(grey, axis=0, append=grey[-1:])) / EDGE_STEP).T)
    value, weight = inverse * known, known.astype(np.float32).copy()
    passes = 3
    for index in range(passes):
        # The strengths fall by four from pass to pass and add up to SMOOTHING.
        strength = 3 * SMOOTHING * 4 ** (passes - 1 - index) / (4**passes - 1)
        for links in (across, down):
            smooth_pass(value, weight, links, strength)
            value, weight = np.ascontiguousarray(value.T), np.ascontiguousarray(weight.T)
    return (value / np.maximum(weight, 1e-12)).astype(np.float32)
