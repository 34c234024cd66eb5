"""Small clips that tests make on the spot: moving gradients, with or without sound, broken in every way."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from inspatio.media import VideoWriter


def frames(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """``t h w c``: smooth colours that drift, with a bright square that moves."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    video = np.empty((count, height, width, 3), np.uint8)
    for t in range(count):
        video[t, ..., 0] = 128 + 90 * np.sin(columns / width * 9 + t / 7 + seed)
        video[t, ..., 1] = 128 + 90 * np.cos(rows / height * 7 + seed)
        video[t, ..., 2] = 128 + 60 * np.sin((rows + columns) / (height + width) * 11 + t / 9)
        at = (t * 2) % max(width - width // 5, 1)
        video[t, height // 3 : height // 2, at : at + max(width // 5, 1)] = 240
    return video


def write_clip(
    path: Path, count: int = 14, size: tuple[int, int] = (60, 100), rate: int = 24, sound: bool = False, seed: int = 0
) -> Path:
    """A whole clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not sound:
        with VideoWriter(path.with_suffix(".mp4"), size, Fraction(rate), quality="view") as writer:
            writer.write(frames(count, size, seed))
        return path.with_suffix(".mp4").rename(path)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=rate)
        picture.height, picture.width = size
        picture.pix_fmt = "yuv420p"
        tone = container.add_stream("aac", rate=44100)
        for frame in frames(count, size, seed):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(picture.encode())
        write_tone(container, tone, count / rate)
    return path


def write_sound_only(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        write_tone(container, container.add_stream("aac", rate=44100), seconds)
    return path


def write_tone(container, stream, seconds: float) -> None:
    samples = (0.2 * np.sin(np.arange(int(44100 * seconds)) * 2 * np.pi * 440 / 44100)).astype(np.float32)
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def cut_short(path: Path, share: float = 0.5) -> Path:
    """The same file without its end."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path
