"""The record of a video: upright size, exact frame count and times, orientation, sound.

:func:`probe` finds it by reading the whole file once. The facts go into the manifest (:meth:`VideoInfo.to_record`) and
the frame index into a small file beside it (:meth:`~inspatio.media.packet_index.FrameIndex.save`), so that no other
process has to read the file again.

FFmpeg stays silent: PyAV's logging is off by default and must not be switched on. ``av.logging.set_level`` installs a
callback that needs Python's global lock, and FFmpeg may call it from a codec's own thread while the thread that holds
the lock frees that codec and waits for it: a deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from inspatio.errors import ClipError
from inspatio.media.color import Orientation
from inspatio.media.container import first_frame, open_video
from inspatio.media.packet_index import FrameIndex, build_index


@dataclass(frozen=True)
class VideoInfo:
    """A video that can be read.

    ``size`` is (height, width) as shown: upright and with square pixels. ``frame_rate`` is in frames per second, exact
    for a constant rate and the mean for a variable one. ``duration`` is in seconds, ``file_size`` in bytes.
    """

    path: Path
    size: tuple[int, int]
    frame_count: int
    frame_rate: Fraction
    duration: float
    has_audio: bool
    variable_frame_rate: bool
    file_size: int
    stored_size: tuple[int, int]
    """(height, width) of the frames as stored: before they are turned upright and their pixels made square."""
    orientation: Orientation
    """How stored frames are turned to stand upright; readers do it."""
    index: FrameIndex = field(repr=False, compare=False)

    @property
    def rotation(self) -> int:
        """By how many degrees clockwise stored frames are turned to stand upright: 0, 90, 180 or 270."""
        return self.orientation.degrees

    @property
    def start(self) -> Fraction:
        """When the first frame is shown, in seconds on the file's own clock (that of its sound)."""
        return int(self.index.ticks[0]) * self.index.time_base if self.index.stamped else Fraction(0)

    def timestamps(self) -> list[Fraction]:
        """When each frame is shown, in seconds; the first one at 0."""
        return [int(tick) * self.index.time_base for tick in self.index.ticks - self.index.ticks[0]]

    def to_record(self) -> dict[str, Any]:
        """The facts as JSON values: everything but ``path`` and ``index``."""
        return {
            "height": self.size[0],
            "width": self.size[1],
            "frame_count": self.frame_count,
            "frame_rate": f"{self.frame_rate.numerator}/{self.frame_rate.denominator}",
            "duration": self.duration,
            "rotation": self.rotation,
            "has_audio": self.has_audio,
            "variable_frame_rate": self.variable_frame_rate,
            "file_size": self.file_size,
            "stored_height": self.stored_size[0],
            "stored_width": self.stored_size[1],
            "mirrored": self.orientation.is_mirrored,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], path: Path, index: FrameIndex) -> VideoInfo:
        """The record of :meth:`to_record`, with the file it describes and its frame index.

        Raises:
            ValueError: a field is missing or does not agree with the index or the file on disk; probe the video again.
        """
        try:
            info = cls(
                path=path,
                size=(record["height"], record["width"]),
                frame_count=record["frame_count"],
                frame_rate=Fraction(record["frame_rate"]),
                duration=record["duration"],
                has_audio=record["has_audio"],
                variable_frame_rate=record["variable_frame_rate"],
                file_size=record["file_size"],
                stored_size=(record["stored_height"], record["stored_width"]),
                orientation=Orientation.from_rotation(record["rotation"], mirrored=record["mirrored"]),
                index=index,
            )
        except KeyError as error:
            raise ValueError(f"record of {path}: field {error} is missing. Probe the video again.") from None
        if info.frame_count != len(index.ticks):
            raise ValueError(
                f"record of {path}: its frame index has {len(index.ticks)} frames, expected {info.frame_count}. "
                "Probe the video again."
            )
        if path.stat().st_size != info.file_size:
            raise ValueError(
                f"record of {path}: the file has {path.stat().st_size} bytes, expected {info.file_size}. "
                "Probe the video again."
            )
        return info


def probe(path: Path) -> VideoInfo:
    """Read the whole video once and return its record, its frames counted.

    Raises:
        ClipError: no such file, not a video, no picture in it, cut short, or damaged.
    """
    with open_video(path) as (container, stream):
        first = first_frame(path, stream)
        orientation, stored_size = Orientation.of(first), (first.height, first.width)
        size = orientation.size(_with_square_pixels(path, stored_size, stream.sample_aspect_ratio))
        has_audio = bool(container.streams.audio)
    index, frame_rate, is_variable = build_index(path)
    shown_last = index.last_ticks * index.time_base or 1 / frame_rate
    return VideoInfo(
        path=path,
        size=size,
        frame_count=len(index.ticks),
        frame_rate=frame_rate,
        duration=float(int(index.ticks[-1] - index.ticks[0]) * index.time_base + shown_last),
        has_audio=has_audio,
        variable_frame_rate=is_variable,
        file_size=path.stat().st_size,
        stored_size=stored_size,
        orientation=orientation,
        index=index,
    )


def _with_square_pixels(path: Path, size: tuple[int, int], aspect: Fraction | None) -> tuple[int, int]:
    """The (height, width) with square pixels; the axis that is too short grows, so that no detail is lost."""
    if not aspect or aspect == 1:
        return size
    if not Fraction(1, 8) <= aspect <= 8:
        raise ClipError(f"{path}: its pixels are {aspect} times as wide as high; expected between 1/8 and 8")
    if aspect > 1:
        return size[0], round(size[1] * aspect)
    return round(size[0] / aspect), size[1]
