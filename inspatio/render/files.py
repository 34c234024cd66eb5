"""A clip's render folder: what the render stage hands to the generate stage.

render.mp4     the target view as far as the source shows it, 8-bit, visually lossless, black where nothing landed
mask.mp4       255 where something landed, 0 elsewhere, lossless
cameras.json   the very cameras that were rendered: intrinsics (one for all frames, pixels of ``size``),
               ``world_to_camera`` of every frame (4x4 row by row, OpenCV axes, world = first source camera), the
               unit of the world, and ``order``, the source frame that each frame shows
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from inspatio.errors import ClipError
from inspatio.media import VideoReader, VideoWriter
from inspatio.storage import write_json
from inspatio.types import Frames, Intrinsics, Masks, ScaleKind, WorldToCamera

RENDER_NAME, MASK_NAME, CAMERAS_NAME = "render.mp4", "mask.mp4", "cameras.json"
CAMERAS_FORMAT, CAMERAS_VERSION = "inspatio-cameras", 1


@dataclass(frozen=True)
class RenderedCameras:
    """The cameras of a render: ``intrinsics`` 3 3 in pixels of ``size`` (height, width), ``world_to_camera`` n 4 4."""

    size: tuple[int, int]
    frame_rate: Fraction
    scale: ScaleKind
    order: tuple[int, ...]
    intrinsics: Intrinsics
    world_to_camera: WorldToCamera

    def save(self, path: Path) -> None:
        """Write ``cameras.json``."""
        value: dict[str, Any] = {
            "format": CAMERAS_FORMAT,
            "version": CAMERAS_VERSION,
            "convention": "opencv, world_to_camera, row by row",
            "size": list(self.size),
            "frame_rate": f"{self.frame_rate.numerator}/{self.frame_rate.denominator}",
            "scale": self.scale,
            "order": list(self.order),
            "intrinsics": self.intrinsics.ravel().tolist(),
            "world_to_camera": self.world_to_camera.reshape(-1, 16).tolist(),
        }
        write_json(path, value)

    @classmethod
    def load(cls, path: Path) -> RenderedCameras:
        """Read ``cameras.json``.

        Raises:
            ClipError: the file is missing, cut short or of another format.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["format"] != CAMERAS_FORMAT or value["version"] > CAMERAS_VERSION:
                raise ValueError(f"format {value['format']} version {value['version']}")
            return cls(
                size=(int(value["size"][0]), int(value["size"][1])),
                frame_rate=Fraction(value["frame_rate"]),
                scale=value["scale"],
                order=tuple(value["order"]),
                intrinsics=np.asarray(value["intrinsics"], np.float64).reshape(3, 3),
                world_to_camera=np.asarray(value["world_to_camera"], np.float64).reshape(-1, 4, 4),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClipError(
                f"{path}: not a {CAMERAS_FORMAT} file ({error}); run the render stage again with --force"
            ) from error


class RenderWriter:
    """Writes the two videos of a render folder as chunks come; a context manager."""

    def __init__(self, folder: Path, size: tuple[int, int], frame_rate: Fraction):
        self._render = VideoWriter(folder / RENDER_NAME, size, frame_rate, quality="render")
        self._mask = VideoWriter(folder / MASK_NAME, size, frame_rate, quality="lossless")

    def __enter__(self) -> RenderWriter:
        self._render.__enter__()
        self._mask.__enter__()
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
    """The render folder as a generator reads it (``generation.base.RenderSource``); a context manager.

    Raises:
        ClipError: the videos are missing, of another length than the cameras, or of another size.
    """

    def __init__(self, folder: Path):
        self.cameras = RenderedCameras.load(folder / CAMERAS_NAME)
        self._render = VideoReader(folder / RENDER_NAME)
        self._mask = VideoReader(folder / MASK_NAME)
        expected = len(self.cameras.order)
        for name, reader in ((RENDER_NAME, self._render), (MASK_NAME, self._mask)):
            if len(reader) != expected or reader.info.size != self.cameras.size:
                found = f"{len(reader)} frames of {_spell(reader.info.size)}"
                wanted = f"{expected} of {_spell(self.cameras.size)}"
                raise ClipError(f"{folder / name}: {found}, expected {wanted}; run the render stage again with --force")

    def __enter__(self) -> RenderFiles:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._render.close()
        self._mask.close()

    def read(self, start: int, world_to_camera: WorldToCamera) -> tuple[Frames, Masks]:
        """Frames ``start`` onwards, one for each camera, as stored: they were rendered from those very cameras."""
        indices: Sequence[int] = range(start, start + len(world_to_camera))
        return self._render.read(indices), self._mask.read_masks(indices)


def _spell(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
