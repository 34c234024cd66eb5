"""Copy the audio of a source video into a new one: packet by packet, or re-encoded as AAC where mp4 cannot hold it.

Audio is muxed only as far as frames have been written, so that it ends with them and memory does not grow with the
clip. Times count from the first frame of the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from types import TracebackType

from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from inspatio.errors import ClipError
from inspatio.media.container import open_container
from inspatio.media.video_info import VideoInfo

_COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"})
"""Codecs that mp4 can hold and that players expect in it."""
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
_LEAD_IN = Fraction(1, 10)
"""Seconds before the first frame that are kept: audio codecs need earlier packets to start cleanly."""


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
            raise self._damaged(error) from error

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
            raise self._damaged(error) from error

    def _aac_stream(self, track: AudioStream) -> AudioStream:
        rate = track.rate if track.rate in _AAC_RATES else 48000
        stream = self._output.add_stream("aac", rate=rate)
        stream.layout = "mono" if track.channels == 1 else "stereo"
        return stream

    @staticmethod
    def _timed(packets: list[Packet]) -> Iterator[tuple[Fraction, Packet]]:
        for packet in packets:
            yield (packet.pts or 0) * packet.time_base, packet

    def _damaged(self, error: FFmpegError) -> ClipError:
        return ClipError(
            f"{self._source}: its audio is damaged ({error.strerror}); copy the clip again or remove its audio"
        )
