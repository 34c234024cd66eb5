"""A clip as a thing in space: frames, depth, cameras and a prompt, streamed.

Everything that follows geometry works on a :class:`Scene`: the render stage, the generators, the viewer, the
evaluation. A scene holds no pixels; frames and depth are read when asked for, so its memory does not grow
with the clip. World coordinates are the first camera's (OpenCV axes); poses say their direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np

from inspatio.cameras.cameras import Cameras, target_intrinsics
from inspatio.cameras.controls import clip_order
from inspatio.cameras.poses import invert
from inspatio.cameras.timeline import Timeline, bounced
from inspatio.cameras.trajectory import SourcePath, Trajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError
from inspatio.types import DepthMaps, Frames, Intrinsics, Masks, ScaleKind, WorldToCamera

if TYPE_CHECKING:
    import torch

FOREGROUND_PERCENTILE = 5.0
"""The foreground depth, which scales every displacement, is this percentile of the first frame's valid depths."""


class FrameSource(Protocol):
    """Frames by index. Ascending reads are cheap; others cost a seek."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Frames:
        """``t h w c`` uint8 RGB, fitted to the scene's size."""
        ...


class DepthSource(Protocol):
    """Depth maps by index."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> DepthMaps:
        """``t h w`` float32 at the scene's size, 0 where depth is not known."""
        ...


@dataclass(frozen=True, eq=False)
class Render:
    """The target view of ``t`` frames as far as the source shows it.

    ``frames`` are ``t h w c`` uint8, black where nothing landed; ``masks`` ``t h w`` uint8, 255 where a source pixel
    landed, else 0; ``depth`` ``t h w`` float32 z-depth of the target view in the scene's unit, 0 unknown, or None
    where it was not asked for or not kept.
    """

    frames: Frames
    masks: Masks
    depth: DepthMaps | None


class RenderSource(Protocol):
    """Renders that were made before, by place."""

    def read(self, start: int, cameras: Cameras) -> Render:
        """The renders of places ``start`` .. ``start + len(cameras) - 1``.

        Raises:
            ClipError: they were rendered for other cameras than these.
        """
        ...

    def read_after(self, place: int, count: int) -> Frames:
        """The rendered frames from ``place`` on, at most ``count`` and none beyond the last, before they are read with
        their cameras: an encoder may look ahead."""
        ...


class LatentSource(Protocol):
    """What a generator's encoder made of the source's frames, block by block: the same for every target camera."""

    def read(self, block: int) -> torch.Tensor | None:
        """The latents of a block on the host; None where they are to be encoded. All blocks of a clip, or none."""
        ...

    def keep(self, block: int, latents: torch.Tensor) -> None:
        """Take note of a block's latents, on the host, that were encoded; called for all blocks of a clip in order."""
        ...


class PointSource(Protocol):
    """All points of a scene that does not move."""

    def render(self, cameras: Cameras, size: tuple[int, int]) -> Render:
        """What ``t`` cameras see of them in pictures of ``size`` (height, width), with depth."""
        ...


