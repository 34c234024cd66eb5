"""What a clip is, found without decoding it where that is safe: size, exact frame count, times, sound.

The frames are counted by reading the packets. Where a container or codec does not promise one frame to a packet in a
known order (transport streams, raw streams, AVI, VP8 with its hidden frames, streams that start between two key
frames) they are decoded instead, so that ``frame_count`` is always what a reader will get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from inspatio.errors import ClipError, UsageError
from inspatio.media.color import Turn

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv .gif".split()  # noqa: SIM905
)
_EXPECTED = "expected a video such as an mp4, mov, mkv or webm"
_INDEXED_FORMATS = ("mov,mp4", "matroska")
_CODECS_WITH_HIDDEN_FRAMES = ("vp8",)
_UNNOTICED_SHORTFALL = Fraction(1, 2)
"""Seconds by which a Matroska file may end before its header says so; trailing subtitles and rounding do that."""


@dataclass(frozen=True)
class KeyFrame:
    """A place from which decoding can start: the frame ``index`` and all later ones can be had from there."""

    index: int
    packet: int
    """How many packets of the stream come before its own."""
    seek: int
    """The time stamp to seek to, in ticks of the stream."""


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames are: times in presentation order and the key frames among them."""

    ticks: NDArray[np.int64]
    time_base: Fraction
    last_ticks: int
    """How long the last frame stands, in ticks; 0 where the file does not say."""
    keys: tuple[KeyFrame, ...]
    stamped: bool
    """Whether decoded frames carry these very times, so that each can be told by its own."""
    seekable: bool
    """Whether the container finds a key frame by its time stamp."""


@dataclass(frozen=True)
class VideoInfo:
    """A clip that can be read.

    ``size`` is (height, width) as shown: upright and with square pixels. ``frame_rate`` is in frames per second, exact
    for a constant rate and the mean for a variable one. ``duration`` and ``start`` (when the first frame is shown, on
    the file's own clock) are in seconds.
    """

    path: Path
    size: tuple[int, int]
    frame_count: int
    frame_rate: Fraction
    duration: float
    has_audio: bool
    variable_frame_rate: bool
    file_size: int
    start: Fraction
    stored_size: tuple[int, int]
    """(height, width) of the frames as stored: before turning and making pixels square."""
    turn: Turn
    """How stored frames are turned to stand upright; readers do it."""
    index: FrameIndex = field(repr=False, compare=False)

    @property
    def rotation(self) -> int:
        """By how many degrees clockwise stored frames are turned to stand upright: 0, 90, 180 or 270."""
        return self.turn.degrees

    def timestamps(self) -> list[Fraction]:
        """When each frame is shown, in seconds; the first one at 0."""
        return [int(tick) * self.index.time_base for tick in self.index.ticks - self.index.ticks[0]]


