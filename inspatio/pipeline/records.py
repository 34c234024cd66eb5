"""The record of a clip: what each stage has finished for it, with types and checks of every field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from inspatio.media.listing import SourceKind
from inspatio.settings import StageName
from inspatio.types import ScaleKind

FolderName = Literal["work", "run"]

RATE = r"^[0-9]+/[1-9][0-9]*$"


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError(f"expected a relative path inside the manifest's folder, got {path!r}")
    return path


InsidePath = Annotated[str, AfterValidator(_inside)]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class VideoFacts(Record):
    """The JSON form of `VideoInfo` (``media/video_info.py``) without its path, file size and frame index.

    ``height`` and ``width`` are of the upright frame in pixels, ``duration`` is in seconds, ``rotation`` in degrees.
    """

    height: int
    width: int
    frame_count: int
    frame_rate: str = Field(pattern=RATE)
    duration: float
    rotation: int
    has_audio: bool
    variable_frame_rate: bool
    stored_height: int
    stored_width: int
    mirrored: bool


class PictureFacts(Record):
    """The JSON form of `PictureInfo` (``media/pictures.py``) without its path and file size."""

    height: int
    width: int
    frame_rate: str = Field(pattern=RATE)
    names: list[str] = []
    notes: list[str] = []

    @property
    def frame_count(self) -> int:
        return len(self.names) or 1


class Source(Record):
    """The input: its content's fingerprint, its path (which may lead out of the folder), its files' size in bytes.

    Of ``video`` and ``pictures`` it has the one that its content calls for, or neither where it cannot be read.
    """

    kind: SourceKind = "video"
    fingerprint: str
    path: str
    file_size: int
    video: VideoFacts | None = None
    pictures: PictureFacts | None = None

    @property
    def facts(self) -> VideoFacts | PictureFacts | None:
        return self.video or self.pictures


class FileRecord(Record):
    """A file as it was when the stage had finished it: size in bytes, time of the last change, hash of its content."""

    size: int
    mtime_ns: int
    content: str


class StageResult(Record):
    """What a stage has finished for a clip. Every stage has its own subclass."""

    fingerprint: str
    """Names everything that the result was made from."""
    inputs: dict[str, JsonValue] | None = None
    """The same by name (``reasons.py``). None for a result recorded by an earlier version."""
    seconds: float | None = None
    """How long it took, models and all; its share, where several clips were done together. It makes nothing stale."""
    files: dict[InsidePath, FileRecord] | None = None
    """The result's files, by their paths relative to the manifest's folder (``result_files.py``). None for a result
    without files, and for one recorded by an earlier version, which counts as whole while its files are there."""


class CaptionResult(StageResult):
    """The prompt and where it is from; ``flags`` name what is wrong with a degenerate answer of a captioner."""

    text: str
    origin: str
    flags: list[str] = []
    weights: dict[str, str] = {}
    """The weights that were used, with their terms."""


class GeometryResult(StageResult):
    """The clip's geometry folder (``geometry/store.py``)."""

    folder: InsidePath
    backend: str
    scale: ScaleKind
    frame_count: int
    notes: list[str] = []
    weights: dict[str, str] = {}


class RenderResult(StageResult):
    """The clip's render folder (``render/files.py``): render.mp4, mask.mp4, cameras.json."""

    folder: InsidePath
    frame_count: int
    coverage: float
    """Mean share of covered pixels, 0..1."""
    notes: list[str] = []


class OutputResult(StageResult):
    """The novel-view video, and the cameras it is seen from."""

    video: InsidePath
    cameras: InsidePath
    comparison: InsidePath | None = None
    frame_count: int
    generator: str
    notes: list[str] = []
    weights: dict[str, str] = {}


class ClipFailure(Record):
    """Why the clip stopped, and in which stage (``probe`` before the first)."""

    stage: str
    message: str


@dataclass(frozen=True)
class StageEntry:
    """Where a stage keeps its result."""

    folder: FolderName
    """The work folder (independent of the trajectory) or the run folder."""
    field: str
    """The field of `Clip`."""
    skip_option: str | None = None
    """The option that trusts finished results as they are."""


STAGES: dict[StageName, StageEntry] = {
    "caption": StageEntry("work", "caption", "--skip_step1"),
    "geometry": StageEntry("work", "geometry", "--skip_step2"),
    "render": StageEntry("run", "render"),
    "generate": StageEntry("run", "output", "--skip_step3"),
}
"""All stages in the order they run."""


class Clip(Record):
    """Everything known of one clip. A manifest holds the part of it that belongs to its folder."""

    id: str = Field(pattern=r"^(?:[^/\x00]*[^/\x00.][^/\x00]*|\.{3,})$")  # a name that a file can have
    source: Source
    caption: CaptionResult | None = None
    geometry: GeometryResult | None = None
    render: RenderResult | None = None
    output: OutputResult | None = None
    error: ClipFailure | None = None


class TrajectoryRecord(Record):
    """The trajectory of all renders in a run folder."""

    file: str
    """Its path relative to the run folder."""
    fingerprint: str
    line_count: int
    text: str | None = None
    """Its content; None where that is long."""
