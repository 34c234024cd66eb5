"""Copy the audio of a source video into a new one: packet by packet, or re-encoded as AAC where mp4 cannot hold it.

Audio is muxed only as far as frames have been written, so that it ends with them and memory does not grow with the
clip. Times count from the first frame of the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import TracebackType

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from inspatio.errors import ClipError
from inspatio.media.container import open_container
from inspatio.media.video_info import VideoInfo

_COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"})
"""Codecs that mp4 can hold and that players expect in it."""
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
AV_TIME_BASE = 1_000_000
"""Ticks a second of a container's seeks."""
_LEAD_IN = Fraction(1, 10)
"""Seconds before the first frame that are kept: audio codecs need earlier packets to start cleanly."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Sound as ``n 2`` int16 samples, left and right, so many a second."""

    values: NDArray[np.int16]
    rate: int


def read_samples(source: VideoInfo, start: float, count: int, rate: int) -> NDArray[np.int16]:
    """``count 2`` samples of a video's main audio from ``start`` on, in seconds from its first frame; silence where it
    has none.

    Raises:
        ClipError: the source cannot be read, or its audio is damaged.
    """
    values = np.zeros((count, 2), np.int16)
    container = open_container(source.path)
    try:
        track = container.streams.best("audio")
        if not isinstance(track, AudioStream):
            return values
        resampler = AudioResampler(format="s16", layout="stereo", rate=rate)
        begin = float(source.start) + start
        container.seek(round(max(0.0, begin - float(_LEAD_IN)) * AV_TIME_BASE))
        position: int | None = None
        for decoded in container.decode(track):
            if position is None:
                position = round(((decoded.time or 0.0) - begin) * rate)
            for frame in resampler.resample(decoded):
                piece = frame.to_ndarray().reshape(-1, 2)
                first, last = max(position, 0), min(position + len(piece), count)
                if first < last:
                    values[first:last] = piece[first - position : last - position]
                position += len(piece)
            if position >= count:
                break
    except FFmpegError as error:
        raise _damaged(source.path, error) from error
    finally:
        container.close()
    return values


class SampleTrack:
    """Samples as an AAC stream of ``output``; a context manager like :class:`AudioTrack`."""

    def __init__(self, output: OutputContainer, samples: Samples) -> None:
        self._output, self._samples = output, samples
        self._stream = output.add_stream("aac", rate=samples.rate)
        self._stream.layout = "stereo"
        self._done = 0

    def __enter__(self) -> SampleTrack:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, until: Fraction) -> None:
        """Mux the samples before ``until`` (seconds), and the encoder's last packets once all are there."""
        values, rate = self._samples.values, self._samples.rate
        while self._done < min(int(until * rate), len(values)):
            piece = values[self._done : self._done + (self._stream.frame_size or 1024)]
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece).reshape(1, -1), format="s16", layout="stereo")
            frame.rate, frame.pts, frame.time_base = rate, self._done, Fraction(1, rate)
            self._done += len(piece)
            for packet in self._stream.encode(frame):
                self._output.mux(packet)
            if self._done == len(values):
                for packet in self._stream.encode(None):
                    self._output.mux(packet)


class AudioTrack:
    """The main audio of ``source``, if it has any, as a stream of ``output``; a context manager.

    Raises:
        ClipError: the source cannot be read.
    """

    def __init__(self, output: OutputContainer, source: VideoInfo) -> None:
        self._output = output
        self._source = source.path
        self._input = open_container(source.path)
        track = self._input.streams.best("audio")
        self._waiting: list[tuple[Fraction, Packet]] = []
        self._packets: Iterator[tuple[Fraction, Packet]] = iter(())
        if isinstance(track, AudioStream):
            if track.codec_context.codec.canonical_name in _COPIED_CODECS:
                self._packets = self._copied(track, output.add_stream_from_template(track), source.start)
            else:
                self._packets = self._encoded(track, self._aac_stream(track), source.start)

    def __enter__(self) -> AudioTrack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()

    def advance(self, until: Fraction) -> None:
        """Mux the audio that begins before ``until`` (seconds from the first frame)."""
        while True:
            if not self._waiting:
                self._waiting.extend(islice(self._packets, 1))
            if not self._waiting or self._waiting[0][0] >= until:
                return
            self._output.mux(self._waiting.pop()[1])

    def _copied(self, track: AudioStream, target: AudioStream, start: Fraction) -> Iterator[tuple[Fraction, Packet]]:
        """(time, packet) of the source, moved so that the first frame is at 0."""
        try:
            for packet in self._input.demux(track):
                if packet.pts is None or packet.dts is None:
                    continue
                time = packet.pts * packet.time_base - start
                if time < -_LEAD_IN:
                    continue
                shift = round(start / packet.time_base)
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = target
                yield time, packet
        except FFmpegError as error:
            raise _damaged(self._source, error) from error

    def _encoded(self, track: AudioStream, target: AudioStream, start: Fraction) -> Iterator[tuple[Fraction, Packet]]:
        """(time, packet) of the source's audio as AAC, the first frame at 0."""
        rate = target.rate
        resampler = AudioResampler(format="fltp", layout=target.layout, rate=rate, frame_size=target.frame_size or 1024)
        position: int | None = None
        try:
            for decoded in chain(self._input.decode(track), [None]):
                if decoded is not None:
                    time = (decoded.pts or 0) * (decoded.time_base or Fraction(1, rate)) - start
                    if time < -_LEAD_IN:
                        continue
                    if position is None:
                        position = round(time * rate)
                for frame in resampler.resample(decoded):
                    assert position is not None, "audio comes after its time is known"
                    frame.pts, frame.time_base = position, Fraction(1, rate)
                    position += frame.samples
                    yield from self._timed(target.encode(frame))
            yield from self._timed(target.encode(None))
        except FFmpegError as error:
            raise _damaged(self._source, error) from error

    def _aac_stream(self, track: AudioStream) -> AudioStream:
        rate = track.rate if track.rate in _AAC_RATES else 48000
        stream = self._output.add_stream("aac", rate=rate)
        stream.layout = "mono" if track.channels == 1 else "stereo"
        return stream

    @staticmethod
    def _timed(packets: list[Packet]) -> Iterator[tuple[Fraction, Packet]]:
        for packet in packets:
            yield (packet.pts or 0) * packet.time_base, packet


def _damaged(path: Path, error: FFmpegError) -> ClipError:
    return ClipError(f"{path}: its audio is damaged ({error.strerror}); copy the clip again or remove its audio")