def list_videos(folder: Path) -> list[Path]:
    """The videos directly in a folder, sorted by name; hidden files and folders are not looked at.

    Raises:
        UsageError: there is no such folder, or no video in it.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise UsageError(f"{folder}: expected a folder of videos, found {found}; check --input_dir")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        others = f"{len(files)} other file{'s' * (len(files) != 1)}" if files else "an empty folder"
        known = " ".join(sorted(VIDEO_SUFFIXES))
        raise UsageError(f"{folder}: no video in it, found {others}; expected files ending in {known}")
    return videos


def probe(path: Path) -> VideoInfo:
    """What the clip is, its frames counted.

    Raises:
        ClipError: no such file, not a video, no picture in it, cut short, or damaged.
    """
    with open_video(path) as (_, stream):
        first = _first_frame(path, stream)
        turn, stored_size = Turn.of(first), (first.height, first.width)
        size = turn.size(_square(path, stored_size, stream.sample_aspect_ratio))
    with open_video(path) as (container, stream):
        scan = _scan(path, container, stream)
        trusted = _one_frame_a_packet(container, stream, scan)
        rates = [rate for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
        has_audio = bool(container.streams.audio)
    index = _index_packets(scan) if trusted else _index_frames(path, scan, rates)
    frame_rate, variable = _frame_rate(index, rates)
    end = index.last_ticks * index.time_base or 1 / frame_rate
    return VideoInfo(
        path=path,
        size=size,
        frame_count=len(index.ticks),
        frame_rate=frame_rate,
        duration=float(int(index.ticks[-1] - index.ticks[0]) * index.time_base + end),
        has_audio=has_audio,
        variable_frame_rate=variable,
        file_size=path.stat().st_size,
        start=int(index.ticks[0]) * index.time_base if index.stamped else Fraction(0),
        stored_size=stored_size,
        turn=turn,
        index=index,
    )


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The opened file and its main video stream; neither may be touched after leaving.

    Raises:
        ClipError: the file cannot be opened or has no video stream.
    """
    container = open_container(path)
    try:
        yield container, _video_stream(path, container)
    finally:
        container.close()


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading; the caller closes it.

    Raises:
        ClipError: no such file, or not a media file.
    """
    if not path.is_file():
        found = "a folder" if path.exists() else "no such file"
        raise ClipError(f"{path}: {found}; {_EXPECTED}")
    if path.stat().st_size == 0:
        raise ClipError(f"{path}: the file is empty (0 bytes); {_EXPECTED}. Copy it again.")
    try:
        # A file that only names other files or addresses (playlists) must not make anything else be opened.
        return av.open(f"file:{path.absolute()}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except OSError as error:
        raise ClipError(f"{path}: cannot be opened ({error.strerror}); {_EXPECTED}") from error
    except FFmpegError as error:
        if b"ftyp" in _head(path)[4:8]:
            raise ClipError(
                f"{path}: an mp4 without its index ('moov'), so the file was cut short while it was recorded or "
                "copied; expected a whole video. Copy it again or repair it."
            ) from error
        raise ClipError(f"{path}: not a video ({error.strerror}); {_EXPECTED}") from error


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "no"
        raise ClipError(f"{path}: no video stream in it (found: {kinds} streams); {_EXPECTED}")
    best = container.streams.best("video")
    stream = next((s for s in streams if best is not None and s.index == best.index), streams[0])
    if stream.codec_context is None:
        raise ClipError(f"{path}: its video codec is not known to the bundled FFmpeg; expected for instance H.264")
    stream.thread_type = "AUTO"
    return stream


def _first_frame(path: Path, stream: VideoStream) -> av.VideoFrame:
    try:
        for frame in stream.container.decode(stream):  # type: ignore[attr-defined]
            return frame
    except FFmpegError as error:
        raise ClipError(f"{path}: no frame of it can be decoded ({error.strerror}); {_EXPECTED}") from error
    raise ClipError(f"{path}: its video stream has no frame; {_EXPECTED}")


def _square(path: Path, size: tuple[int, int], aspect: Fraction | None) -> tuple[int, int]:
    """The (height, width) with square pixels; the axis that is too short grows, so that no detail is lost."""
    if not aspect or aspect == 1:
        return size
    if not Fraction(1, 8) <= aspect <= 8:
        raise ClipError(f"{path}: its pixels are {aspect} times as wide as high; expected between 1/8 and 8")
    if aspect > 1:
        return size[0], round(size[1] * aspect)
    return round(size[0] / aspect), size[1]


@dataclass(frozen=True)
class _Packet:
    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    is_discarded: bool


@dataclass(frozen=True)
class _Scan:
    """All packets of the video stream in file order."""

    packets: tuple[_Packet, ...]
    time_base: Fraction
    by_dts: bool
    """Whether the container's own index, and so its seeking, goes by decoding time."""
    seekable: bool


def _scan(path: Path, container: InputContainer, stream: VideoStream) -> _Scan:
    """Read the whole file packet by packet, without decoding.

    Raises:
        ClipError: the file is damaged or cut short.
    """
    packets: list[_Packet] = []
    end = Fraction(0)
    try:
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index != stream.index:
                continue
            if packet.is_corrupt:
                raise ClipError(
                    f"{path}: cut short or damaged at frame {len(packets)}; expected a whole video. Copy it again."
                )
            packets.append(_Packet(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, packet.is_discard))
    except FFmpegError as error:
        raise ClipError(
            f"{path}: damaged at frame {len(packets)} ({error.strerror}); expected a whole video. Copy it again."
        ) from error
    _check_whole(path, container, stream, len(packets), end)
    name = container.format.name
    assert stream.time_base is not None, f"{path}: a video stream without a time base"
    return _Scan(tuple(packets), stream.time_base, "mov" in name, name.startswith(_INDEXED_FORMATS))


