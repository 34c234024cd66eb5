"""Measure one clip: everything that the frames and files at hand allow.

    figures = evaluate_clip(Clip("living_room", result=reader, truth=true_reader), Settings(stride=3))

What is there decides what is measured: with a truth, fidelity by region (``metrics.py``); with cameras and depth of the
target view, steadiness in time (``temporal.py``); with the source scene, camera errors (``camera_estimation.py``); with
a truth or a render, colour (``colour.py``). Frames are read once, in order, and kept for as long as the longest
reprojection needs them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.camera_estimation import (
    EstimatedPath,
    Features,
    known_depth_pose,
    structure_from_motion,
)
from inspatio.evaluation.cameras import path_errors, pose_errors
from inspatio.evaluation.catalogue import GIVEN, STRUCTURE_FROM_MOTION
from inspatio.evaluation.colour import Colour
from inspatio.evaluation.distributions import Distributions
from inspatio.evaluation.metrics import Fidelity
from inspatio.evaluation.networks import Networks
from inspatio.evaluation.regions import Mask, Region, regions_of
from inspatio.evaluation.temporal import STEPS, Moment, Steadiness, revisit_figures, revisits
from inspatio.scene import DepthSource, FrameSource, Scene
from inspatio.types import Progress, WorldToCamera

STRIDE = 4
"""Every how many frames are measured; pairs of frames end at those."""
MAX_REVISITS = 12
BLACK = 2.0
"""Frames whose mean is below this (of 255) are black."""
MAX_COLMAP_FRAMES = 60


class MaskSource(Protocol):
    """Coverage by place."""

    def read(self, indices: Sequence[int]) -> Mask:
        """``t h w`` bool: where the render covers the target view."""
        ...


@dataclass(frozen=True, eq=False)
class Clip:
    """What is at hand of one clip; frames are ``h w 3`` uint8, all of one size, at places 0, 1, ... of the result."""

    name: str
    result: FrameSource
    truth: FrameSource | None = None
    render: FrameSource | None = None
    covered: MaskSource | None = None
    seen: MaskSource | None = None
    """Where the truth's surface is seen in some source frame."""
    depth: DepthSource | None = None
    """Of the target view: the truth's, or what the render knows of it."""
    cameras: Cameras | None = None
    """The target cameras, one for each frame."""
    wanted: Cameras | None = None
    """The cameras that the result should have, where they are other ones than ``cameras``."""
    poses: Cameras | None = None
    """The cameras that another program found in the result, in any world and scale."""
    source: Scene | None = None
    """The source with its geometry, its places those of the result: for camera errors."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the figures must know, a line each."""

    def __len__(self) -> int:
        return len(self.result)


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    stride: int = STRIDE
    structure_from_motion: bool = False
    networks: Networks = field(default_factory=Networks)


def evaluate_clip(
    clip: Clip,
    settings: Settings | None = None,
    progress: Progress = lambda done, total: None,
    distributions: Distributions | None = None,
) -> dict[str, float]:
    """Measure a clip: value by ``metric/region``. What the files do not allow is missing from the result.

    ``distributions`` collects what is measured of all clips of a method together.
    """
    settings = settings or Settings()
    pass_over = _Pass(clip, settings, distributions or Distributions({}))
    for place in range(len(clip)):
        pass_over.add(place)
        progress(place + 1, len(clip))
    figures = pass_over.figures()
    return figures | camera_figures(clip, settings)


