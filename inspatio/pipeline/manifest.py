"""The manifest: one JSON file with the record of every clip, shared by all stages.

Two folders have one each. The work folder's (``output/<input>/manifest.json``) holds what does not depend on the
trajectory: ``source``, ``caption``, ``geometry``. The run folder's (``output/<input>/<trajectory>/manifest.json``)
holds ``render`` and ``output`` and points to the first; :data:`STAGES` says which stage writes where. A stage's result
is in the record once the stage has finished. Its ``fingerprint`` names everything it was made from (inputs, options,
weights, version of the stage), so that the next run does only what is missing or out of date; ``inputs`` has these by
name, so that it can say why.

Paths are POSIX and relative to the manifest's folder; those of results never lead out of it. The file is written to a
temporary name, synced and renamed. Workers of one job write part files (``manifest.part-RANK.json``) with the records
they finished, and :meth:`Manifest.open` merges the parts it finds.

Version 4 added ``inputs`` to each result, and to a run's manifest the trajectory and options of all its results.
Version 3 added ``files`` to each result. Version 2 added to ``source.video`` what a reader needs, so that a video is
probed once. The earlier versions are read: their results count, and the videos of version 1 are probed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from inspatio.errors import UserError
from inspatio.settings import StageName
from inspatio.storage import write_json
from inspatio.types import ScaleKind

FORMAT = "inspatio-manifest"
VERSION = 4
MANIFEST_NAME = "manifest.json"
PART_PATTERN = "manifest.part-*.json"

FolderName = Literal["work", "run"]


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError(f"expected a relative path inside the manifest's folder, got {path!r}")
    return path


InsidePath = Annotated[str, AfterValidator(_inside)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class VideoFacts(_Record):
    """The JSON form of `VideoInfo` (``media/video_info.py``) without its path, file size and frame index.

    ``height`` and ``width`` are of the upright frame in pixels, ``duration`` is in seconds, ``rotation`` in degrees.
    """

    height: int
    width: int
    frame_count: int
    frame_rate: str = Field(pattern=r"^[0-9]+/[1-9][0-9]*$")
    duration: float
    rotation: int
    has_audio: bool
    variable_frame_rate: bool
    stored_height: int
    stored_width: int
    mirrored: bool


class Source(_Record):
    """The input file: its content's fingerprint, its path (which may lead out of the folder), its size in bytes."""

    fingerprint: str
    path: str
    file_size: int
    video: VideoFacts | None = None
    """None where the file cannot be read."""


class FileRecord(_Record):
    """A file as it was when the stage had finished it: size in bytes, time of the last change, hash of its content."""

    size: int
    mtime_ns: int
    content: str


class StageResult(_Record):
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


class ClipFailure(_Record):
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


class Clip(_Record):
    """Everything known of one clip. A manifest holds the part of it that belongs to its folder."""

    id: str = Field(pattern=r"^(?:[^/\x00]*[^/\x00.][^/\x00]*|\.{3,})$")  # a name that a file can have
    source: Source
    caption: CaptionResult | None = None
    geometry: GeometryResult | None = None
    render: RenderResult | None = None
    output: OutputResult | None = None
    error: ClipFailure | None = None


class TrajectoryRecord(_Record):
    """The trajectory of all renders in a run folder."""

    file: str
    """Its path relative to the run folder."""
    fingerprint: str
    line_count: int
    text: str | None = None
    """Its content; None where that is long."""


class _File(_Record):
    format: Literal["inspatio-manifest"]
    version: int
    kind: FolderName
    input: Annotated[str, Field(pattern=r"^[^\x00]*$")]
    """The input folder, relative to this folder."""
    work: str | None = None
    """A run's work folder, relative to this folder."""
    trajectory: TrajectoryRecord | None = None
    """A run's trajectory. This and the options are None where an earlier version wrote the manifest."""
    made_with: dict[StageName, dict[str, JsonValue]] | None = None
    """The options of a run's stages, by stage and name (``run_record.py``)."""
    clips: list[Clip]