def _check_whole(path: Path, container: InputContainer, stream: VideoStream, count: int, end: Fraction) -> None:
    """Raise where the container's own index or header promises more than the file holds."""
    file_size = path.stat().st_size
    if "mov" in container.format.name:
        promised = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        if promised > file_size:
            raise ClipError(
                f"{path}: cut short, its pictures run to byte {promised} and the file ends at byte {file_size} "
                f"(frame {count} of {len(stream.index_entries)}); expected a whole video. Copy it again."
            )
    if "matroska" in container.format.name and container.duration:
        promised = Fraction(container.duration, av.time_base)
        if promised - end > _UNNOTICED_SHORTFALL:
            raise ClipError(
                f"{path}: cut short, it ends after {float(end):.2f} s and its header says {float(promised):.2f} s; "
                "expected a whole video. Copy it again."
            )


def _one_frame_a_packet(container: InputContainer, stream: VideoStream, scan: _Scan) -> bool:
    """Whether the packets alone say which frames a decoder will give."""
    shown = [packet.pts for packet in scan.packets if not packet.is_discarded]
    stamps = [pts for pts in shown if pts is not None]
    return (
        container.format.name.startswith(_INDEXED_FORMATS)
        and stream.codec_context.codec.canonical_name not in _CODECS_WITH_HIDDEN_FRAMES
        and len(stamps) == len(set(stamps)) == len(shown) > 0
        and scan.packets[0].is_key
        # Frames shown before the first key frame but stored after it lean on frames that were cut away.
        and scan.packets[0].pts == min(packet.pts for packet in scan.packets if packet.pts is not None)
    )


def _index_packets(scan: _Scan) -> FrameIndex:
    shown = sorted((packet.pts or 0, packet.duration) for packet in scan.packets if not packet.is_discarded)
    ticks = np.array([pts for pts, _ in shown], np.int64)
    return FrameIndex(ticks, scan.time_base, shown[-1][1], _key_frames(scan, ticks), True, scan.seekable)


def _index_frames(path: Path, scan: _Scan, rates: Sequence[Fraction]) -> FrameIndex:
    """The index by decoding everything, for streams whose packets do not say."""
    ticks: list[int | None] = []
    with open_video(path) as (container, stream):
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt and ticks:
                    raise ClipError(
                        f"{path}: cut short or damaged at frame {len(ticks)}; expected a whole video. Copy it again."
                    )
                # Before the first whole frame are those that lean on what was cut away: no decoder can show them.
                if not frame.is_corrupt:
                    ticks.append(frame.pts)
        except FFmpegError as error:
            raise ClipError(
                f"{path}: damaged at frame {len(ticks)} ({error.strerror}); expected a whole video. Copy it again."
            ) from error
    if not ticks:
        raise ClipError(f"{path}: no whole frame in it; {_EXPECTED}")
    stamps = [tick for tick in ticks if tick is not None]
    if len(stamps) == len(ticks) and all(a < b for a, b in pairwise(stamps)):
        known = np.array(stamps, np.int64)
        return FrameIndex(
            known, scan.time_base, scan.packets[-1].duration, _key_frames(scan, known), True, scan.seekable
        )
    time_base = 1 / (rates[0] if rates else Fraction(25))
    return FrameIndex(np.arange(len(ticks)), time_base, 1, (KeyFrame(0, 0, 0),), False, False)


def _key_frames(scan: _Scan, ticks: NDArray[np.int64]) -> tuple[KeyFrame, ...]:
    """The key frames that are shown, and always frame 0, which is had by starting at the beginning of the file."""
    keys = [KeyFrame(0, 0, int(ticks[0]))]
    place = {int(tick): index for index, tick in enumerate(ticks)}
    for number, packet in enumerate(scan.packets):
        index = place.get(packet.pts, 0) if packet.is_key and packet.pts is not None else 0
        if index > keys[-1].index:
            seek = packet.dts if scan.by_dts and packet.dts is not None else packet.pts
            assert seek is not None, "a shown frame has a time"
            keys.append(KeyFrame(index, number, seek))
    return tuple(keys)


def _frame_rate(index: FrameIndex, rates: Sequence[Fraction]) -> tuple[Fraction, bool]:
    """The frame rate, and whether it varies: whether any frame is off the even grid by more than a rounded tick."""
    count = len(index.ticks)
    if count == 1:
        return (rates[0] if rates else Fraction(25)), False
    seconds = int(index.ticks[-1] - index.ticks[0]) * index.time_base
    mean = (count - 1) / seconds
    times = (index.ticks - index.ticks[0]).astype(np.float64) * float(index.time_base)
    for rate in (*rates, mean):
        error = np.abs(times - np.arange(count) / float(rate)).max()
        if error <= 1.001 * float(index.time_base):
            return rate, False
    return mean.limit_denominator(1001), True
