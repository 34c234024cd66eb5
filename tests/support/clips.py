"""Clips for tests, made with the bundled FFmpeg: every frame carries its own number, so that order can be checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

BITS = 8


def numbered(number: int, size: tuple[int, int]) -> np.ndarray:
    """A soft picture of (height, width) ``size`` whose upper half says ``number`` in eight black or white bars."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 200 // height, columns * 200 // width, np.full_like(rows, (number * 5) % 200)], -1)
    for bit in range(BITS):
        image[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 255 * (number >> bit & 1)
    return image.astype(np.uint8)


def number_of(image: np.ndarray) -> int:
    """The number that a picture of :func:`numbered` carries, after any codec and scaling."""
    height, width = image.shape[:2]
    centres = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(int(image[height // 4, centre].mean() > 127) << bit for bit, centre in enumerate(centres))


def encode(
    path: Path,
    count: int = 40,
    size: tuple[int, int] = (48, 96),
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: Fraction | int = 30,
    gop: int = 12,
    container: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    setup: Callable[[VideoStream], Any] | None = None,
    picture: Callable[[int, tuple[int, int]], np.ndarray | av.VideoFrame] = numbered,
) -> Path:
    """A clip of ``count`` pictures; ``setup`` may change the stream before anything is written."""
    with av.open(str(path), "w", format=container, options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt, stream.gop_size = pixel_format, gop
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if setup is not None:
            setup(stream)
        for index in range(count):
            image = picture(index, size)
            frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(image, format="rgb24")
            if frame.format.name != pixel_format:
                frame = frame.reformat(format=pixel_format)
            frame.pts = pts[index] if pts is not None else index
            frame.time_base = time_base or 1 / Fraction(rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def add_sound(
    video: Path,
    path: Path,
    *,
    codec: str = "aac",
    seconds: float = 3.0,
    shift: Fraction = Fraction(0),
    rate: int = 44100,
) -> Path:
    """The clip with a tone under it; ``shift`` moves picture and sound together to a later time."""
    with av.open(str(video)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream)
        sound = cast(AudioStream, out.add_stream(codec, rate=rate))
        sound.layout = "stereo"
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts += round(shift / packet.time_base)
            packet.dts += round(shift / packet.time_base)
            packet.stream = target
            out.mux(packet)
        resampler = av.AudioResampler(format=sound.format.name, layout="stereo", rate=rate, frame_size=1024)
        samples = int(seconds * rate)
        wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)).astype(np.float32)
        tone = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        tone.sample_rate = rate
        position = round(shift * rate)
        for frame in [*resampler.resample(tone), *resampler.resample(None)]:
            frame.pts, frame.time_base = position, Fraction(1, rate)
            position += frame.samples
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return path


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """(time, content) of the packets of a clip's first stream of a kind."""
    with av.open(str(path)) as source:
        stream = next(s for s in source.streams if s.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in source.demux(stream) if p.pts is not None and p.size]
