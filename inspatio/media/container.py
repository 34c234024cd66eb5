"""Open media files with PyAV and choose their main video stream; every failure is one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from inspatio.errors import ClipError

EXPECTED_VIDEO = "expected a video such as an mp4, mov, mkv or webm"

_FORMATS = "mov matroska avi mpegts mpeg mpegvideo asf flv ogg gif h264 hevc m4v mjpeg".split()  # noqa: SIM905
"""The FFmpeg demuxers that may read an input: containers and raw streams that hold their own pictures.

Concat scripts, HLS and DASH playlists and numbered-image patterns are left out: they show the pictures of other files,
whatever they are called, and a fingerprint of the script would not notice when those change.
"""
_EBML_HEADER, _SEGMENT = 0x1A45DFA3, 0x18538067


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its main video stream; neither may be used after leaving the ``with``.

    Raises:
        ClipError: the file cannot be opened or has no video stream.
    """
    container = open_container(path)
    try:
        yield container, _main_video_stream(path, container)
    finally:
        container.close()


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading; the caller closes it.

    Raises:
        ClipError: no such file, or not a media file.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
        raise ClipError(f"{path}: {found}; {EXPECTED_VIDEO}")
    if path.stat().st_size == 0:
        raise ClipError(f"{path}: the file is empty (0 bytes); {EXPECTED_VIDEO}. Copy it again.")
    try:
        return av.open(
            f"file:{path.absolute()}",
            metadata_errors="replace",
            options={"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)},
        )
    except OSError as error:
        raise ClipError(f"{path}: cannot be opened ({error.strerror}); {EXPECTED_VIDEO}") from error
    except FFmpegError as error:
        if b"ftyp" in _head(path)[4:8]:
            raise ClipError(
                f"{path}: an mp4 without its index ('moov'), so the file was cut short while it was recorded or "
                "copied; expected a whole video. Copy it again or repair it."
            ) from error
        if isinstance(error, ArgumentError):
            raise ClipError(
                f"{path}: not a video of its own (a playlist, a script or another kind of file); {EXPECTED_VIDEO}"
            ) from error
        raise ClipError(f"{path}: not a video ({error.strerror}); {EXPECTED_VIDEO}") from error


def first_frame(path: Path, stream: VideoStream) -> av.VideoFrame:
    """Decode the first frame of a freshly opened stream.

    Raises:
        ClipError: there is none, or it cannot be decoded.
    """
    try:
        for frame in stream.container.decode(stream):  # type: ignore[attr-defined]
            return frame
    except FFmpegError as error:
        raise ClipError(f"{path}: no frame of it can be decoded ({error.strerror}); {EXPECTED_VIDEO}") from error
    raise ClipError(f"{path}: its video stream has no frame; {EXPECTED_VIDEO}")


def matroska_end(path: Path) -> int | None:
    """Where a Matroska or WebM file ends by its own header, in bytes; None where the header does not say.

    The header of a file that is still being recorded does not (RFC 8794: unknown element size).
    """
    with path.open("rb") as file:
        kind, size = _ebml_number(file, with_marker=True), _ebml_number(file)
        if kind != _EBML_HEADER or size is None:
            return None
        file.seek(size, 1)
        kind, size = _ebml_number(file, with_marker=True), _ebml_number(file)
        return file.tell() + size if kind == _SEGMENT and size is not None else None


def _ebml_number(file: BinaryIO, *, with_marker: bool = False) -> int | None:
    """Read an EBML number of 1 to 8 bytes, whose leading zero bits say how many follow; None where it is unknown.

    Element kinds include the marker bit after those zeros, sizes do not; a size of ones only is unknown.
    """
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    number = int.from_bytes(first + file.read(length - 1), "big")
    value = number & ((1 << 7 * length) - 1)
    if with_marker:
        return number
    return None if value == (1 << 7 * length) - 1 else value


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _main_video_stream(path: Path, container: InputContainer) -> VideoStream:
    """FFmpeg's best video stream, cover pictures left out."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "no"
        raise ClipError(f"{path}: no video stream in it (found: {kinds} streams); {EXPECTED_VIDEO}")
    best = container.streams.best("video")
    stream = next((s for s in streams if best is not None and s.index == best.index), streams[0])
    if stream.codec_context is None:
        raise ClipError(f"{path}: its video codec is not known to the bundled FFmpeg; expected for instance H.264")
    stream.thread_type = "AUTO"
    return stream
