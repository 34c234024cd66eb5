"""Open a video and its geometry folder as the scene that rendering and generation work on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inspatio.cameras.timeline import Timeline
from inspatio.errors import ClipError
from inspatio.geometry.store import CALIBRATED, VALID_FRAMES, GeometryDepth, load_geometry
from inspatio.media import SourceInfo, SourceReader, is_still, open_source, probe_source
from inspatio.media.fit import Fit
from inspatio.scene import Scene
from inspatio.types import FitMode


def read_scene(
    video: SourceInfo | Path,
    folder: Path,
    size: tuple[int, int],
    fit: FitMode = "crop",
    *,
    clip_id: str | None = None,
    prompt: str = "",
    foreground_ratio: float = 1.0,
) -> Scene:
    """Make a scene of a clip and its geometry folder, streamed from the files, its frames in the source's order.

    Its ``frames`` hold the video file open until they are closed or no longer used.

    Args:
        video: the clip.
        folder: its geometry folder (``store.py``).
        size: (height, width) of the scene's frames.
        fit: how source frames are brought to ``size``.
        clip_id: the clip's name; None: the file's name without its ending.
        prompt: for generators that read one.
        foreground_ratio: factor on the foreground depth, which scales displacements.

    Raises:
        ClipError: the video or the folder cannot be read, or the frame counts differ.
    """
    info = probe_source(video) if isinstance(video, Path) else video
    geometry = load_geometry(folder)
    if geometry.frame_count != info.frame_count:
        raise ClipError(
            f"{folder}: geometry of {geometry.frame_count} frames, but {info.path.name} has {info.frame_count}; "
            "run the geometry stage again with --force"
        )
    fitted = Fit.make(info.size, size, fit)
    still, valid = is_still(info), geometry.settings.get(VALID_FRAMES)
    timeline = Timeline([0], "hold") if still else None
    if timeline is None and isinstance(valid, int) and 0 < valid < info.frame_count:
        timeline = Timeline(range(valid))
    return Scene(
        clip_id=clip_id or info.path.stem,
        frames=open_source(info, size, fit),
        depth=GeometryDepth(geometry, fitted),
        intrinsics=fitted.intrinsics(geometry.intrinsics, geometry.image_size),
        world_to_camera=geometry.world_to_camera,
        size=size,
        frame_rate=info.frame_rate,
        scale=geometry.scale,
        prompt=prompt,
        foreground_ratio=foreground_ratio,
        still=still,
        calibrated=bool(geometry.settings.get(CALIBRATED)),
        timeline=timeline,
    )


@contextmanager
def open_scene(
    video: SourceInfo | Path,
    folder: Path,
    size: tuple[int, int],
    fit: FitMode = "crop",
    *,
    clip_id: str | None = None,
    prompt: str = "",
    foreground_ratio: float = 1.0,
) -> Iterator[Scene]:
    """Make a scene as :func:`read_scene` does, and close its video file at the end."""
    scene = read_scene(video, folder, size, fit, clip_id=clip_id, prompt=prompt, foreground_ratio=foreground_ratio)
    assert isinstance(scene.frames, SourceReader), "read_scene streams the frames from files"
    with scene.frames:
        yield scene
