"""Write a video frame by frame, whole or not at all.

======== ============================================== ======================================================
quality  stored as                                      for
======== ============================================== ======================================================
view     H.264 4:2:0 BT.709, index first                results: plays everywhere, streams in a browser
render   H.264 4:4:4 BT.709, near lossless              renders: no colour bleeds over the borders of the holes
lossless H.264 gray full range, lossless                masks: every value from 0 to 255 comes back exactly
======== ============================================== ======================================================

A clip always has the very size asked for. 4:2:0 cannot store an odd height or width, so ``view`` stores such a clip as
4:4:4, which not every hardware player shows.

The encoder always runs the same number of threads, since its output depends on it: the same frames give the same
file however many cores there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from inspatio.media.audio import AudioTrack, Samples, SampleTrack
from inspatio.media.color import ACCURATE_CONVERSION
from inspatio.media.video_info import VideoInfo
from inspatio.storage import atomic_file
from inspatio.types import Frames, Masks

Quality: TypeAlias = Literal["view", "render", "lossless"]

_THREADS = 8
_FINEST_TICK = 1_000_000
_USUAL_TICK = 90_000
_BT709 = 1
_CONVERSION = ACCURATE_CONVERSION | Interpolation.FULL_CHR_H_INP | Interpolation.BICUBIC


@dataclass(frozen=True)
class Encoding:
    pixel_format: str
    color_range: ColorRange
    options: dict[str, str]


# x264's macroblock tree reads uninitialised memory (its SIMD code, with B-frames): the same frames would give different
# bytes every time, and an interrupted run different files than an undisturbed one.
_REPEATABLE = {"x264-params": "mbtree=0"}

ENCODINGS: dict[Quality, Encoding] = {
    "view": Encoding("yuv420p", ColorRange.MPEG, {"preset": "faster", "crf": "17", **_REPEATABLE}),
    # Limited range although full has finer steps: FFmpeg's conversion to full range cuts chroma instead of rounding it.
    "render": Encoding("yuv444p", ColorRange.MPEG, {"preset": "veryfast", "crf": "8", **_REPEATABLE}),
    "lossless": Encoding("gray", ColorRange.JPEG, {"preset": "veryfast", "qp": "0"}),
}


class VideoWriter:
    """Writes an .mp4 of (height, width) ``size``; used in a ``with``, at whose end the file appears.

    ``times`` are the exact presentation times in seconds of all frames to come, rising from 0, for a variable frame
    rate; None: one frame every ``1 / frame_rate``. ``audio_from`` is a video whose audio, if it has any, is kept:
    copied unchanged where an mp4 can hold it, else as AAC, and cut where the video ends; or samples. After an exception
    nothing is at ``path`` but what was there before.

    Raises:
        UserError: the disk is full or the folder cannot be written.
        ClipError: the video that the audio comes from cannot be read.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        frame_rate: Fraction,
        *,
        quality: Quality = "view",
        audio_from: VideoInfo | Samples | None = None,
        times: Sequence[Fraction] | None = None,
    ) -> None:
        assert path.suffix == ".mp4", f"{path}: this writes .mp4 files only"
        assert frame_rate > 0, f"frame rate {frame_rate}"
        self.path = path
        self.size = size
        self.frame_rate = Fraction(frame_rate)
        self.quality: Quality = quality
        self.frame_count = 0
        self._audio_from = audio_from
        self._times = times
        self._time_base = 1 / self.frame_rate if times is None else _time_base(times, 1 / self.frame_rate)
        self._reformatter = VideoReformatter()
        self._open = ExitStack()

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            part = stack.enter_context(atomic_file(self.path))
            self._container = av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"})
            stack.callback(self._abandon)
            self._stream = self._add_stream()
            self._audio: AudioTrack | SampleTrack | None = None
            if isinstance(self._audio_from, Samples):
                self._audio = stack.enter_context(SampleTrack(self._container, self._audio_from))
            elif self._audio_from is not None:
                self._audio = stack.enter_context(AudioTrack(self._container, self._audio_from))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:  # undoes everything where finishing fails, as it does on a full disk
            self._finish()

    def write(self, frames: Frames | Masks) -> None:
        """Append ``t h w 3`` uint8 RGB frames, or ``t h w`` uint8 masks where the quality is lossless."""
        expected = (*self.size, 3) if self.quality != "lossless" else self.size
        assert frames.dtype == np.uint8, f"{self.path.name}: frames are {frames.dtype}, expected uint8"
        assert frames.shape[1:] == expected, f"{self.path.name}: frames {frames.shape}, expected (t, {expected})"
        for frame in frames:
            self._write_one(np.ascontiguousarray(frame))

    def _add_stream(self) -> VideoStream:
        encoding = ENCODINGS[self.quality]
        odd = self.size[0] % 2 or self.size[1] % 2
        # An mp4 keeps the time between frames in the order they are stored; only without B-frames is that how long each
        # one is shown, and so the end of the last one exact.
        options = encoding.options if self._times is None else {**encoding.options, "bf": "0"}
        stream = self._container.add_stream("libx264", rate=self.frame_rate, options=dict(options))
        stream.height, stream.width = self.size
        stream.pix_fmt = "yuv444p" if odd and encoding.pixel_format == "yuv420p" else encoding.pixel_format
        stream.thread_count = _THREADS
        stream.gop_size = max(round(2 * self.frame_rate), 1)  # two seconds: what a viewer waits for after a jump
        context = stream.codec_context
        context.time_base = self._time_base
        context.color_range = encoding.color_range
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.flags |= Flags.frame_duration
        return stream

    def _write_one(self, image: np.ndarray) -> None:
        stream, number = self._stream, self.frame_count
        if self._times is not None:
            assert number < len(self._times), f"{self.path.name}: more frames than the {len(self._times)} times given"
        if self.quality == "lossless":
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            frame.color_range = ColorRange.JPEG
        else:
            frame = self._reformatter.reformat(
                av.VideoFrame.from_ndarray(image, format="rgb24"),
                format=stream.pix_fmt,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=stream.color_range,
                interpolation=_CONVERSION,
                threads=1,
            )
        start, end = self._tick(number), self._tick(number + 1)
        frame.pts, frame.duration, frame.time_base = start, end - start, self._time_base
        self._container.mux(stream.encode(frame))
        self.frame_count += 1
        if self._audio is not None:
            self._audio.advance(end * self._time_base)

    def _tick(self, number: int) -> int:
        """When frame ``number`` begins, in ticks; the last frame lasts one frame of the mean rate."""
        if self._times is None:
            return number
        if number < len(self._times):
            return round(self._times[number] / self._time_base)
        return round((self._times[-1] + 1 / self.frame_rate) / self._time_base)

    def _finish(self) -> None:
        assert self.frame_count > 0, f"{self.path.name}: closed without a frame"
        if self._times is not None:
            count = len(self._times)
            assert self.frame_count == count, f"{self.path.name}: {self.frame_count} frames for {count} times"
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _abandon(self) -> None:
        """Close the container; errors of closing an unfinished one are expected and ignored."""
        with suppress(FFmpegError):
            self._container.close()


def _time_base(times: Sequence[Fraction], last: Fraction) -> Fraction:
    """A tick in which all times and the length of the last frame are whole numbers.

    Where that would be finer than a microsecond, it is 1/90000 s, and times are rounded to it.
    """
    assert len(times) > 0, "no times"
    assert times[0] == 0, f"times begin at {times[0]}, expected 0"
    assert all(a < b for a, b in pairwise(times)), "times must rise"
    ticks = lcm(last.denominator, *(time.denominator for time in times))
    return Fraction(1, ticks if ticks <= _FINEST_TICK else _USUAL_TICK)
