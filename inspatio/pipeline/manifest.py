"""The manifest: what is known and finished of every clip, in one JSON file that the stages hand to each other.

Two folders have one each. The work folder's (``output/<input>/manifest.json``) holds what does not depend on the
trajectory: ``source``, ``caption``, ``geometry``. The run folder's (``output/<input>/<trajectory>/manifest.json``)
holds ``render`` and ``output`` and points to the first. A clip's record is a set of blocks; a block is there when
its stage has finished, and its ``fingerprint`` says what it was made from (inputs, options, weights, version of the
stage), so that whoever starts again sees at once what is missing or out of date.

Paths in it are POSIX, relative to the manifest's folder; those of blocks never lead out of it. The file is written
whole to a temporary name, synced and renamed. Workers of one job write part files (``manifest.part-RANK.json``) with
the records they finished, and :meth:`Manifest.open` merges the parts it finds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from inspatio.errors import UserError
from inspatio.storage import write_text
from inspatio.types import ScaleKind

FORMAT = "inspatio-manifest"
VERSION = 1
MANIFEST_NAME = "manifest.json"
PART_PATTERN = "manifest.part-*.json"


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"expected a relative path inside the manifest's folder, got {path!r}")
    return path


InsidePath = Annotated[str, AfterValidator(_inside)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class VideoFacts(_Record):
    """What the container says of a readable video; sizes are upright."""

    height: int
    width: int
    frame_count: int
    frame_rate: str = Field(pattern=r"^\d+/\d+$")
    duration: float
    rotation: int
    has_audio: bool
    variable_frame_rate: bool

    @property
    def rate(self) -> Fraction:
        return Fraction(self.frame_rate)


class SourceBlock(_Record):
    """The input file; ``video`` is missing where it could not be read. Its path may lead out of the folder."""

    fingerprint: str
    path: str
    file_size: int
    video: VideoFacts | None = None


class CaptionBlock(_Record):
    """The prompt, and where it is from; ``flags`` name what is wrong with a degenerate answer."""

    fingerprint: str
    text: str
    origin: str
    flags: list[str] = []
    weights: dict[str, str] = {}
    """Which weights had a part in it, and their terms."""


class GeometryBlock(_Record):
    """The clip's geometry folder (``geometry/folder.py``)."""

    fingerprint: str
    folder: InsidePath
    backend: str
    scale: ScaleKind
    frame_count: int
    notes: list[str] = []
    weights: dict[str, str] = {}


class RenderBlock(_Record):
    """The clip's render folder (``render/folder.py``): render.mp4, mask.mp4, cameras.json."""

    fingerprint: str
    folder: InsidePath
    frame_count: int
    coverage: float
    """Mean share of covered pixels, 0..1."""


class OutputBlock(_Record):
    """The finished novel view."""

    fingerprint: str
    video: InsidePath
    cameras: InsidePath
    comparison: InsidePath | None = None
    frame_count: int
    generator: str
    notes: list[str] = []
    weights: dict[str, str] = {}


class ErrorBlock(_Record):
    """Why the clip stopped, and in which stage."""

    stage: str
    message: str


class Clip(_Record):
    """Everything known of one clip in one folder."""

    id: str
    source: SourceBlock
    caption: CaptionBlock | None = None
    geometry: GeometryBlock | None = None
    render: RenderBlock | None = None
    output: OutputBlock | None = None
    error: ErrorBlock | None = None


class _File(_Record):
    format: Literal["inspatio-manifest"]
    version: int
    kind: Literal["work", "run"]
    input: str
    """The input folder, relative to this folder."""
    work: str | None = None
    """A run's work folder, relative to this folder."""
    clips: list[Clip]


class Manifest:
    """The clips of one folder, in order, kept in step with the file.

    ``part`` is a worker's number: what it records then goes to its part file, since only one process may write
    the manifest itself.
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
        """Read the folder's manifest, or begin an empty one in memory (nothing is written until a record is put).

        With ``work`` it is a run's manifest, otherwise a work folder's. Part files of earlier jobs are merged, unless
        this is a worker of a job itself.

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
                    f"{path}: holds the results of {known}, not of {input.resolve()}; "
                    "choose another --work_folder / --output_folder"
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

    @property
    def path(self) -> Path:
        return self.folder / MANIFEST_NAME

    @property
    def clips(self) -> list[Clip]:
        return list(self._clips.values())

    def get(self, clip_id: str) -> Clip | None:
        return self._clips.get(clip_id)

    def put(self, clips: Clip | Iterable[Clip]) -> None:
        """Record clips (new, or in place of their old records) and write the file."""
        for clip in [clips] if isinstance(clips, Clip) else clips:
            self._clips[clip.id] = clip
            self._mine[clip.id] = clip
        self._write()

    def keep_only(self, clip_ids: Iterable[str]) -> None:
        """Forget records of clips that are no longer in the input (their files stay), in the order given."""
        wanted = [clip_id for clip_id in clip_ids if clip_id in self._clips]
        if wanted != list(self._clips):
            self._clips = {clip_id: self._clips[clip_id] for clip_id in wanted}
            self._write()

    def merge_parts(self) -> None:
        """Take over what the workers of a job recorded, then remove their part files."""
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
        write_text(path, json.dumps(file.model_dump(exclude_none=True), indent=1, ensure_ascii=False) + "\n")


def relative(path: Path, folder: Path) -> str:
    """A path as the manifest in ``folder`` spells it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def fingerprint(value: Any) -> str:
    """A short name for everything a result was made from: any JSON value; equal values have equal names."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_no_json)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_fingerprint(path: Path) -> str:
    """The fingerprint of a file's whole content."""
    with path.open("rb") as file:
        digest = hashlib.blake2b(digest_size=8)
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _no_json(value: Any) -> Any:
    raise TypeError(f"a fingerprint is made of JSON values, got {type(value).__name__}: {value!r}")


def _read(path: Path) -> _File:
    """The parsed file.

    Raises:
        UserError: one line that names the file, the clip and the field.
    """
    repair = "move it away to begin anew (finished videos are kept)"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a whole JSON file ({error}); {repair}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f'{path}: expected a JSON object with "format": "{FORMAT}"; {repair}')
    version = data.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise UserError(f"{path}: is of version {version}, this program reads up to {VERSION}; update inspatio")
    try:
        return _File.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_fault(error, data)}; {repair}") from error


def _first_fault(error: ValidationError, data: dict[str, Any]) -> str:
    fault = error.errors()[0]
    place = list(fault["loc"])
    clip = ""
    if place[:1] == ["clips"] and len(place) > 1 and isinstance(place[1], int):
        record = data["clips"][place[1]]
        name = record.get("id") if isinstance(record, dict) else None
        clip = f"clip {name or place[1]!r}, "
        place = place[2:]
    more = f" (and {error.error_count() - 1} more faults)" if error.error_count() > 1 else ""
    field = ".".join(map(str, place)) or "(whole record)"
    return f"{clip}field {field}: {fault['msg'].removeprefix('Value error, ')}{more}"
