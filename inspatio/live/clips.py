"""The last seconds of what was shown as a video, with the source's sound wherever time ran as filmed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from inspatio.errors import UserError
from inspatio.live.clock import Run
from inspatio.media import VideoInfo, VideoWriter
from inspatio.media.audio import Samples, read_samples

CLIP_SECONDS, CLIP_BYTES = 10.0, 64 * 2**20
"""What is kept of what was shown: so many seconds, at most so many bytes."""
SOUND_RATE = 48000
FADE = 240
"""Samples over which sound comes and goes: 5 ms, so that a cut does not click."""


class LastSeconds:
    """What was shown last, as JPEGs of (height, width) ``size`` with the moments they were shown at."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._kept: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    def add(self, now: float, jpeg: bytes) -> None:
        """Keep a picture, and forget those that are too old or too much."""
        self._kept.append((now, jpeg))
        self._bytes += len(jpeg)
        while self._bytes > CLIP_BYTES or now - self._kept[0][0] > CLIP_SECONDS:
            self._bytes -= len(self._kept.popleft()[1])

    def save(
        self,
        folder: Path,
        frame_rate: float,
        source: VideoInfo | None,
        runs: Callable[[float, float], Sequence[Run]],
    ) -> tuple[str, float]:
        """Write a video; returns its file name and length in seconds.

        ``source`` is the video that the sound comes from; ``runs`` says when it ran as filmed between two moments.

        Raises:
            UserError: nothing was shown, or the disk is full.
            ClipError: the source cannot be read.
        """
        kept = list(self._kept.copy())
        if len(kept) < 2:
            raise UserError("nothing has moved in the last seconds, expected a few pictures. Fly first.")
        rate = Fraction(round(frame_rate * 1000), 1000)
        times = np.arange(kept[0][0], kept[-1][0], float(1 / rate))
        begin, seconds = kept[0][0], len(times) / float(rate)
        name = f"clip-{sum(1 for _ in folder.glob('*.mp4')) + 1}.mp4"
        sound = None if source is None else _sound(source, runs(begin, begin + seconds), begin, seconds)
        with VideoWriter(folder / name, self._size, rate, audio_from=sound) as writer:
            for place in np.searchsorted([start for start, _ in kept], times, side="right") - 1:
                image = cv2.imdecode(np.frombuffer(kept[place][1], np.uint8), cv2.IMREAD_COLOR_RGB)
                writer.write(np.asarray(image, np.uint8)[None])
        return name, seconds


def _sound(source: VideoInfo, runs: Sequence[Run], begin: float, seconds: float) -> Samples | None:
    """The source's sound in its runs, silence elsewhere; None where there is none at all."""
    if not runs or not source.has_audio:
        return None
    values = np.zeros((round(seconds * SOUND_RATE), 2), np.int16)
    stamps = [float(stamp) for stamp in source.timestamps()]
    for run in runs:
        start = round((run.start - begin) * SOUND_RATE)
        count = min(round(run.seconds * SOUND_RATE), len(values) - start)
        at = float(np.interp(run.frame, range(len(stamps)), stamps))
        piece = read_samples(source, at, count, SOUND_RATE).astype(np.float32)
        fade = np.minimum(np.arange(1, count + 1) / FADE, 1)
        piece *= np.minimum(fade, fade[::-1])[:, None]
        values[start : start + count] = piece.round()
    return Samples(values, SOUND_RATE)
