"""A real clip, small enough to be made for every test."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from inspatio.media import VideoInfo, VideoWriter, probe

FRAMES = 5
SIZE = (24, 32)


def write_clip(path: Path, frame_count: int = FRAMES, size: tuple[int, int] = SIZE) -> VideoInfo:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, size, Fraction(25)) as writer:
        writer.write(np.full((frame_count, *size, 3), 128, np.uint8))
    return probe(path)
