"""The pass over a clip: every frame through the networks, what they give left waiting in files.

Windows of frames go through the any-view network and are joined as they come (``stitch.py``); each frame goes once
through the metric network. When memory runs out, windows are halved and the pass goes on where it was.

Without an any-view network (a metric or mono model alone) there are no cameras: the camera is taken to stand still
with an assumed field of view, and every frame stands for itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.cameras.poses import orthonormalised
from inspatio.errors import ClipError
from inspatio.geometry.depth_anything3 import alignment, windows
from inspatio.geometry.depth_anything3.frames import SmallFrames
from inspatio.geometry.depth_anything3.similarity import View
from inspatio.geometry.depth_anything3.spool import Spool
from inspatio.geometry.depth_anything3.stitch import Stitcher
from inspatio.models.depth_anything3.network import DepthNetwork
from inspatio.models.depth_anything3.preprocess import LONGEST_SIDE, network_size, normalise
from inspatio.models.memory import free_memory, is_out_of_memory, release_memory
from inspatio.types import Frames, Progress, ScaleKind, WorldToCamera

SINGLE_FRAMES_AT_ONCE = 8
LOOSE_SEAM = 0.1
"""Windows whose matched points lie further apart than this share of their depth are reported."""
ASSUMED_VIEW = 60.0
"""Degrees across, where nothing is known of the camera."""


@dataclass(frozen=True)
class Networks:
    """What a clip goes through: an any-view network, one for single frames, or both."""

    any_view: DepthNetwork | None
    single: DepthNetwork | None

    @property
    def is_metric(self) -> bool:
        return self.single is not None and self.single.config.kind == "metric"


@dataclass(frozen=True)
class Options:
    """How to go about it."""

    window: int | None = None
    """Frames to a window; None: as many as fit."""
    pose_smoothing: float = 2.0
    """Sigma in frames, 0 for none."""
    field_of_view: float | None = None
    """Degrees across the frame, for models that give no cameras."""
    longest: int = LONGEST_SIDE
    """Pixels of the frame's longer side as the networks see it."""


@dataclass(frozen=True)
class Clip:
    """The task: ``count`` frames of ``size`` (height, width), through which networks and how."""

    networks: Networks
    count: int
    size: tuple[int, int]
    options: Options
    device: torch.device

    @property
    def small_size(self) -> tuple[int, int]:
        """(height, width) at which the networks see a frame, and of every map they give."""
        return network_size(self.size, self.options.longest)


@dataclass(frozen=True)
class Cameras:
    """``n 3 3`` intrinsics at the networks' resolution and ``n 4 4`` poses in the any-view network's unit."""

    intrinsics: NDArray[np.float64]
    world_to_camera: WorldToCamera


@dataclass(frozen=True)
class Waiting:
    """The clip's maps, ``n h w``, until its scale is known."""

    depth: Spool
    confidence: Spool | None
    single: Spool | None
    """The single-frame network's depth, beside the any-view one's."""
    sky: Spool | None


