"""Run the networks over all windows of a clip and store the raw maps in temporary files.

Attention over all frames makes a pass over n frames cost memory proportional to n and time proportional to its square.
A clip is therefore cut into overlapping windows of limited size: memory is bounded and time grows linearly. The size
follows from the free memory or is given; when memory runs out, it is halved and inference continues where it was.

Windows go through the any-view network and are joined as they come (``stitching.py``); each frame goes once through
the metric network. Without an any-view network (a metric or mono model alone) there are no cameras: the camera is
assumed to stand still with an assumed field of view, and frames are independent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.cameras.poses import orthonormalised
from inspatio.errors import ClipError
from inspatio.geometry.depth_anything3 import metric
from inspatio.geometry.depth_anything3.buffers import DiskBuffer, FrameBuffer
from inspatio.geometry.depth_anything3.stitching import Stitcher, View
from inspatio.locations import download_command
from inspatio.models.depth_anything3.backbone import PATCH
from inspatio.models.depth_anything3.heads import FRAMES_AT_ONCE, HeadConfig
from inspatio.models.depth_anything3.network import (
    LONGEST_SIDE,
    DepthNetwork,
    NetworkConfig,
    network_size,
    normalise,
)
from inspatio.models.memory import free_memory, is_out_of_memory, release_memory
from inspatio.types import Frames, Progress, ScaleKind, WorldToCamera

LARGEST_WINDOW = 256
"""Longer clips are cut even if they would fit: beyond this, time grows faster than quality."""
SMALLEST_WINDOW = 4
LARGEST_OVERLAP = 16
_MEMORY_SHARE = 0.8
"""Share of the free memory to plan with; the rest is for fragmentation and other processes."""
SINGLE_FRAMES_AT_ONCE = 8
LOOSE_FIT = 0.1
"""A window whose matched points are further apart than this share of their depth gets a note."""
ASSUMED_VIEW = 60.0
"""Horizontal field of view in degrees where nothing is known of the camera."""


@dataclass(frozen=True)
class Networks:
    """The networks to run: an any-view network, a single-frame one, or both."""

    any_view: DepthNetwork | None
    single: DepthNetwork | None

    @property
    def is_metric(self) -> bool:
        return self.single is not None and self.single.config.kind == "metric"


@dataclass(frozen=True)
class Options:
    """Settings of an estimate; they are part of its fingerprint."""

    window: int | None = None
    """Frames per window; None: as many as fit into memory."""
    pose_smoothing: float = 2.0
    """Standard deviation in frames of the Gaussian over the camera path; 0: none."""
    field_of_view: float | None = None
    """Horizontal, in degrees, for models that predict no cameras."""
    longest: int = LONGEST_SIDE
    """Pixels of the frame's longer side as the networks see it."""