class Manifest:
    """The clips of one folder in order; every change is written to the file.

    ``part`` is a worker's rank: its records go to its part file, since only one process may write the manifest.
    """

    def __init__(self, folder: Path, file: _File, part: int | None = None):
        self.folder = folder
        self.kind = file.kind
        self.input = (folder / file.input).resolve()
        self._file = file
        self._clips = {clip.id: clip for clip in file.clips}
        self._part = part
        self._mine: dict[str, Clip] = {}

    @classmethod
    def open(cls, folder: Path, *, input: Path, work: Path | None = None, part: int | None = None) -> Manifest:
        """Read the folder's manifest, or start an empty one in memory (the file is written with the first record).

        With ``work`` it is a run's manifest, otherwise a work folder's. Part files of earlier jobs are merged, except
        in a worker.

        Raises:
            UserError: the file is cut short, from a newer version, has a missing or wrong field, or belongs
                to another input folder; the message names file, clip and field.
        """
        folder = folder.resolve()
        path = folder / MANIFEST_NAME
        if path.is_file():
            file = _read(path)
            known = (folder / file.input).resolve()
            if known != input.resolve():
                raise UserError(
                    f"{path}: holds the results of another input: got {known}, expected {input.resolve()}. "
                    "Choose another --work_folder or --output_folder."
                )
        else:
            kind = "run" if work else "work"
            file = _File(
                format=FORMAT,
                version=VERSION,
                kind=kind,
                input=relative(input, folder),
                work=relative(work, folder) if work else None,
                clips=[],
            )
        manifest = cls(folder, file, part)
        if part is None:
            manifest.merge_parts()
        return manifest

    @staticmethod
    def read_clips(folder: Path) -> list[Clip]:
        """The records of a folder's manifest as they are on the disk; nothing is merged or written.

        Raises:
            UserError: the file cannot be read or has a missing or wrong field.
        """
        return _read(folder / MANIFEST_NAME).clips

    @staticmethod
    def work_folder(folder: Path) -> Path:
        """The work folder of a run folder, as its manifest on the disk names it; a work folder is its own.

        Raises:
            UserError: the file cannot be read or has a missing or wrong field.
        """
        return (folder / (_read(folder / MANIFEST_NAME).work or ".")).resolve()

    @property
    def path(self) -> Path:
        return self.folder / MANIFEST_NAME

    @property
    def clips(self) -> list[Clip]:
        return list(self._clips.values())

    @property
    def trajectory(self) -> TrajectoryRecord | None:
        return self._file.trajectory

    @property
    def made_with(self) -> dict[StageName, dict[str, JsonValue]] | None:
        return self._file.made_with

    def describe_run(self, made_with: Mapping[StageName, dict[str, Any]], trajectory: TrajectoryRecord | None) -> None:
        """Set what the run's results are made with; written with the next record."""
        self._file = self._file.model_copy(update={"made_with": dict(made_with), "trajectory": trajectory})

    def get(self, clip_id: str) -> Clip | None:
        return self._clips.get(clip_id)

    def put(self, clips: Clip | Iterable[Clip]) -> None:
        """Add clips or replace their records, and write the file."""
        for clip in [clips] if isinstance(clips, Clip) else clips:
            self._clips[clip.id] = clip
            self._mine[clip.id] = clip
        self._write()

    def keep_only(self, clip_ids: Iterable[str]) -> None:
        """Keep the records of these clips in this order and drop the others; files of results stay."""
        wanted = [clip_id for clip_id in clip_ids if clip_id in self._clips]
        if wanted != list(self._clips):
            self._clips = {clip_id: self._clips[clip_id] for clip_id in wanted}
            self._write()

    def merge_parts(self) -> None:
        """Merge what the workers of a job recorded and remove their part files."""
        parts = sorted(self.folder.glob(PART_PATTERN))
        if not parts:
            return
        for part in parts:
            for clip in _read(part).clips:
                self._clips[clip.id] = clip
        self._write()
        for part in parts:
            part.unlink()

    def _write(self) -> None:
        if self._part is None:
            path, clips = self.path, self.clips
        else:
            path, clips = self.folder / f"manifest.part-{self._part}.json", list(self._mine.values())
        file = self._file.model_copy(update={"clips": clips})
        write_json(path, file.model_dump(exclude_none=True))


def relative(path: Path, folder: Path) -> str:
    """The path relative to ``folder``, as a manifest in ``folder`` spells it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _read(path: Path) -> _File:
    """Read and check a manifest.

    Raises:
        UserError: one line that names the file, the clip and the field.
    """
    advice = "Move the file away to start over (finished videos are kept)."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a whole JSON file ({error}). {advice}") from error
    except (RecursionError, ValueError) as error:  # nested too deep; a number of thousands of digits
        raise UserError(f"{path}: no manifest is like this ({error}). {advice}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f'{path}: not a manifest: expected a JSON object with "format": "{FORMAT}". {advice}')
    version = data.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise UserError(f"{path}: got version {version}, expected up to {VERSION}. Update inspatio.")
    if version == 1:
        _drop_video_facts(data)
    data["version"] = VERSION
    try:
        return _File.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {_describe(error, data)}. {advice}") from error


def _drop_video_facts(data: dict[str, Any]) -> None:
    """Remove the video facts of a manifest of version 1, which lack fields: the videos are probed again."""
    clips = data.get("clips")
    for clip in clips if isinstance(clips, list) else ():  # anything else is refused when the fields are checked
        if isinstance(clip, dict) and isinstance(clip.get("source"), dict):
            clip["source"].pop("video", None)


def _describe(invalid: ValidationError, data: dict[str, Any]) -> str:
    """The first invalid field and its clip."""
    first = invalid.errors()[0]
    place = list(first["loc"])
    clip = ""
    if place[:1] == ["clips"] and len(place) > 1 and isinstance(place[1], int):
        record = data["clips"][place[1]]
        name = record.get("id") if isinstance(record, dict) else None
        clip = f"clip {name or place[1]!r}, "
        place = place[2:]
    more = f" (and {invalid.error_count() - 1} more)" if invalid.error_count() > 1 else ""
    field = ".".join(map(str, place)) or "(whole record)"
    return f"{clip}field {field}: {first['msg'].removeprefix('Value error, ')}{more}"
