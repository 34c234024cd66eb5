"""Write a clip's frames as numbered JPEG images, for the formats that are folders with images."""

from __future__ import annotations

from pathlib import Path

import cv2

from inspatio.scene import FrameSource

_NAME = "{:06d}.jpg"
_JPEG_QUALITY = 95


def image_names(count: int) -> list[str]:
    """The names of the images of ``count`` frames."""
    return [_NAME.format(index) for index in range(count)]


def write_images(frames: FrameSource, count: int, folder: Path) -> None:
    """Write ``count`` frames into a new folder.

    Raises:
        OSError: an image could not be written.
    """
    folder.mkdir()
    for index, name in enumerate(image_names(count)):
        image = cv2.cvtColor(frames.read([index])[0], cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise OSError(f"{folder}: frame {index} could not be written")
