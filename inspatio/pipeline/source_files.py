"""A source on the disk: which files it is made of, what they hold, and whether they change."""

from __future__ import annotations

import errno
import os
import stat
from fractions import Fraction
from pathlib import Path

from inspatio.errors import ClipError
from inspatio.geometry.panorama import check_panorama_shape
from inspatio.media import FrameIndex, SourceInfo, VideoInfo, probe, probe_found
from inspatio.media.cloud_folder import picture_names
from inspatio.media.listing import (
    CLOUD_FILE,
    CONDITIONS_FILE,
    SCENE_FILE,
    FoundSource,
    list_images,
    panorama_depth,
)
from inspatio.media.pictures import PictureInfo
from inspatio.media.scene_folder import VIDEO_NAME, read_scene_file
from inspatio.pipeline.fingerprints import file_fingerprint, fingerprint
from inspatio.pipeline.records import PictureFacts, Source, VideoFacts


def source_files(found: FoundSource) -> list[Path]:
    """The files that make the source what it is."""
    match found.kind:
        case "video" | "image":
            return [found.path]
        case "views":
            return list_images(found.path)
        case "panorama":
            depth = panorama_depth(found.path)
            return [found.path] if depth is None else [found.path, depth]
        case "cloud":
            try:
                names = picture_names(found.path)
            except ClipError:  # probing reports it
                names = ()
            return [found.path / name for name in (CLOUD_FILE, CONDITIONS_FILE, *names)]
        case "v15":
            try:
                names = read_scene_file(found.path).names
            except ClipError:  # probing reports it
                names = ()
            return [found.path / name for name in (SCENE_FILE, *names)]


def size_and_time(found: FoundSource) -> tuple[int, int]:
    """Size of its files in bytes and time of their last change in nanoseconds; (0, 0) where a file is gone."""
    try:
        facts = [path.stat() for path in source_files(found)]
    except FileNotFoundError:
        return 0, 0
    return sum(each.st_size for each in facts), max((each.st_mtime_ns for each in facts), default=0)


def content_fingerprint(found: FoundSource) -> str:
    """Hash what is in the source's files and, of several, their names.

    Raises:
        OSError: a file cannot be read, or is not a regular one (a device could be read for ever).
    """
    files = source_files(found)
    for path in files:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
    if found.kind in ("video", "image"):
        return file_fingerprint(found.path)
    there = [path for path in files if path.exists()]  # probing reports the others
    folder = found.path if found.path.is_dir() else found.path.parent
    return fingerprint({Path(os.path.relpath(path, folder)).as_posix(): file_fingerprint(path) for path in there})


def probe_input(found: FoundSource) -> SourceInfo:
    """Read a source of a job once and return its record.

    Raises:
        ClipError: it cannot be read, or not whole, or is a panorama of another shape.
    """
    info = probe_found(found)
    if found.kind == "panorama":
        check_panorama_shape(found.path, info.size)
    return info


def with_facts(source: Source, info: SourceInfo) -> Source:
    """The manifest's record of a source with the facts that were found out."""
    if isinstance(info, PictureInfo):
        height, width = info.size
        rate = f"{info.frame_rate.numerator}/{info.frame_rate.denominator}"
        facts = PictureFacts(
            height=height, width=width, frame_rate=rate, names=list(info.names), notes=list(info.notes)
        )
        return source.model_copy(update={"pictures": facts})
    record = info.to_record()
    record.pop("file_size")  # the source has it, also where the file is not a readable video
    return source.model_copy(update={"video": VideoFacts(**record)})


def from_facts(source: Source, path: Path, index: FrameIndex | None) -> SourceInfo:
    """The source, ready to be read, as it was recorded; a video without its frame index is read again.

    Raises:
        ValueError, OSError: the file is not the recorded one any more.
    """
    if source.pictures is not None:
        facts = source.pictures
        size = (facts.height, facts.width)
        return PictureInfo(
            path, tuple(facts.names), size, source.file_size, Fraction(facts.frame_rate), tuple(facts.notes)
        )
    assert source.video is not None, f"{path} could not be read and must not get this far"
    file = path / VIDEO_NAME if source.kind == "v15" else path
    if index is None:
        return probe(file)
    record = {**source.video.model_dump(), "file_size": file.stat().st_size}
    if source.kind == "video":
        record["file_size"] = source.file_size
    return VideoInfo.from_record(record, file, index)
