"""Frame index of a video: exact frame times and key frames, found without decoding where that is safe.

The whole file is read packet by packet. Where container or codec do not promise one frame per packet in a known order
(transport streams, raw streams, AVI, VP8 with its hidden frames, streams that start between two key frames), the
frames are decoded instead, so that the index always lists exactly the frames that a reader gets.

Building the index reads the whole file, so it is done once per clip and kept as a small ``.npz`` file
(:meth:`FrameIndex.save`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from inspatio.errors import ClipError
from inspatio.media.container import EXPECTED_VIDEO, matroska_end, open_video
from inspatio.storage import DAMAGED_ARRAYS, atomic_file, is_there

INDEX_VERSION = 1
"""Version of the ``.npz`` file; an index of another version is built again."""
_INDEXED_FORMATS = ("mov,mp4", "matroska")
_CODECS_WITH_HIDDEN_FRAMES = ("vp8",)
_UNNOTICED_SHORTFALL = Fraction(1, 2)
"""Seconds by which a Matroska file that was never finished may end before its duration says so: rounding does that."""

log = logging.getLogger(__name__)


# Also a missing array, another number of values than expected, and 0 in the time base.
_DAMAGED = (*DAMAGED_ARRAYS, KeyError, TypeError, ZeroDivisionError)


@dataclass(frozen=True)
class KeyFrame:
    """A key frame: decoding can start here and gives frame ``index`` and all later ones."""

    index: int
    packet: int
    """How many packets of the stream come before its own."""
    seek: int
    """The time stamp to seek to, in ticks of the stream."""


@dataclass(frozen=True)
class FrameIndex:
    """Times of all frames in presentation order (``n`` int64 ticks of ``time_base`` seconds) and the key frames."""

    ticks: NDArray[np.int64]
    time_base: Fraction
    last_ticks: int
    """How long the last frame is shown, in ticks; 0 where the file does not say."""
    keys: tuple[KeyFrame, ...]
    stamped: bool
    """Whether decoded frames carry these very times, so that each frame is identified by its time stamp."""
    seekable: bool
    """Whether the container finds a key frame by its time stamp."""

    def save(self, file: Path, fingerprint: str) -> None:
        """Write the index as ``.npz``, whole or not at all; ``fingerprint`` names the content of the video.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        with atomic_file(file) as part, part.open("wb") as target:
            np.savez_compressed(
                target,
                version=INDEX_VERSION,
                fingerprint=fingerprint,
                ticks=self.ticks,
                time_base=[self.time_base.numerator, self.time_base.denominator],
                last_ticks=self.last_ticks,
                keys=np.array([(key.index, key.packet, key.seek) for key in self.keys], np.int64),
                stamped=self.stamped,
                seekable=self.seekable,
            )

    @classmethod
    def load(cls, file: Path, fingerprint: str) -> FrameIndex | None:
        """Read an index; None where there is none or it is stale, and the video has to be probed again.

        Stale is an index of another video content (``fingerprint``), of another version, or damaged (logged).
        """
        if not is_there(file):
            return None
        try:
            with np.load(file, allow_pickle=False) as stored:
                if int(stored["version"]) != INDEX_VERSION or str(stored["fingerprint"]) != fingerprint:
                    return None
                return cls(
                    ticks=stored["ticks"].astype(np.int64),
                    time_base=Fraction(*map(int, stored["time_base"])),
                    last_ticks=int(stored["last_ticks"]),
                    keys=tuple(KeyFrame(*map(int, key)) for key in stored["keys"]),
                    stamped=bool(stored["stamped"]),
                    seekable=bool(stored["seekable"]),
                )
        except _DAMAGED as error:
            # Not numpy's own words, which advise to unpickle the file.
            log.warning("%s: damaged frame index (%s); the video is read through again", file, type(error).__name__)
            return None