@dataclass
class Findings:
    """What was found on the way, for ``cameras.json`` and for the user."""

    scale: ScaleKind = "relative"
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Sweep:
    """The pass over the clip's frames; see the module's docstring."""

    def __init__(self, clip: Clip, frames: SmallFrames, waiting: Waiting, findings: Findings) -> None:
        self._networks = clip.networks
        self._frames = frames
        self._waiting = waiting
        self._count = clip.count
        self._size = clip.small_size
        self._options = clip.options
        self._device = clip.device
        self._findings = findings

    def run(self, progress: Progress) -> Cameras:
        """Every frame through every network."""
        return self._all_frames(progress) if self._networks.any_view is None else self._all_windows(progress)

    def _all_windows(self, progress: Progress) -> Cameras:
        """Windows through the any-view network, each new frame through the other one too if there is one."""
        assert self._waiting.confidence is not None, "any-view networks give confidence"
        stitcher = Stitcher(self._count, self._waiting.depth, self._waiting.confidence)
        size = self._first_window()
        lengths = []
        while stitcher.done < self._count:
            window = windows.next_window(stitcher.done, self._count, size)
            small = self._frames.read(window)
            view = self._view(small)
            if view is None:
                size = self._smaller(len(window))
                continue
            new = stitcher.done
            stitcher.add(window.start, view)
            if self._networks.single is not None:
                self._single_frames(small[new - window.start :], new, self._waiting.single)
            lengths.append(len(window))
            self._frames.forget(stitcher.done - windows.LARGEST_OVERLAP)
            progress(stitcher.done, self._count)
        self._report(stitcher, lengths)
        return Cameras(stitcher.intrinsics, stitcher.world_to_camera)

    def _all_frames(self, progress: Progress) -> Cameras:
        """Every frame through the single-frame network; a camera that stands still."""
        for start in range(0, self._count, SINGLE_FRAMES_AT_ONCE):
            part = range(start, min(start + SINGLE_FRAMES_AT_ONCE, self._count))
            self._single_frames(self._frames.read(part), start, self._waiting.depth)
            self._frames.forget(part.stop)
            progress(part.stop, self._count)
        view = self._options.field_of_view
        focal = self._size[1] / 2 / np.tan(np.deg2rad(view or ASSUMED_VIEW) / 2)
        intrinsics = np.tile(np.diag([focal, focal, 1.0]), (self._count, 1, 1))
        self._findings.notes.append(
            "this model gives no cameras: the camera is taken to stand still"
            + ("" if view else f", its field of view to be {ASSUMED_VIEW:g} degrees; give the true one if it is known")
        )
        return Cameras(intrinsics, np.tile(np.eye(4), (self._count, 1, 1)))

    def _first_window(self) -> int:
        network = self._networks.any_view
        assert network is not None, "windows are for the any-view network"
        if self._options.window is not None:
            return self._options.window
        dtype = network.backbone.patch_embed.weight.dtype
        return windows.window_for(free_memory(self._device), network.config, self._size, dtype)

    def _view(self, small: Frames) -> View | None:
        """A window through the any-view network; None when memory runs out."""
        assert self._networks.any_view is not None, "windows are for the any-view network"
        try:
            seen = self._networks.any_view.any_view(normalise(small, self._device))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        poses = seen.world_to_camera.cpu().double().numpy()
        intrinsics = seen.intrinsics.cpu().double().numpy()
        if not (np.isfinite(poses).all() and np.isfinite(intrinsics).all()):
            raise ClipError(
                "Depth Anything 3 gave camera poses that are not numbers; expected finite ones. The weights are "
                "damaged: get them again (scripts/download.sh DA3)"
            )
        return View(_known(seen.depth), seen.confidence.cpu().numpy(), intrinsics, orthonormalised(poses))

    def _smaller(self, tried: int) -> int:
        release_memory(self._device)
        smaller = windows.halved(tried)
        if smaller is None:
            height, width = self._size
            raise ClipError(
                f"out of memory with {tried} frames of {width}x{height} at a time, and no window is smaller than "
                f"{windows.SMALLEST_WINDOW}; free memory on {self._device}, or use a smaller model"
            )
        self._findings.notes.append(f"out of memory with {tried} frames at a time; went on with {smaller}")
        return smaller

    def _single_frames(self, small: Frames, start: int, depth: Spool | None) -> None:
        """Frames from ``start`` on through the single-frame network, into ``depth`` and the sky."""
        assert self._networks.single is not None, "there is a network for single frames"
        assert depth is not None, "its depth is kept"
        assert self._waiting.sky is not None, "and so is the sky"
        for at in range(0, len(small), SINGLE_FRAMES_AT_ONCE):
            images = normalise(small[at : at + SINGLE_FRAMES_AT_ONCE], self._device)
            try:
                seen = self._networks.single.single_frames(images)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise ClipError(
                    f"out of memory with {len(images)} single frames; free memory on {self._device}, or use a "
                    "smaller model"
                ) from error
            depth.write(start + at, _known(seen.depth))
            self._waiting.sky.write(start + at, alignment.is_sky(seen.sky.cpu().numpy()))

    def _report(self, stitcher: Stitcher, lengths: list[int]) -> None:
        self._findings.settings["windows"] = lengths
        self._findings.settings["seam_errors"] = [
            round(seam.alignment.error, 5) if np.isfinite(seam.alignment.error) else None for seam in stitcher.seams
        ]
        for seam in stitcher.seams:
            if not seam.alignment.error <= LOOSE_SEAM:
                how = (
                    f"{seam.alignment.error:.0%} of the depth apart"
                    if np.isfinite(seam.alignment.error)
                    else "with no depth in common"
                )
                self._findings.notes.append(
                    f"windows joined at frame {seam.start} fit loosely ({how}): scale or position may jump there"
                )


def _known(depth: torch.Tensor) -> NDArray[np.float32]:
    """Depth on the host, 0 where the network gave no number."""
    values = depth.float().cpu().numpy()
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))
