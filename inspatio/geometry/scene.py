"""From a video and its geometry folder to the scene that everything after geometry works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inspatio.errors import ClipError
from inspatio.geometry.store import GeometryDepth, load_geometry
from inspatio.media import VideoInfo, VideoReader, probe
from inspatio.media.fit import Fit
from inspatio.scene import Scene
from inspatio.types import FitMode


@contextmanager
def open_scene(
    video: VideoInfo | Path,
    folder: Path,
    size: tuple[int, int],
    fit: FitMode = "crop",
    *,
    clip_id: str | None = None,
    prompt: str = "",
    foreground_ratio: float = 1.0,
) -> Iterator[Scene]:
    """The clip as a scene of ``size`` (height, width), its frames in the source's order, streamed while it is open.

    Args:
        video: the clip.
        folder: its geometry folder (``folder.py``).
        size: of the working frame.
        fit: how the source's frame becomes the working one.
        clip_id: the clip's name [its file's].
        prompt: for generators that read one.
        foreground_ratio: multiplies the foreground depth, which scales displacements.

    Raises:
        ClipError: one of the two cannot be read, or the geometry is not of this clip.
    """
    info = video if isinstance(video, VideoInfo) else probe(video)
    geometry = load_geometry(folder)
    if geometry.frame_count != info.frame_count:
        raise ClipError(
            f"{folder}: geometry of {geometry.frame_count} frames, but {info.path.name} has {info.frame_count}; "
            "run the geometry stage again with --force"
        )
    fitted = Fit.make(info.size, size, fit)
    with VideoReader(info, size, fit) as frames:
        yield Scene(
            clip_id=clip_id or info.path.stem,
            frames=frames,
            depth=GeometryDepth(geometry, fitted),
            intrinsics=fitted.intrinsics(geometry.intrinsics, geometry.image_size),
            world_to_camera=geometry.world_to_camera,
            size=size,
            frame_rate=info.frame_rate,
            scale=geometry.scale,
            prompt=prompt,
            foreground_ratio=foreground_ratio,
        )
