"""Open the files of a finished result as a clip to measure, and say what could not be used.

Rules where a result and its truth do not fit: frames are compared from the first on, and what one of them has more is
left out; with another frame rate each frame is compared with the truth's nearest in time; another size of the same
shape is resized to the result's. Each is said in the clip's notes. Another shape is refused.

A result is measured in the frame of its render: what ``--fit pad`` filled with black is left out again, and what
``--fit stretch`` gave back its shape is stretched. Which of the modes a run had follows from the sizes of source,
render and result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.paths import read_path
from inspatio.errors import ClipError, UserError
from inspatio.evaluation.clip import Clip
from inspatio.evaluation.regions import Mask
from inspatio.geometry.scene import open_scene
from inspatio.media import VideoInfo, VideoReader, probe, probe_source
from inspatio.media.fit import Fit
from inspatio.render import WarpRenderer, render_scene
from inspatio.render.files import RenderFiles
from inspatio.scene import FrameSource, Scene
from inspatio.types import DepthMaps, FitMode, Frames

SAME_SHAPE = 0.01
"""Ratios of width to height that differ by this share are one shape."""


@dataclass(frozen=True)
class ResultFiles:
    """The files of one result; what is None is not there."""

    result: Path
    truth: Path | None = None
    render: Path | None = None
    """The render folder."""
    cameras: Path | None = None
    """A cameras.json; None: the one beside the result, if there is one."""
    source: Path | None = None
    """The source video."""
    geometry: Path | None = None
    """The source's geometry folder."""
    wanted: Path | None = None
    """A camera path (``cameras/formats/paths.py``) that it should follow; None: the cameras it was made with."""
    poses: Path | None = None
    """The camera path that another program found in the result."""


@contextmanager
def open_clip(files: ResultFiles, name: str) -> Iterator[Clip]:
    """Open a result; its notes say what is missing, and what was adapted.

    Raises:
        UserError: a file cannot be read, or does not belong to the result.
    """
    notes: list[str] = []
    with ExitStack() as opened:
        info = probe(files.result)
        rendered = opened.enter_context(RenderFiles(files.render)) if files.render else None
        rendered_size = rendered.cameras.size if rendered else info.size
        mode = _mode(files, rendered_size, info.size)
        window = _Window.of(info.size, rendered_size) if mode == "pad" else _Window(0, 0, *rendered_size)
        size = window.size
        result: FrameSource = opened.enter_context(VideoReader(info, size, "stretch"))
        cameras = _cameras(files, len(result), rendered_size, rendered, notes)
        truth: FrameSource | None = None
        if files.truth is not None:
            truth_info = probe(files.truth)
            order = align(info, truth_info, notes)
            check_shape(info, truth_info, notes)
            truth = _Ordered(opened.enter_context(VideoReader(truth_info, size, "stretch")), order)
            result = _Ordered(result, range(len(order)))
        source = None
        if files.source is not None and files.geometry is not None and rendered is not None:
            scene = opened.enter_context(open_scene(files.source, files.geometry, rendered_size, mode))
            source = scene.select(rendered.cameras.order)
        elif cameras is not None:
            notes.append(f"{name}: camera errors are not computed: got no source video, geometry and render folder")
        yield Clip(
            name,
            result,
            truth,
            render=_Rendered(rendered, window) if rendered else None,
            covered=_Covered(rendered, window) if rendered else None,
            depth=_RenderedDepth(source, cameras, window) if source is not None and cameras is not None else None,
            cameras=window.cameras(cameras[: len(result)]) if cameras is not None else None,
            wanted=_path(files.wanted, size, len(result)),
            poses=_path(files.poses, size, len(result)),
            source=source,
            notes=notes,
        )


@dataclass(frozen=True)
class _Window:
    """The part of a render that its result shows, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def of(cls, result: tuple[int, int], rendered: tuple[int, int]) -> _Window:
        """The window of a (height, width) result in the middle of a padded render."""
        return cls((rendered[0] - result[0]) // 2, (rendered[1] - result[1]) // 2, *result)

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def __call__(self, maps: np.ndarray) -> np.ndarray:
        """Cut ``t h w ...``."""
        return maps[:, self.top : self.top + self.height, self.left : self.left + self.width]

    def cameras(self, cameras: Cameras) -> Cameras:
        """The same cameras for what is cut out."""
        shift = np.array([[1, 0, -self.left], [0, 1, -self.top], [0, 0, 1.0]])
        return Cameras(shift @ cameras.intrinsics, cameras.world_to_camera)


def _mode(files: ResultFiles, rendered: tuple[int, int], result: tuple[int, int]) -> FitMode:
    """How the source was brought to the render's size, told by the sizes (height, width) alone."""
    if files.source is None:
        return "crop"
    source = probe_source(files.source).size
    modes: tuple[FitMode, ...] = ("crop", "pad", "stretch")
    fitting: list[FitMode] = [mode for mode in modes if Fit.make(source, rendered, mode).natural_size == result]
    return fitting[0] if fitting else "crop"


