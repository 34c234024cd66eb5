"""The scene folders of InSpatio-World 1.5, as far as they are media: ``scene.json`` and what is in ``input/``.

    scene.json                 kind (image, video), views, frames, valid_frames, fps, resolution (height, width)
    input/view_00.png ..       the pictures of a scene of kind image (published with 1 or 4), or
    input/video.mp4            the frames of a scene of kind video
    input/prompt.txt           what the scene shows
    input/target_tcw.txt       the camera path to generate: a trajectory file, see ``cameras/formats``
    depth/                     geometry: see ``geometry/formats/v15.py``

``frames`` counts the poses of the path with the last one repeated to fill blocks, ``valid_frames`` those that are
meant. Names and meanings: github.com/inspatio/inspatio-world-v1.5, examples/README.md and run_scene_inference.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from inspatio.errors import ClipError
from inspatio.media.listing import SCENE_FILE
from inspatio.media.pictures import PictureInfo, probe_pictures
from inspatio.media.video_info import VideoInfo, probe

VIDEO_NAME = "input/video.mp4"
VIEW_NAME = "input/view_{:02d}.png"
MOST_VIEWS = 100
"""Two digits are in a view's name."""


@dataclass(frozen=True)
class SceneFile:
    """A ``scene.json``: ``views`` is the number of pictures, or that of a video's frames."""

    folder: Path
    kind: Literal["image", "video"]
    views: int
    frames: int
    valid_frames: int
    frame_rate: Fraction
    size: tuple[int, int]

    @property
    def names(self) -> tuple[str, ...]:
        """The pictures or the video, relative to the folder."""
        return tuple(map(VIEW_NAME.format, range(self.views))) if self.kind == "image" else (VIDEO_NAME,)


def read_scene_file(folder: Path) -> SceneFile:
    """Read a folder's ``scene.json``.

    Raises:
        ClipError: it cannot be read, or a field is missing or wrong (named).
    """
    path = folder / SCENE_FILE
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClipError(
            f"{path}: cannot be read ({error.strerror or error}), expected a scene of version 1.5"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ClipError(f"{path}: not valid JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict):
        raise ClipError(f"{path}: got no object, expected kind, views, frames, valid_frames, fps and resolution")

    def field(name: str, expected: str, is_right: Any) -> Any:
        value = values.get(name)
        if not is_right(value):
            raise ClipError(f"{path}: {name}: got {str(value)[:40]!r}, expected {expected}")
        return value

    def is_count(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    kind = field("kind", "image or video", lambda value: value in ("image", "video"))
    most = MOST_VIEWS if kind == "image" else float("inf")
    views = field("views", "a number from 1 on", lambda value: is_count(value) and value <= most)
    frames = field("frames", "a number from 1 on", is_count)
    valid = field("valid_frames", f"1 to {frames}", lambda value: is_count(value) and value <= frames)
    rate = field("fps", "a number above 0", lambda value: isinstance(value, int | float) and 0 < value <= 1000)
    size = field(
        "resolution",
        "height and width",
        lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_count, value)),
    )
    return SceneFile(
        folder, kind, views, frames, valid, Fraction(rate).limit_denominator(1001), (int(size[0]), int(size[1]))
    )


def probe_scene_folder(folder: Path) -> VideoInfo | PictureInfo:
    """Read the pictures or the video of a scene folder once and return their record.

    Raises:
        ClipError: a file is missing or damaged, or the video has another number of frames.
    """
    scene = read_scene_file(folder)
    for name in scene.names:
        if not (folder / name).is_file():
            raise ClipError(f"{folder / name}: no such file, expected {len(scene.names)} of them by {SCENE_FILE}")
    if scene.kind == "image":
        return probe_pictures(folder, scene.names, scene.frame_rate)
    info = probe(folder / VIDEO_NAME)
    if info.frame_count != scene.views:
        raise ClipError(f"{info.path}: {info.frame_count} frames, expected the {scene.views} of {SCENE_FILE}")
    return info