def build_index(path: Path) -> tuple[FrameIndex, Fraction, bool]:
    """Read the whole video: its frame index, its frame rate (frames per second), and whether the rate varies.

    Raises:
        ClipError: the file cannot be opened, is damaged, or is cut short.
    """
    with open_video(path) as (container, stream):
        scan = _scan(path, container, stream)
        is_trusted = _has_one_frame_per_packet(container, stream, scan)
        rates = [rate for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
    index = _index_from_packets(scan) if is_trusted else _index_by_decoding(path, scan, rates)
    return index, *_infer_frame_rate(index, rates)


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
    if "matroska" not in container.format.name:
        return
    promised = matroska_end(path)
    if promised is not None and promised > file_size:
        raise ClipError(
            f"{path}: cut short after {float(end):.2f} s, at byte {file_size} of {promised} by its header; "
            "expected a whole video. Copy it again."
        )
    if container.duration:
        promised = Fraction(container.duration, av.time_base)
        if promised - end > _UNNOTICED_SHORTFALL:
            raise ClipError(
                f"{path}: cut short, it ends after {float(end):.2f} s and its header says {float(promised):.2f} s; "
                "expected a whole video. Copy it again."
            )


def _has_one_frame_per_packet(container: InputContainer, stream: VideoStream, scan: _Scan) -> bool:
    """Whether the packets alone say which frames a decoder will give."""
    shown = [packet.pts for packet in scan.packets if not packet.is_discarded]
    stamps = [pts for pts in shown if pts is not None]
    return (
        container.format.name.startswith(_INDEXED_FORMATS)
        and stream.codec_context.codec.canonical_name not in _CODECS_WITH_HIDDEN_FRAMES
        and len(stamps) == len(set(stamps)) == len(shown) > 0
        and scan.packets[0].is_key
        # Frames shown before the first key frame but stored after it refer to frames that were cut away.
        and scan.packets[0].pts == min(packet.pts for packet in scan.packets if packet.pts is not None)
    )


def _index_from_packets(scan: _Scan) -> FrameIndex:
    shown = sorted((packet.pts or 0, packet.duration) for packet in scan.packets if not packet.is_discarded)
    ticks = np.array([pts for pts, _ in shown], np.int64)
    return FrameIndex(ticks, scan.time_base, shown[-1][1], _key_frames(scan, ticks), True, scan.seekable)


def _index_by_decoding(path: Path, scan: _Scan, rates: Sequence[Fraction]) -> FrameIndex:
    """Decode everything, for streams whose packets do not say which frames come out."""
    ticks: list[int | None] = []
    with open_video(path) as (container, stream):
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt and ticks:
                    raise ClipError(
                        f"{path}: cut short or damaged at frame {len(ticks)}; expected a whole video. Copy it again."
                    )
                # Corrupt frames before the first whole one refer to frames that were cut away: nobody can show them.
                if not frame.is_corrupt:
                    ticks.append(frame.pts)
        except FFmpegError as error:
            raise ClipError(
                f"{path}: damaged at frame {len(ticks)} ({error.strerror}); expected a whole video. Copy it again."
            ) from error
    if not ticks:
        raise ClipError(f"{path}: no whole frame in it; {EXPECTED_VIDEO}")
    stamps = [tick for tick in ticks if tick is not None]
    if len(stamps) == len(ticks) and all(a < b for a, b in pairwise(stamps)):
        known = np.array(stamps, np.int64)
        return FrameIndex(
            known, scan.time_base, scan.packets[-1].duration, _key_frames(scan, known), True, scan.seekable
        )
    time_base = 1 / (rates[0] if rates else Fraction(25))
    return FrameIndex(np.arange(len(ticks)), time_base, 1, (KeyFrame(0, 0, 0),), False, False)


def _key_frames(scan: _Scan, ticks: NDArray[np.int64]) -> tuple[KeyFrame, ...]:
    """The key frames that are shown, and always frame 0, which the reader gets by starting at the file's beginning."""
    keys = [KeyFrame(0, 0, int(ticks[0]))]
    place = {int(tick): index for index, tick in enumerate(ticks)}
    for number, packet in enumerate(scan.packets):
        index = place.get(packet.pts, 0) if packet.is_key and packet.pts is not None else 0
        if index > keys[-1].index:
            seek = packet.dts if scan.by_dts and packet.dts is not None else packet.pts
            assert seek is not None, "a shown frame has a time"
            keys.append(KeyFrame(index, number, seek))
    return tuple(keys)


def _infer_frame_rate(index: FrameIndex, rates: Sequence[Fraction]) -> tuple[Fraction, bool]:
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
    # The simplest close fraction: encoders take no others. Of slow clips it is that of the interval, never 0.
    return mean.limit_denominator(1001) if mean > 1 else 1 / (1 / mean).limit_denominator(1001), True
