"""The geometry backend ``da3``: Depth Anything 3 on a clip, as a geometry folder.

    DepthAnything3("checkpoints/DA3", device=device)                       nested: metres (CC BY-NC 4.0)
    DepthAnything3("DA3-BASE", "DA3METRIC-LARGE", device=device)           the same alignment, Apache-2.0 throughout
    DepthAnything3("DA3-BASE", device=device)                              any-view alone: a scale of its own
    DepthAnything3("DA3METRIC-LARGE", field_of_view=65, device=device)     single frames, a camera that stands still

Which it is follows from the folders' config.json. Weights load when the first clip needs them.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from inspatio.errors import ClipError, UsageError
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.depth_anything3.clip import BACKEND, estimate_clip
from inspatio.geometry.depth_anything3.sweep import Clip, Findings, Networks, Options
from inspatio.geometry.depth_anything3.windows import SMALLEST_WINDOW
from inspatio.media import VideoInfo, VideoReader
from inspatio.models.attention import Attend, attention
from inspatio.models.depth_anything3.loading import ModelFolder, open_folder
from inspatio.models.depth_anything3.preprocess import LONGEST_SIDE
from inspatio.models.weights import weights_fingerprint
from inspatio.scene import FrameSource
from inspatio.types import Progress

VERSION = 1
"""Raised whenever the same clip and the same weights would give another result."""


class DepthAnything3:
    """A :class:`inspatio.geometry.backend.GeometryBackend`.

    Args:
        model_path: a model folder of any kind.
        metric_path: a metric model's folder, to go with an any-view one.
        device: where to compute.
        window: frames to a window (at least 4); None: as many as fit.
        pose_smoothing: sigma in frames of the smoothing of the camera path, 0 for none.
        field_of_view: degrees across the frame, for models that give no cameras.
        dtype: of the backbones; None: bfloat16 on GPUs that have it, else float32.
        longest: pixels of the frame's longer side as the networks see it.
        attend: the attention function.
        compile: compile the backbones' repeated block before the first clip.

    Raises:
        MissingWeightsError: a folder is missing, or is not a Depth Anything 3 model.
        UsageError: the models do not go together, or an option is out of range.
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
        """The model folders in use; their models say under what terms."""
        return (self._folder,) if self._metric is None else (self._folder, self._metric)

    def fingerprint(self, video: VideoInfo) -> dict[str, Any]:
        """Version, models, weights and options; not the machine's memory, which sizes the windows, nor what changes a
        result as rounding does."""
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

    def estimate(self, video: VideoInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the clip's geometry into the empty ``folder``.

        Raises:
            ClipError: too little memory even for the smallest window, or the networks give no numbers.
            MissingWeightsError: the weights cannot be loaded.
        """
        with VideoReader(video) as frames:
            return self.estimate_frames(frames, video.size, folder, progress)

    def estimate_frames(
        self, frames: FrameSource, size: tuple[int, int], folder: Path, progress: Progress
    ) -> GeometrySummary:
        """The same for frames of ``size`` (height, width) from anywhere."""
        if len(frames) == 0:
            raise ClipError("the clip has no frames; expected at least one")
        findings = Findings(settings=self._settings())
        clip = Clip(self._networks, len(frames), size, self._options, self._device)
        estimate_clip(clip, frames, folder, findings, progress)
        return GeometrySummary(BACKEND, findings.scale, len(frames), tuple(findings.notes))

    @cached_property
    def _networks(self) -> Networks:
        loaded = [
            network for folder in self.folders for network in folder.load(self._device, self._dtype, self._attend)
        ]
        if self._compile:
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
            f"{folder.path} is {folder.model.name}, which takes no metric model beside it; "
            f"leave {metric.path} out, or choose an any-view model such as da3-base"
        )
    if metric.model.kind != "metric":
        raise UsageError(
            f"{metric.path} is {metric.model.name}; expected a metric model such as da3metric-large beside "
            f"{folder.model.name}"
        )