def align(result: VideoInfo, truth: VideoInfo, notes: list[str]) -> list[int]:
    """The truth's frame for each frame of the result that is compared; adds to ``notes`` what was left out."""
    if result.frame_rate == truth.frame_rate:
        if result.frame_count != truth.frame_count:
            count = min(result.frame_count, truth.frame_count)
            notes.append(
                f"{result.path.name} has {result.frame_count} frames, the truth {truth.frame_count}: "
                f"the first {count} are compared"
            )
        return list(range(min(result.frame_count, truth.frame_count)))
    ratio = truth.frame_rate / result.frame_rate
    order = [round(place * ratio) for place in range(result.frame_count)]
    order = [frame for frame in order if frame < truth.frame_count]
    notes.append(
        f"{result.path.name} has {float(result.frame_rate):g} frames a second, the truth {float(truth.frame_rate):g}: "
        f"{len(order)} frames are compared with the truth's nearest in time"
    )
    return order


def check_shape(result: VideoInfo, truth: VideoInfo, notes: list[str]) -> None:
    """Note that the truth is resized to the result's size.

    Raises:
        ClipError: they are of another shape.
    """
    if result.size == truth.size:
        return
    ours, theirs = (size[1] / size[0] for size in (result.size, truth.size))
    if abs(ours - theirs) > SAME_SHAPE * theirs:
        raise ClipError(
            f"{truth.path}: got a truth of {_spell(truth.size)}, expected the shape of the result's "
            f"{_spell(result.size)}. Crop one of them"
        )
    notes.append(f"the truth is resized from {_spell(truth.size)} to {_spell(result.size)}")


def _spell(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _cameras(
    files: ResultFiles, count: int, size: tuple[int, int], rendered: RenderFiles | None, notes: list[str]
) -> Cameras | None:
    """The target cameras: of the render folder, of the file given, or of the file beside the result."""
    if rendered is not None:
        found, path = rendered.targets, files.render
    else:
        path = files.cameras or files.result.with_suffix(".cameras.json")
        if not path.is_file():
            if files.cameras is not None:
                raise UserError(f"{path}: no such file, expected the result's cameras.json")
            notes.append(f"{files.result.name}: got no {path.name}: nothing that needs cameras is computed")
            return None
        found = read_path(path, size).cameras
    if len(found) != count:
        raise ClipError(f"{path}: got {len(found)} cameras, expected {count}, one for each frame of {files.result}")
    return found


def _path(path: Path | None, size: tuple[int, int], count: int) -> Cameras | None:
    """A camera path of a file, one camera for each frame."""
    if path is None:
        return None
    found = read_path(path, size).cameras
    if len(found) < count:
        raise ClipError(f"{path}: got {len(found)} cameras, expected at least {count}, one for each frame")
    return found[:count]


class _Ordered:
    """Frames of a video in another order."""

    def __init__(self, frames: FrameSource, order: Sequence[int]) -> None:
        self._frames, self._order = frames, order

    def __len__(self) -> int:
        return len(self._order)

    def read(self, indices: Sequence[int]) -> Frames:
        return self._frames.read([self._order[index] for index in indices])


class _Rendered:
    """The frames of a render folder."""

    def __init__(self, files: RenderFiles, window: _Window) -> None:
        self._files, self._window = files, window

    def __len__(self) -> int:
        return len(self._files.targets)

    def read(self, indices: Sequence[int]) -> Frames:
        found = [self._files.read(index, self._files.targets[[index]]).frames for index in indices]
        return self._window(np.concatenate(found))


class _Covered:
    """The masks of a render folder."""

    def __init__(self, files: RenderFiles, window: _Window) -> None:
        self._files, self._window = files, window

    def read(self, indices: Sequence[int]) -> Mask:
        found = [self._files.read(index, self._files.targets[[index]]).masks for index in indices]
        return self._window(np.concatenate(found)) > 0


class _RenderedDepth:
    """Depth of the target view as far as the source shows it, rendered when asked for."""

    def __init__(self, scene: Scene, cameras: Cameras, window: _Window) -> None:
        self._scene, self._cameras, self._window, self._renderer = scene, cameras, window, WarpRenderer()

    def __len__(self) -> int:
        return len(self._cameras)

    def read(self, indices: Sequence[int]) -> DepthMaps:
        found = []
        for index in indices:
            render = render_scene(self._renderer, self._scene, index, self._cameras[[index]], with_depth=True)
            assert render.depth is not None, "depth was asked for"
            found.append(render.depth)
        return self._window(np.concatenate(found))
