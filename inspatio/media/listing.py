"""What a folder holds: videos, images, several views of one place, scene folders; and what is not taken, and why.

This is the only place that tells kinds of sources apart. A file's name says what it claims to be, and whether it is
that is found out when it is read; a folder's kind is told by what is in it:

    video     a video file
    image     one picture of a place that stands still
    views     a folder with two or more pictures of one place
    panorama  an equirectangular picture: its name ends in ``.panorama`` before the suffix, or its depth lies beside it
    cloud     a scanned place as public WorldFM writes it: ``pointcloud.ply``, ``transforms_condition.json``, pictures
    v15       a scene folder of InSpatio-World 1.5: ``scene.json`` and ``input/``

What lies beside sources for their sake is passed over in silence: text files (captions, clip lists), hidden files,
geometry (``<source>.geometry/``, ``<source>/``, ``<panorama>.depth.npy``), folders of other things. Everything else is
told to the user.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from inspatio.errors import UsageError

SourceKind: TypeAlias = Literal["video", "image", "views", "panorama", "cloud", "v15"]

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv .gif".split()  # noqa: SIM905
)
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".heic", ".heif"))
SCENE_FILE = "scene.json"
"""What makes a folder a scene folder of InSpatio-World 1.5, together with ``input/``."""
CLOUD_FILE, CONDITIONS_FILE = "pointcloud.ply", "transforms_condition.json"
"""What makes a folder a scanned place: its points, and the cameras of its reference pictures."""
PLACES: frozenset[SourceKind] = frozenset(("panorama", "cloud"))
"""Kinds whose target views are drawn from points; only the frame model takes them."""
PROMPT_NAME = "input/prompt.txt"
"""Its prompt."""
GEOMETRY_SUFFIX = ".geometry"
PANORAMA_SUFFIX = ".panorama"
"""What a panorama's name ends in before the picture's own suffix, unless its depth lies beside it."""
DEPTH_ENDINGS = (".depth.npy", ".depth.npz", ".depth.exr", ".depth.png")
"""What follows a panorama's stem in the name of the file with its distances."""
EXPECTED = f"files ending in {' '.join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))}, or folders of views"

_COMPANION_SUFFIXES = frozenset({".txt", ".json", ".md"})


@dataclass(frozen=True)
class FoundSource:
    """A file or a folder that becomes one clip."""

    path: Path
    kind: SourceKind


@dataclass(frozen=True)
class LeftOut:
    """A file or a folder that is not taken, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a folder holds, each sorted by name."""

    sources: tuple[FoundSource, ...]
    left_out: tuple[LeftOut, ...]


def list_sources(folder: Path) -> Listing:
    """The sources directly in a folder, and what in it is not taken.

    Raises:
        UsageError: there is no such folder, it cannot be read, or there is no source in it.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise UsageError(f"{folder}: expected a folder of videos or images, found {found}; check --input_dir")
    entries = _visible(folder)
    videos = {path.stem: path for path in entries if is_video_name(path) and path.is_file()}
    sources, left_out = [], []
    for path in entries:
        found = _identified(path, videos)
        if isinstance(found, FoundSource):
            sources.append(found)
        elif found is not None:
            left_out.append(found)
    if not sources:
        count = sum(path.is_file() for path in entries)
        others = f"{count} other file{'s' * (count != 1)}" if count else "an empty folder"
        reasons = "".join(f"; {each.path.name}: {each.reason}" for each in left_out[:1])
        raise UsageError(f"{folder}: no video or image in it, found {others}{reasons}; expected {EXPECTED}")
    return Listing(tuple(sources), tuple(left_out))


def identify(path: Path, *, as_views: bool = False) -> FoundSource | None:
    """The source that one path is, None where it is none by itself (a folder of sources, a list).

    Args:
        path: a file or a folder that exists.
        as_views: a folder's images are views of one place, as a subfolder's always are.

    Raises:
        UsageError: with ``as_views``, it is no folder of two images or more.
    """
    if as_views:
        count = len(list_images(path)) if path.is_dir() else 0
        if count < 2:
            raise UsageError(f"--views: got {count} images in {path}, expected a folder of two or more of one place")
        return FoundSource(path, "views")
    if path.is_dir():
        return _known_folder(path)
    if is_video_name(path) or is_image_name(path):
        if is_video_name(path):
            return FoundSource(path, "video")
        if path.stem.endswith(PANORAMA_SUFFIX) or panorama_depth(path) is not None:
            return FoundSource(path, "panorama")
        return FoundSource(path, "image")
    return None


def panorama_depth(path: Path) -> Path | None:
    """The file with the distance of every pixel that lies beside a panorama; None where there is none."""
    beside = (path.with_name(path.stem + ending) for ending in DEPTH_ENDINGS)
    return next((file for file in beside if file.is_file()), None)


def list_images(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted by name."""
    return [path for path in _visible(folder) if is_image_name(path) and path.is_file()]


def is_video_name(path: Path) -> bool:
    """Whether a file is taken as a video, going by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_image_name(path: Path) -> bool:
    """Whether a file is taken as an image, going by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _identified(path: Path, videos: dict[str, Path]) -> FoundSource | LeftOut | None:
    """What an entry of a folder is, with the folder's videos by stem; None for what lies beside sources."""
    if path.is_dir():
        return _identified_folder(path, videos)
    if path.name.endswith(DEPTH_ENDINGS):
        return None
    if is_video_name(path) or is_image_name(path):
        if not path.is_file():
            return LeftOut(path, "not a regular file")
        if is_image_name(path) and path.stem in videos:
            return LeftOut(path, f"has the name of {videos[path.stem].name}: a picture of it")
        return identify(path)
    return None if path.suffix.lower() in _COMPANION_SUFFIXES else LeftOut(path, "neither a video nor an image")


def _identified_folder(path: Path, videos: dict[str, Path]) -> FoundSource | LeftOut | None:
    if (known := _known_folder(path)) is not None:
        return known
    if path.suffix == GEOMETRY_SUFFIX or path.name in videos:
        return None
    count = len(list_images(path))
    if count > 1:
        return FoundSource(path, "views")
    if count == 1:
        return LeftOut(path, "one image, expected two or more views of one place")
    return LeftOut(path, "a folder, not a file") if is_video_name(path) or is_image_name(path) else None


def _known_folder(folder: Path) -> FoundSource | None:
    """The source that a folder is by files of certain names."""
    if (folder / SCENE_FILE).is_file() and (folder / "input").is_dir():
        return FoundSource(folder, "v15")
    if (folder / CLOUD_FILE).is_file() and (folder / CONDITIONS_FILE).is_file():
        return FoundSource(folder, "cloud")
    return None


def _visible(folder: Path) -> list[Path]:
    try:
        entries: Iterable[Path] = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror}), expected a folder to be read") from error
    return [path for path in entries if not path.name.startswith(".")]
