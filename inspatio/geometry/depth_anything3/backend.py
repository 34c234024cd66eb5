"""Geometry backend ``da3``: estimate depth and cameras of a clip with Depth Anything 3.

    DepthAnything3("checkpoints/DA3", device=device)                       nested: metres (CC BY-NC 4.0)
    DepthAnything3("DA3-BASE", "DA3METRIC-LARGE", device=device)           the same alignment, Apache-2.0 throughout
    DepthAnything3("DA3-BASE", device=device)                              any-view alone: an arbitrary scale
    DepthAnything3("DA3METRIC-LARGE", field_of_view=65, device=device)     single frames, a camera that stands still

The models' ``config.json`` says which of these it is. Weights are loaded for the first clip. :func:`estimate_clip`
takes a clip through three steps, in memory that does not grow with its length. Of a clip whose camera is locked only
the frames whose picture changed are estimated (``changes.py``).

1  run the networks over all windows of frames, raw maps go to temporary files (``windows.py``, ``stitching.py``)
2  from the whole clip, one scale to metres and one depth for the sky (``metric.py``)
3  write the geometry folder: scaled depth, poses relative to the first frame and smoothed, source intrinsics
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from inspatio.cameras.poses import relative_to_first, smooth
from inspatio.errors import ClipError, UsageError
from inspatio.geometry.backend import GeometrySummary, field_of_view_range, field_of_view_warning
from inspatio.geometry.depth_anything3 import metric
from inspatio.geometry.depth_anything3.buffers import DiskBuffer, FrameBuffer, chunks
from inspatio.geometry.depth_anything3.changes import FrameSubset, changed_frames
from inspatio.geometry.depth_anything3.windows import (
    SMALLEST_WINDOW,
    ClipTask,
    Networks,
    Notes,
    Options,
    PendingMaps,
    RawCameras,
    WindowedInference,
)
from inspatio.geometry.store import GeometryWriter
from inspatio.locations import download_command
from inspatio.models.attention import Attend, attention
from inspatio.models.compilation import why_not_compiled
from inspatio.models.depth_anything3.checkpoint import ModelFolder, open_folder
from inspatio.models.depth_anything3.network import LONGEST_SIDE, to_source_frame
from inspatio.models.weights import weights_fingerprint
from inspatio.scene import FrameSource
from inspatio.types import Progress

if TYPE_CHECKING:
    from inspatio.media import SourceInfo

BACKEND = "da3"
VERSION = 2
"""Raised whenever the same clip and weights would give another result."""
_log = logging.getLogger(__name__)


class DepthAnything3:
    """A :class:`inspatio.geometry.backend.GeometryBackend`.

    Args:
        model_path: a model folder of any kind (``models/depth_anything3/checkpoint.py``).
        metric_path: a metric model's folder, beside an any-view one.
        device: where the networks run.
        window: frames per window (at least 4); None: as many as fit into memory.
        pose_smoothing: standard deviation in frames of the Gaussian over the camera path; 0: none.
        field_of_view: horizontal, in degrees, for models that predict no cameras.
        dtype: precision of the backbones; None: bfloat16 on GPUs that support it, else float32.
        longest: pixels of the frame's longer side as the networks see it.
        attend: the attention function.
        compile: compile the backbones' repeated block before the first clip.

    Raises:
        MissingWeightsError: a folder is missing or not a Depth Anything 3 model.
        UsageError: the models cannot be combined, or an option is out of range.
    """

    def __init__(
        self,
        model_path: Path | str,
        metric_path: Path | str | None = None,
        *,
        device: torch.device,
        window: int | None = None,
        pose_smoothing: float = 2.0,
        field_of_view: float | None = None,
        dtype: torch.dtype | None = None,
        longest: int = LONGEST_SIDE,
        attend: Attend = attention,
        compile: bool = False,
    ) -> None:
        self._folder = open_folder(Path(model_path))
        self._metric = None if metric_path is None else open_folder(Path(metric_path))
        _check_pair(self._folder, self._metric)
        if window is not None and window < SMALLEST_WINDOW:
            raise UsageError(f"geometry window of {window} frames: expected {SMALLEST_WINDOW} or more")
        if pose_smoothing < 0:
            raise UsageError(f"pose smoothing of {pose_smoothing:g} frames: expected 0 (none) or more")
        if field_of_view is not None and not 1 <= field_of_view <= 179:
            raise UsageError(f"field of view of {field_of_view:g} degrees: expected 1 to 179")
        self._options = Options(window, pose_smoothing, field_of_view, longest)
        self._device = device
        bfloat = device.type == "cuda" and torch.cuda.is_bf16_supported()
        self._dtype = dtype or (torch.bfloat16 if bfloat else torch.float32)
        self._attend = attend
        self._compile = compile

    @property
    def folders(self) -> tuple[ModelFolder, ...]:
        """The model folders in use."""
        return (self._folder,) if self._metric is None else (self._folder, self._metric)

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        """Version, models, weights and options.

        Left out: the machine's memory, from which the window size may follow, and what only changes rounding.
        """
        return {
            "backend": BACKEND,
            "version": VERSION,
            "weights": {folder.model.name: weights_fingerprint(folder.weights) for folder in self.folders},
            "window": self._options.window,
            "pose_smoothing": self._options.pose_smoothing,
            "field_of_view": self._options.field_of_view,
            "longest_side": self._options.longest,
            "precision": str(self._dtype).removeprefix("torch."),
        }

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the clip's geometry into the empty ``folder``.

        Raises:
            ClipError: too little memory for the smallest window, or the networks' results are not numbers.
            MissingWeightsError: the weights cannot be loaded.
        """
        # Here, so that a benchmark on random frames needs no video library.
        from inspatio.media import is_still, open_source

        with open_source(video) as frames:
            still = is_still(video)
            chosen = None if still else changed_frames(frames, self._options.longest)
            return self.estimate_frames(frames, video.size, folder, progress, still=still, chosen=chosen)

    def estimate_frames(
        self,
        frames: FrameSource,
        size: tuple[int, int],
        folder: Path,
        progress: Progress,
        *,
        still: bool = False,
        chosen: Sequence[int] | None = None,
    ) -> GeometrySummary:
        """Like :meth:`estimate`, for frames of ``size`` (height, width) from any source.

        ``still``: they are views of one place, whose cameras are no path to be smoothed. ``chosen``: as of
        :func:`estimate_clip`.
        """
        if len(frames) == 0:
            raise ClipError("the clip has no frames; expected at least one")
        if still and len(frames) > 1 and self._networks.any_view is None:
            raise ClipError(
                f"{self.folders[0].path} estimates no cameras, so {len(frames)} views cannot be put together. "
                "Use an any-view model (--da3_model_path checkpoints/DA3-BASE) or bring geometry (--geometry files)."
            )
        options = replace(self._options, pose_smoothing=0.0) if still else self._options
        notes = Notes(settings=self._settings() | {"pose_smoothing": options.pose_smoothing})
        task = ClipTask(self._networks, len(frames), size, options, self._device)
        estimate_clip(task, frames, folder, notes, progress, chosen)
        weights = tuple(folder.path for folder in self.folders)
        return GeometrySummary(BACKEND, notes.scale, len(frames), tuple(notes.messages), weights)

    @cached_property
    def _networks(self) -> Networks:
        loaded = [
            network for folder in self.folders for network in folder.load(self._device, self._dtype, self._attend)
        ]
        if self._compile and (reason := why_not_compiled(self._device)):
            _log.warning("Depth Anything 3 is not compiled, which is slower: %s", reason)
        elif self._compile:
            for network in loaded:
                network.backbone.compile_blocks()
        any_view = next((network for network in loaded if network.config.kind == "any-view"), None)
        single = next((network for network in loaded if network.config.kind != "any-view"), None)
        return Networks(any_view, single)

    def _settings(self) -> dict[str, Any]:
        return {
            "models": [folder.model.name for folder in self.folders],
            "licenses": {folder.model.name: folder.model.license.name for folder in self.folders},
            "precision": str(self._dtype).removeprefix("torch."),
            "pose_smoothing": self._options.pose_smoothing,
            "longest_side": self._options.longest,
        }