@dataclass(frozen=True)
class ClipTask:
    """One clip to estimate: ``count`` frames of ``size`` (height, width)."""

    networks: Networks
    count: int
    size: tuple[int, int]
    options: Options
    device: torch.device

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the frames as the networks see them and of every map they return."""
        return network_size(self.size, self.options.longest)


@dataclass(frozen=True)
class RawCameras:
    """``n 3 3`` intrinsics at the networks' resolution and ``n 4 4`` poses in the any-view network's unit."""

    intrinsics: NDArray[np.float64]
    world_to_camera: WorldToCamera


@dataclass(frozen=True)
class PendingMaps:
    """Raw maps ``n h w`` of the whole clip on disk until its scale is known."""

    depth: DiskBuffer
    confidence: DiskBuffer | None
    single: DiskBuffer | None
    """The single-frame network's depth, where ``depth`` is the any-view network's."""
    sky: DiskBuffer | None


@dataclass
class Notes:
    """What became known during an estimate, for ``cameras.json`` and for the user."""

    scale: ScaleKind = "relative"
    settings: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


class WindowedInference:
    """All frames of a clip through all networks; see the module docstring."""

    def __init__(self, task: ClipTask, frames: FrameBuffer, pending: PendingMaps, notes: Notes) -> None:
        self._task = task
        self._networks = task.networks
        self._frames = frames
        self._pending = pending
        self._notes = notes

    def run(self, progress: Progress) -> RawCameras:
        """Fill the pending maps and return the cameras.

        Raises:
            ClipError: too little memory for the smallest window, or poses that are not finite.
        """
        return self._single_only(progress) if self._networks.any_view is None else self._windows(progress)

    def _windows(self, progress: Progress) -> RawCameras:
        """Windows through the any-view network, each new frame through the single-frame network if there is one."""
        assert self._pending.confidence is not None, "any-view networks predict confidence"
        count = self._task.count
        stitcher = Stitcher(count, self._pending.depth, self._pending.confidence)
        size = self._first_window_size()
        lengths = []
        while stitcher.done < count:
            window = next_window(stitcher.done, count, size)
            small = self._frames.read(window)
            view = self._any_view(small)
            if view is None:
                size = self._smaller_window(len(window))
                continue
            new = stitcher.done
            stitcher.add(window.start, view)
            if self._networks.single is not None:
                self._single_frames(small[new - window.start :], new, self._pending.single)
            lengths.append(len(window))
            self._frames.forget(stitcher.done - LARGEST_OVERLAP)
            progress(stitcher.done, count)
        self._note_overlaps(stitcher, lengths)
        return RawCameras(stitcher.intrinsics, stitcher.world_to_camera)

    def _single_only(self, progress: Progress) -> RawCameras:
        """Every frame through the single-frame network; a camera that stands still."""
        count = self._task.count
        for start in range(0, count, SINGLE_FRAMES_AT_ONCE):
            part = range(start, min(start + SINGLE_FRAMES_AT_ONCE, count))
            self._single_frames(self._frames.read(part), start, self._pending.depth)
            self._frames.forget(part.stop)
            progress(part.stop, count)
        view = self._task.options.field_of_view
        focal = self._task.map_size[1] / 2 / np.tan(np.deg2rad(view or ASSUMED_VIEW) / 2)
        intrinsics = np.tile(np.diag([focal, focal, 1.0]), (count, 1, 1))
        self._notes.messages.append(
            "this model predicts no cameras: the camera is assumed to stand still"
            + ("" if view else f" with a field of view of {ASSUMED_VIEW:g} degrees; give the true one if you know it")
        )
        return RawCameras(intrinsics, np.tile(np.eye(4), (count, 1, 1)))

    def _first_window_size(self) -> int:
        network = self._networks.any_view
        assert network is not None, "windows are for the any-view network"
        if self._task.options.window is not None:
            return self._task.options.window
        dtype = network.backbone.patch_embed.weight.dtype
        return window_for(free_memory(self._task.device), network.config, self._task.map_size, dtype)

    def _any_view(self, small: Frames) -> View | None:
        """A window through the any-view network; None when memory runs out."""
        assert self._networks.any_view is not None, "windows are for the any-view network"
        try:
            found = self._networks.any_view.any_view(normalise(small, self._task.device))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        poses = found.world_to_camera.cpu().double().numpy()
        intrinsics = found.intrinsics.cpu().double().numpy()
        if not (np.isfinite(poses).all() and np.isfinite(intrinsics).all()):
            raise ClipError(
                "Depth Anything 3 predicted camera poses that are not numbers, expected finite ones. The weights are "
                f"damaged: download them again ({download_command('DA3')})"
            )
        return View(_valid_depth(found.depth), found.confidence.cpu().numpy(), intrinsics, orthonormalised(poses))

    def _smaller_window(self, tried: int) -> int:
        device = self._task.device
        release_memory(device)
        smaller = halved(tried)
        if smaller is None:
            height, width = self._task.map_size
            raise ClipError(
                f"out of memory with {tried} frames of {width}x{height} at a time, the smallest window has "
                f"{SMALLEST_WINDOW}. Free memory on {device}, or use a smaller model."
            )
        self._notes.messages.append(f"out of memory with {tried} frames at a time; continued with {smaller}")
        return smaller

    def _single_frames(self, small: Frames, start: int, depth: DiskBuffer | None) -> None:
        """Frames from ``start`` on through the single-frame network; results go to ``depth`` and the pending sky."""
        assert self._networks.single is not None, "a single-frame network is needed"
        assert depth is not None, "a buffer for its depth is needed"
        assert self._pending.sky is not None, "a buffer for its sky is needed"
        for at in range(0, len(small), SINGLE_FRAMES_AT_ONCE):
            images = normalise(small[at : at + SINGLE_FRAMES_AT_ONCE], self._task.device)
            try:
                found = self._networks.single.single_frames(images)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise ClipError(
                    f"out of memory with {len(images)} single frames. Free memory on {self._task.device}, or use a "
                    "smaller model."
                ) from error
            depth.write(start + at, _valid_depth(found.depth))
            self._pending.sky.write(start + at, metric.is_sky(found.sky.cpu().numpy()))

    def _note_overlaps(self, stitcher: Stitcher, lengths: list[int]) -> None:
        self._notes.settings["windows"] = lengths
        errors = [overlap.alignment.error for overlap in stitcher.overlaps]
        self._notes.settings["overlap_errors"] = [round(error, 5) if np.isfinite(error) else None for error in errors]
        for overlap, error in zip(stitcher.overlaps, errors, strict=True):
            if not error <= LOOSE_FIT:
                how = f"{error:.0%} of the depth apart" if np.isfinite(error) else "no depth in common"
                self._notes.messages.append(
                    f"windows fit loosely at frame {overlap.start} ({how}): scale or position may jump there"
                )


def next_window(done: int, frame_count: int, size: int) -> range:
    """The frames of the next window after the first ``done`` frames.

    The remaining windows get equal lengths, at most ``size``; each overlaps the one before by a quarter of ``size``,
    at least 2 and at most ``LARGEST_OVERLAP`` frames.
    """
    overlap = max(2, min(LARGEST_OVERLAP, size // 4))
    start = max(done - overlap, 0)
    left = frame_count - start
    if left <= size:
        return range(start, frame_count)
    windows = -(-(left - overlap) // (size - overlap))
    length = overlap + -(-(left - overlap) // windows)
    return range(start, start + length)


def halved(window: int) -> int | None:
    """The next smaller window to try; None below the smallest."""
    smaller = window // 2
    return smaller if smaller >= SMALLEST_WINDOW else None


def window_for(free: int, config: NetworkConfig, size: tuple[int, int], dtype: torch.dtype) -> int:
    """The largest window that fits into ``free`` bytes, within ``SMALLEST_WINDOW`` and ``LARGEST_WINDOW``.

    ``config`` is that of the any-view network, whose weights are loaded already; ``size`` is that of the frames
    (height, width) at the network's resolution.
    """
    grid = (size[0] // PATCH, size[1] // PATCH)
    fixed = FRAMES_AT_ONCE * _head_bytes(config.head, grid)
    frames = (_MEMORY_SHARE * free - fixed) // _frame_bytes(config, grid, dtype)
    return int(min(max(frames, SMALLEST_WINDOW), LARGEST_WINDOW))


def _frame_bytes(config: NetworkConfig, grid: tuple[int, int], dtype: torch.dtype) -> int:
    """Peak memory per additional frame of a window, reached in attention over all frames."""
    patches = grid[0] * grid[1]
    stream = 2 * 4 * config.backbone.dim  # the tokens and their local half, float32
    projected = 4 * config.backbone.dim * dtype.itemsize  # queries, keys, values and the result
    layers = 4 * sum(config.head.channels)
    images_and_maps = 4 * PATCH**2 * (3 + 2 * 2)
    return patches * (stream + projected + layers + images_and_maps)


def _head_bytes(config: HeadConfig, grid: tuple[int, int]) -> int:
    """Memory of a head for one frame at full resolution: four maps of half its features."""
    return 4 * grid[0] * grid[1] * PATCH**2 * 4 * (config.features // 2)


def _valid_depth(depth: torch.Tensor) -> NDArray[np.float32]:
    """Depth on the host, 0 where the network's value is not finite or not positive."""
    values = depth.float().cpu().numpy()
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))