@dataclass(frozen=True)
class Scene:
    """One clip, ready to be seen from elsewhere.

    ``intrinsics`` (``n 3 3``, pixels) and ``world_to_camera`` (``n 4 4``, first camera at the origin) belong to the
    ``n`` source frames and are for frames of ``size`` (height, width); ``scale`` says what a depth of 1 means. The
    methods take *places* of the clip instead, which the timeline maps to source frames.
    """

    clip_id: str
    frames: FrameSource
    depth: DepthSource
    intrinsics: Intrinsics
    world_to_camera: WorldToCamera
    size: tuple[int, int]
    frame_rate: Fraction
    scale: ScaleKind
    prompt: str = ""
    foreground_ratio: float = 1.0
    """Multiplies the foreground depth (the public clip list's ``radius_ratio``)."""
    timeline: Timeline | None = None
    """Which source frame is shown at each place of the clip; None: all of them in order, then to and fro."""
    renders: RenderSource | None = None
    """The render stage's files; None: generators render live. Only generators that need no depth of the target view
    read them."""
    source_latents: LatentSource | None = None
    """The source's latents where they are kept between clips; None: generators encode. Where they are read, no frame
    of the source is."""
    points: PointSource | None = None
    """Of a still scene (a panorama, a scanned place): its points, of which target views are drawn; its frames are then
    views of it, not moments. None: target views are drawn from the frames."""
    still: bool = False
    """The frames are views of a place that stands still (one picture, or several of one place) and not moments: target
    views are drawn from all of them, and the timeline says which of them is shown beside as context."""
    calibrated: bool = False
    """The principal point is what a calibration says, and target cameras keep it; else it is taken for the centre."""

    def __post_init__(self) -> None:
        n = len(self.frames)
        assert self.intrinsics.shape == (n, 3, 3), f"intrinsics {self.intrinsics.shape}, expected ({n}, 3, 3)"
        assert self.world_to_camera.shape == (n, 4, 4), f"poses {self.world_to_camera.shape}, expected ({n}, 4, 4)"

    def __len__(self) -> int:
        """The clip's length: how many places are committed. Places beyond follow the timeline's end rule."""
        return len(self.frames) if self.timeline is None else len(self.timeline)

    @property
    def view_count(self) -> int:
        """How many frames a target view is drawn from: of a still scene all of them, else the one of its moment; of a
        scene with points, which are drawn instead, the one that is shown beside."""
        return len(self.frames) if self.still and self.points is None else 1

    @property
    def lens(self) -> Intrinsics:
        """``3 3`` intrinsics of target cameras: the first source camera's, its principal point at the centre of the
        frame (:func:`target_intrinsics`) unless it is calibrated."""
        return self.intrinsics[0] if self.calibrated else target_intrinsics(self.intrinsics[0], self.size)

    def select(self, order: Sequence[int]) -> Scene:
        """The same scene with its clip played in another order of its present places."""
        return replace(self, timeline=Timeline(self.source_frames(order)))

    def source_frames(self, places: Iterable[int]) -> list[int]:
        """The source frames shown at these places, which may lie beyond the clip's end."""
        if self.timeline is None:
            n = len(self.frames)
            return [bounced(place, n) for place in places]
        return [self.timeline[place] for place in places]

    def cameras(self, places: Iterable[int]) -> Cameras:
        """The source cameras at these places."""
        return Cameras(self.intrinsics, self.world_to_camera)[self.source_frames(places)]

    def read_frames(self, places: Iterable[int]) -> Frames:
        """``t h w c`` uint8 RGB frames at these places of the clip."""
        frames = self.frames.read(self.source_frames(places))
        # Compiled loops index frames and depth alike without checks: one of another size would overwrite memory.
        assert frames.shape[1:] == (*self.size, 3), f"frames {frames.shape}, expected t {self.size} 3: fit the source"
        return frames

    def read_depth(self, places: Iterable[int]) -> DepthMaps:
        """``t h w`` float32 depth at these places of the clip, 0 where not known."""
        depth = self.depth.read(self.source_frames(places))
        assert depth.shape[1:] == self.size, f"depth {depth.shape}, expected t {self.size}: fit the geometry"
        return depth

    def foreground_depth(self) -> float:
        """The depth that scales displacements, in the scene's unit.

        Raises:
            ClipError: the first frame has no valid depth at all.
        """
        depth = self.read_depth([0])[0]
        valid = depth[np.isfinite(depth) & (depth > 0)]
        if valid.size == 0:
            raise ClipError(
                f"{self.clip_id}: the first frame has no valid depth, so displacements have no scale; "
                "expected positive depths. Check the geometry folder or choose another --geometry backend."
            )
        return float(np.percentile(valid, FOREGROUND_PERCENTILE)) * self.foreground_ratio


def target_cameras(scene: Scene, trajectory: Trajectory, controls: Controls) -> Cameras:
    """The new cameras, one for each place of a scene whose clip is adapted to the trajectory.

    All have the scene's lens, its focal length multiplied by the trajectory's zoom.

    Raises:
        ClipError: the scene has no depth to scale displacements by, or the trajectory does not fit it.
    """
    places = range(len(scene))
    sources = scene.cameras(places)
    focal = float(scene.intrinsics[0, 0, 0]) / scene.size[1]
    source = SourcePath(invert(scene.world_to_camera), tuple(scene.source_frames(places)), focal)
    poses = trajectory.camera_to_world(
        len(scene), scene.foreground_depth(), rotation_only=controls.rotation_only, source=source
    )
    if controls.relative_to_source:
        poses = invert(sources.world_to_camera) @ poses
    intrinsics = np.tile(scene.lens, (len(scene), 1, 1))
    intrinsics[:, :2, :2] *= trajectory.zooms(len(scene), source)[:, None, None]
    return Cameras(intrinsics, invert(poses))


def adapt(scene: Scene, trajectory: Trajectory, controls: Controls) -> tuple[Scene, Cameras]:
    """The scene with its clip adapted to a trajectory (length, frozen frame), and one target camera for each place.

    Raises:
        ClipError: the scene has no depth to scale displacements by, or not the frame to freeze.
    """
    order = clip_order(len(scene), trajectory, controls, frame_rate=scene.frame_rate, still=scene.still)
    adapted = scene.select(order)
    return adapted, target_cameras(adapted, trajectory, controls)