def _check_pair(folder: ModelFolder, metric: ModelFolder | None) -> None:
    if metric is None:
        return
    if folder.model.kind != "any-view":
        raise UsageError(
            f"{folder.path} is {folder.model.name}, which cannot be combined with a metric model; "
            f"leave out {metric.path}, or choose an any-view model such as da3-base"
        )
    if metric.model.kind != "metric":
        raise UsageError(
            f"{metric.path} is {metric.model.name}; expected a metric model such as da3metric-large beside "
            f"{folder.model.name}"
        )


def estimate_clip(
    task: ClipTask,
    source: FrameSource,
    folder: Path,
    notes: Notes,
    progress: Progress,
    chosen: Sequence[int] | None = None,
) -> None:
    """Estimate a clip and write its geometry into the empty ``folder``; see the module docstring for the steps.

    Args:
        source: frames of ``task.size``.
        notes: filled with the scale, settings to record and messages for the user.
        chosen: the frames to estimate, ascending from 0; each of the others takes the geometry of the chosen one before
            it. None: all.

    Raises:
        ClipError: too little memory for the smallest window, or the networks' results are not numbers.
    """
    chosen = range(task.count) if chosen is None else chosen
    if len(chosen) < task.count:
        notes.messages.append(
            f"the camera stands still: depth was estimated for {len(chosen)} of {task.count} frames "
            f"({len(chosen) / task.count:.0%}), those whose picture changed; the others repeat the one before"
        )
        notes.settings["estimated_frames"] = list(chosen)
    # Frame i of the clip takes the geometry of estimated frame repeated[i].
    repeated = np.searchsorted(chosen, np.arange(task.count), side="right") - 1
    task = replace(task, count=len(chosen))
    frames = FrameBuffer(FrameSubset(source, chosen), task.options.longest)
    any_view, single = task.networks.any_view is not None, task.networks.single is not None
    with ExitStack() as stack:

        def buffer(name: str, dtype: DTypeLike = np.float32) -> DiskBuffer:
            return stack.enter_context(DiskBuffer(folder / f".{name}", task.map_size, dtype))

        pending = PendingMaps(
            depth=buffer("depth"),
            confidence=buffer("confidence") if any_view else None,
            single=buffer("single") if any_view and single else None,
            sky=buffer("sky", np.bool_) if single else None,
        )
        # 1. networks
        cameras = WindowedInference(task, frames, pending, notes).run(progress)
        # 2. scale and sky
        scale = _scale(task, cameras, pending, notes)
        sky = _sky_depth(pending, scale, notes)
        # 3. folder
        _write(task, repeated, cameras, pending, scale, sky, folder, notes)
    if frames.uniform == task.count:
        notes.messages.append("every frame is of one colour, so the geometry is a guess")
    elif frames.uniform:
        notes.messages.append(f"{frames.uniform} of {task.count} frames are of one colour; their geometry is a guess")