def camera_figures(clip: Clip, settings: Settings) -> dict[str, float]:
    """Errors of the camera path: by points of known depth, by another program's poses, by structure from motion."""
    wanted, figures = clip.wanted or clip.cameras, {}
    if wanted is None:
        return {}
    if clip.source is not None and clip.cameras is not None:
        figures |= _named("", known_depth(clip, settings.stride), wanted, len(clip))
    if clip.poses is not None:
        path = EstimatedPath(clip.poses.world_to_camera, tuple(range(len(clip))), len(clip))
        figures |= _named(GIVEN, path, wanted, len(clip))
    if settings.structure_from_motion and clip.cameras is not None:
        step = max(settings.stride, -(-len(clip) // MAX_COLMAP_FRAMES))
        places = range(0, len(clip), step)
        found = structure_from_motion(clip.result.read(places), clip.cameras.intrinsics[0])
        path = EstimatedPath(found.world_to_camera, tuple(places[index] for index in found.places), found.tried)
        figures |= _named(STRUCTURE_FROM_MOTION, path, wanted, len(clip))
    return figures


def known_depth(clip: Clip, stride: int) -> EstimatedPath:
    """The path of a clip's camera by points of known depth, of every ``stride``-th frame."""
    assert clip.source is not None, "needs the source scene"
    assert clip.cameras is not None, "needs the target cameras"
    features, places = Features(), range(0, len(clip), stride)
    poses: dict[int, WorldToCamera] = {}
    for place in places:
        at = [place]
        frame, source, depth = clip.result.read(at)[0], clip.source.read_frames(at)[0], clip.source.read_depth(at)[0]
        camera = clip.source.cameras(at)
        pose = known_depth_pose(features, frame, clip.cameras.intrinsics[place], source, depth, camera)
        if pose is not None:
            poses[place] = pose
    return EstimatedPath(np.array(list(poses.values())).reshape(-1, 4, 4), tuple(poses), len(places))


def _named(prefix: str, path: EstimatedPath, wanted: Cameras, frame_count: int) -> dict[str, float]:
    """The errors of an estimated path under their names in reports."""
    figures = {f"{prefix}camera_failures": path.failures}
    if len(path.places) > 1:
        true = wanted[list(path.places)].world_to_camera
        errors = path_errors(path.world_to_camera, true, frame_count)
        # Other programs' paths have a scale of their own, which "abs" would measure.
        figures |= {f"{prefix}{name}": value for name, value in errors.items() if not prefix or "_abs_" not in name}
        figures[f"{prefix}ate_share"] = pose_errors(path.world_to_camera, true).translation
    return figures


class _Pass:
    """One pass over a clip's frames."""

    def __init__(self, clip: Clip, settings: Settings, distributions: Distributions) -> None:
        self._clip, self._settings, self._distributions = clip, settings, distributions
        self._distributions.start_clip()
        self._fidelity, self._steadiness, self._colour = Fidelity(), Steadiness(), Colour()
        self._recent: deque[Moment] = deque(maxlen=max(STEPS) + 1)
        self._brightness: list[float] = []
        self._coverage: list[float] = []
        pairs = revisits(clip.cameras.world_to_camera) if clip.cameras is not None else []
        self._pairs = pairs[:: -(-len(pairs) // MAX_REVISITS)] if pairs else []
        self._visited: dict[int, Moment] = {}
        self._revisited: list[tuple[Moment, Moment]] = []
        self._shapes = settings.networks.collector()

    def add(self, place: int) -> None:
        """Measure the frame at a place, the next one in order."""
        clip, at = self._clip, range(place, place + 1)
        image = clip.result.read(at)[0]
        measured = place % self._settings.stride == 0
        true = clip.truth.read(at)[0] if clip.truth is not None else None
        covered = clip.covered.read(at)[0] if clip.covered is not None else None
        if true is not None:
            self._distributions.add(image, true, measured=measured)
        if measured:
            self._brightness.append(float(image.mean()))
            self._measure(place, image, true, covered)
        if clip.cameras is None or clip.depth is None or covered is None:
            return
        moment = Moment(place, image, clip.depth.read(at)[0], clip.cameras[[place]], covered, true)
        self._recent.append(moment)
        if measured:
            for step in STEPS:
                if step < len(self._recent):
                    self._steadiness.add(self._recent[-1 - step], moment)
        self._revisit(moment)

    def _measure(self, place: int, image: np.ndarray, true: np.ndarray | None, covered: Mask | None) -> None:
        clip, at = self._clip, range(place, place + 1)
        seen = clip.seen.read(at)[0] if clip.seen is not None else None
        if covered is not None:
            self._coverage.append(float(covered.mean()))
        if true is not None:
            everything: dict[Region, Mask] = {"whole": np.ones(image.shape[:2], bool)}
            self._fidelity.add(image, true, everything if covered is None else regions_of(covered, seen))
            self._shapes.add(image, true)
        reference = true if true is not None else clip.render.read(at)[0] if clip.render is not None else None
        if reference is not None and covered is not None:
            self._colour.add(image, reference, covered)

    def _revisit(self, moment: Moment) -> None:
        for earlier, later in self._pairs:
            if moment.place == earlier:
                self._visited[earlier] = moment
            elif moment.place == later:
                self._revisited.append((self._visited[earlier], moment))

    def figures(self) -> dict[str, float]:
        """All that was collected; adds to the clip's notes what is wrong with its frames."""
        found = self._fidelity.figures() | self._steadiness.figures() | revisit_figures(self._revisited)
        found |= self._colour.figures() | self._shapes.figures()
        if self._coverage:
            found["coverage"] = float(np.mean(self._coverage))
        black = sum(value < BLACK for value in self._brightness)
        if black:
            self._clip.notes.append(f"{black} of {len(self._brightness)} measured frames are black")
        return found
