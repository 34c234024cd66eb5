"""A clip's render folder: what the render stage hands to the generate stage.

render.mp4     the target view as far as the source shows it, 8-bit, visually lossless, black where nothing landed
mask.mp4       255 where something landed, 0 elsewhere, lossless
cameras.json   the very cameras that were rendered, and the source frame that each frame shows (``camera_file.py``)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.errors import ClipError
from inspatio.media import VideoReader, VideoWriter
from inspatio.scene import Render
from inspatio.types import Frames, Intrinsics, Masks, ScaleKind, WorldToCamera

RENDER_NAME, MASK_NAME, CAMERAS_NAME = "render.mp4", "mask.mp4", "cameras.json"
CAMERA_TOLERANCE = 1e-6
"""Poses and intrinsics that differ by more from the stored ones, which are exact, are other cameras."""


@dataclass(frozen=True)
class RenderedCameras:
    """A render's cameras: ``intrinsics`` n 3 3 in pixels of ``size`` (height, width), ``world_to_camera`` n 4 4."""

    size: tuple[int, int]
    frame_rate: Fraction
    scale: ScaleKind
    order: tuple[int, ...]
    intrinsics: Intrinsics
    world_to_camera: WorldToCamera

    def save(self, path: Path) -> None:
        """Write ``cameras.json``."""
        CameraFile(
            image_size=self.size,
            intrinsics=self.intrinsics,
            world_to_camera=self.world_to_camera,
            scale=self.scale,
            frame_rate=self.frame_rate,
            timeline=self.order,
        ).save(path)

    @classmethod
    def load(cls, path: Path) -> RenderedCameras:
        """Read ``cameras.json``.

        Raises:
            ClipError: the file is missing, cut short or of another format.
        """
        file = CameraFile.load(path, "Run the render stage again with --force.")
        if file.frame_rate is None or file.timeline is None:
            raise ClipError(
                f"{path}: got no frame_rate or timeline, expected those of a render. "
                "Run the render stage again with --force."
            )
        return cls(
            size=file.image_size,
            frame_rate=file.frame_rate,
            scale=file.scale,
            order=file.timeline,
            intrinsics=file.intrinsics,
            world_to_camera=file.world_to_camera,
        )


class RenderWriter:
    """Writes the two videos of a render folder as chunks come; a context manager."""

    def __init__(self, folder: Path, size: tuple[int, int], frame_rate: Fraction):
        self._render = VideoWriter(folder / RENDER_NAME, size, frame_rate, quality="render")
        self._mask = VideoWriter(folder / MASK_NAME, size, frame_rate, quality="lossless")

    def __enter__(self) -> RenderWriter:
        with ExitStack() as opened:
            opened.enter_context(self._render)
            opened.enter_context(self._mask)  # where this fails, the first one is closed again
            opened.pop_all()
        return self

    def write(self, frames: Frames, masks: Masks) -> None:
        self._render.write(frames)
        self._mask.write(masks)

    def __exit__(self, *exception: Any) -> None:
        try:
            self._mask.__exit__(*exception)
        finally:
            self._render.__exit__(*exception)


class RenderFiles:
    """The render folder as a generator reads it (``scene.RenderSource``); a context manager.

    ``cameras`` is the whole of ``cameras.json``, ``targets`` its cameras.

    Raises:
        ClipError: the videos are missing, of another length than the cameras, or of another size.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.cameras = RenderedCameras.load(folder / CAMERAS_NAME)
        self.targets = Cameras(self.cameras.intrinsics, self.cameras.world_to_camera)
        self._ahead_from, self._ahead = 0, np.zeros((0, *self.cameras.size, 3), np.uint8)
        with ExitStack() as opened:  # closes the readers where one of them is refused
            self._render = opened.enter_context(self._open(RENDER_NAME))
            self._mask = opened.enter_context(self._open(MASK_NAME))
            self._opened = opened.pop_all()

    def __enter__(self) -> RenderFiles:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._opened.close()

    def _open(self, name: str) -> VideoReader:
        expected = len(self.cameras.order), self.cameras.size
        reader = VideoReader(self._folder / name)
        got = len(reader), reader.info.size
        if got == expected:
            return reader
        reader.close()
        raise ClipError(
            f"{self._folder / name}: got {got[0]} frames of {_spell(got[1])}, expected {expected[0]} of "
            f"{_spell(expected[1])}. Run the render stage again with --force"
        )

    def read(self, start: int, cameras: Cameras) -> Render:
        """Frames and masks from place ``start`` on, one for each camera, as stored (depth is not kept).

        Raises:
            ClipError: they were rendered for other cameras than these.
        """
        self.check_cameras(start, cameras)
        places: Sequence[int] = range(start, start + len(cameras))
        known = self._ahead if self._ahead_from == start else self._ahead[:0]
        known = known[: len(places)]
        frames = np.concatenate((known, self._render.read(places[len(known) :]))) if len(known) < len(places) else known
        return Render(frames, self._mask.read_masks(places), None)

    def read_after(self, place: int, count: int) -> Frames:
        """The rendered frames from ``place`` on, at most ``count`` and none beyond the last.

        They are kept for the next :meth:`read`, since reading backwards would cost a seek.
        """
        places = range(place, min(place + count, len(self.cameras.order)))
        self._ahead_from = place
        self._ahead = self._render.read(places) if places else np.zeros((0, *self.cameras.size, 3), np.uint8)
        return self._ahead

    def check_cameras(self, start: int, cameras: Cameras) -> None:
        """Refuse cameras that the places from ``start`` on were not rendered for; see :meth:`read`."""
        stored = self.targets[start : start + len(cameras)]
        for what, got, expected in (
            ("pose", cameras.world_to_camera, stored.world_to_camera),
            ("intrinsics", cameras.intrinsics, stored.intrinsics),
        ):
            if got.shape != expected.shape or not np.allclose(got, expected, rtol=0, atol=CAMERA_TOLERANCE):
                raise ClipError(
                    f"{self._folder}: rendered for other cameras: got another {what} in frames "
                    f"{start} to {start + len(cameras) - 1}, expected those of {CAMERAS_NAME}. Run the render stage "
                    "again with --force"
                )


def _spell(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