def _write(
    task: ClipTask,
    repeated: NDArray[np.intp],
    cameras: RawCameras,
    pending: PendingMaps,
    scale: NDArray[np.float64],
    sky: float | None,
    folder: Path,
    notes: Notes,
) -> None:
    """Write the pending maps, scaled and with the sky filled in, and the cameras.

    ``repeated`` names, for each frame of the clip, the estimated frame whose geometry it takes.
    """
    writer = GeometryWriter(folder, task.size, task.map_size, len(repeated))
    known = 0
    for start, stop in chunks(len(repeated)):
        places = repeated[start:stop]
        first, end = places[0], places[-1] + 1
        depth = pending.depth.read(first, end) * scale[first:end, None, None].astype(np.float32)
        confidence = None if pending.confidence is None else pending.confidence.read(first, end)
        is_sky = None if pending.sky is None else pending.sky.read(first, end)
        if is_sky is not None and sky is not None:
            depth[is_sky] = sky
            if confidence is not None:
                confidence[is_sky] = 1
        again = places - first
        depth, confidence, is_sky = depth[again], *(None if e is None else e[again] for e in (confidence, is_sky))
        known += np.count_nonzero(depth)
        writer.write(depth, confidence, is_sky)
    _note_unknown(1 - known / (len(repeated) * task.map_size[0] * task.map_size[1]), notes)

    poses = cameras.world_to_camera.copy()
    poses[:, :3, 3] *= scale[0]
    poses = smooth(relative_to_first(poses)[repeated], task.options.pose_smoothing)
    intrinsics = to_source_frame(cameras.intrinsics, task.map_size, task.size)[repeated]
    warning = field_of_view_warning(*field_of_view_range(intrinsics, task.size[1]))
    if warning:
        notes.messages.append(warning)
    writer.finish(intrinsics, poses, notes.scale, BACKEND, notes.settings)


