"""Write a finished video where and as the user wants it: another video file, an animated GIF, or numbered pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from inspatio.errors import UsageError
from inspatio.media import VideoReader
from inspatio.storage import atomic_file, atomic_folder

PICTURE_NAME = "{:06d}.png"
SUFFIXES = (".mp4", ".gif", "")


def check_target(target: Path) -> None:
    """Check that a result can be written there.

    Raises:
        UsageError: an ending that is not known.
    """
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {target}: got the ending {target.suffix}, expected .mp4, .gif, or none for a folder")


def write_result(video: Path, target: Path) -> None:
    """Copy a video (``.mp4``), or convert it to an animated GIF or, without an ending, to a folder of PNG pictures.

    A GIF has at most 50 frames a second (its times are whole hundredths of a second) and 256 colours a frame.
    """
    check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix.lower() == ".mp4":
        with atomic_file(target) as part:
            shutil.copyfile(video, part)
        return
    with VideoReader(video) as reader:
        if not target.suffix:
            with atomic_folder(target) as folder:
                for number, picture in enumerate(_pictures(reader)):
                    picture.save(folder / PICTURE_NAME.format(number))
            return
        pictures = _pictures(reader)
        duration = max(round(100 / reader.info.frame_rate), 2) * 10  # milliseconds
        with atomic_file(target) as part:
            next(pictures).save(part, "GIF", save_all=True, append_images=pictures, duration=duration, loop=0)


def _pictures(reader: VideoReader) -> Iterator[Image.Image]:
    for index in range(len(reader)):
        yield Image.fromarray(reader.read([index])[0])
