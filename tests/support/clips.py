"""Video files for tests, encoded on the spot with the bundled FFmpeg.

``encode`` writes any codec, container and timing; its frames carry their own number, so that order can be checked.
``write_clip`` writes the ordinary small clip that the pipeline is run on; the rest damages or extends a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
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
        sound = cast(AudioStream, out.add_stream(codec, rate=rate, layout="stereo"))
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts += round(shift / packet.time_base)
            packet.dts += round(shift / packet.time_base)
            packet.stream = target
            out.mux(packet)
        _write_tone(out, sound, seconds, shift)
    return path


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """(time, content) of the packets of a clip's first stream of a kind."""
    with av.open(str(path)) as source:
        stream = next(s for s in source.streams if s.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in source.demux(stream) if p.pts is not None and p.size]


def drifting(seed: int = 0) -> Callable[[int, tuple[int, int]], np.ndarray]:
    """Pictures for :func:`encode`: smooth colours that drift, with a bright square that moves."""

    def picture(t: int, size: tuple[int, int]) -> np.ndarray:
        height, width = size
        rows, columns = np.mgrid[0:height, 0:width]
        image = np.empty((height, width, 3), np.uint8)
        image[..., 0] = 128 + 90 * np.sin(columns / width * 9 + t / 7 + seed)
        image[..., 1] = 128 + 90 * np.cos(rows / height * 7 + seed)
        image[..., 2] = 128 + 60 * np.sin((rows + columns) / (height + width) * 11 + t / 9)
        left = (t * 2) % max(width - width // 5, 1)
        image[height // 3 : height // 2, left : left + max(width // 5, 1)] = 240
        return image

    return picture


def write_clip(
    path: Path, count: int = 14, size: tuple[int, int] = (60, 100), rate: int = 24, sound: bool = False, seed: int = 0
) -> Path:
    """An ordinary H.264 clip of :func:`drifting` pictures, with a tone under all of it if ``sound``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    silent = path.with_name(f"silent {path.name}") if sound else path
    encode(silent, count, size, rate=rate, options={"crf": "18"}, picture=drifting(seed))
    if sound:
        add_sound(silent, path, seconds=count / rate)
        silent.unlink()
    return path


def write_sound_only(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as out:
        _write_tone(out, cast(AudioStream, out.add_stream("aac", rate=44100, layout="stereo")), seconds)
    return path


def cut_short(path: Path, share: float = 0.5) -> Path:
    """The same file without its end."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def _write_tone(out: OutputContainer, sound: AudioStream, seconds: float, shift: Fraction = Fraction(0)) -> None:
    rate = sound.rate
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