def _scale(task: ClipTask, cameras: RawCameras, pending: PendingMaps, notes: Notes) -> NDArray[np.float64]:
    """The factor (``n``) of every frame's pending depth; the same for all frames where an any-view network ran."""
    networks, count = task.networks, task.count
    focal = (cameras.intrinsics[:, 0, 0] + cameras.intrinsics[:, 1, 1]) / 2
    if networks.any_view is None:
        if networks.is_metric and task.options.field_of_view is not None:
            notes.scale = "metres"
        return focal / metric.METRIC_FOCAL if networks.is_metric else np.ones(count)
    if pending.single is None:
        return np.ones(count)
    single, sky, confidence = pending.single, pending.sky, pending.confidence
    assert sky is not None, "a metric network gives a sky map"
    assert confidence is not None, "an any-view network gives confidence"

    def maps() -> Iterator[metric.AlignmentMaps]:
        for start, stop in chunks(count):
            metres = single.read(start, stop) * (focal[start:stop, None, None] / metric.METRIC_FOCAL)
            yield metric.AlignmentMaps(
                pending.depth.read(start, stop), confidence.read(start, stop), metres, sky.read(start, stop)
            )

    scale = metric.metric_scale(maps)
    if scale is None:
        notes.messages.append(
            "too few pixels besides sky to find the scale: depth stays in the any-view network's own unit, not metres"
        )
        return np.ones(count)
    notes.scale = "metres"
    notes.settings["metric_scale"] = scale
    return np.full(count, scale)


def _sky_depth(pending: PendingMaps, scale: NDArray[np.float64], notes: Notes) -> float | None:
    """The depth to give the sky; None without a sky map or with too few pixels in front of it."""
    sky = pending.sky
    if sky is None:
        return None

    def ground() -> Iterator[NDArray[np.floating]]:
        for start, stop in chunks(len(scale)):
            depth = pending.depth.read(start, stop) * scale[start:stop, None, None].astype(np.float32)
            yield depth[~sky.read(start, stop)]

    furthest = metric.FURTHEST_SKY if notes.scale == "metres" else np.inf
    return metric.sky_depth(ground, furthest)


def _note_unknown(share: float, notes: Notes) -> None:
    if share == 1:
        raise ClipError(
            "Depth Anything 3 gave no finite depth for any pixel. The weights are damaged: download them again "
            f"({download_command('DA3')})"
        )
    if share:
        notes.messages.append(f"{share:.1%} of the depth values were not numbers and count as unknown")
