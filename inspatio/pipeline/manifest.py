"""The manifest: one JSON file with the record of every clip, shared by all stages.

Two folders have one each. The work folder's (``output/<input>/manifest.json``) holds what does not depend on the
trajectory: ``source``, ``caption``, ``geometry``. The run folder's (``output/<input>/<trajectory>/manifest.json``)
holds ``render`` and ``output`` and points to the first; ``STAGES`` (``records.py``) says which stage writes where. A
stage's result is in the record once the stage has finished. Its ``fingerprint`` names everything it was made from
(inputs, options, weights, version of the stage), so that the next run does only what is missing or out of date;
``inputs`` has these by name, so that it can say why.

Paths are POSIX and relative to the manifest's folder; those of results never lead out of it. The file is written to a
temporary name, synced and renamed, at the beginning and the end of a run's stages. Between these, each record is a line
of a journal beside it (``journal.py``), and every reader takes both together.

Version 5 added sources other than videos.
Version 4 added ``inputs`` to each result, and to a run's manifest the trajectory and options of all its results.
Version 3 added ``files`` to each result. Version 2 added to ``source.video`` what a reader needs, so that a video is
probed once. The earlier versions are read: their results count, and the videos of version 1 are probed again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, ValidationError

from inspatio.errors import UserError
from inspatio.pipeline import journal
from inspatio.pipeline.records import Clip, FolderName, Record, TrajectoryRecord
from inspatio.settings import StageName
from inspatio.storage import write_text

FORMAT = "inspatio-manifest"
VERSION = 5
MANIFEST_NAME = "manifest.json"


def _unique(clips: list[Clip]) -> list[Clip]:
    for clip_id, count in Counter(clip.id for clip in clips).items():
        if count > 1:
            raise ValueError(f"got {count} clips of the id {clip_id!r}, expected one. Delete the others")
    return clips


class _File(Record):
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
    clips: Annotated[list[Clip], AfterValidator(_unique)]


class Manifest:
    """The clips of one folder in order; every change is on the disk when the method that makes it returns.

    ``part`` is a worker's rank: it reads the manifest as the process that started it has left it, not what other
    workers record, and its records go to a journal of its own. Only the process that holds the folder's lock writes.
    """

    def __init__(self, folder: Path, file: _File, base: str | None, part: int | None = None):
        """``base`` is the content hash of the manifest that a new journal would belong to; None: there is none yet."""
        self.folder = folder
        self.kind = file.kind
        self.input = (folder / file.input).resolve()
        self._file = file
        self._clips = {clip.id: clip for clip in file.clips}
        self._base = base
        self._part = part

    @classmethod
    def open(cls, folder: Path, *, input: Path, work: Path | None = None, part: int | None = None) -> Manifest:
        """Read the folder's manifest and journals, or start an empty one in memory; nothing is written.

        With ``work`` it is a run's manifest, otherwise a work folder's.

        Raises:
            UserError: the file is cut short, from a newer version, has a missing or wrong field, or belongs
                to another input folder; the message names file, clip and field.
        """
        folder = folder.resolve()
        path = folder / MANIFEST_NAME
        if not path.is_file():
            return cls.empty(folder, input=input, work=work)
        file, base, is_whole = _read(path, with_parts=part is None)
        known = (folder / file.input).resolve()
        if known != input.resolve():
            raise UserError(
                f"{path}: holds the results of another input: got {known}, expected {input.resolve()}. "
                "Choose another --work_folder or --output_folder."
            )
        # A journal that another process began may end in a part of a line: it is not continued, but folded first.
        return cls(folder, file, base if is_whole or part is not None else None, part)

    @classmethod
    def empty(cls, folder: Path, *, input: Path, work: Path | None = None) -> Manifest:
        """A manifest without records, whatever is on the disk."""
        folder = folder.resolve()
        file = _File(
            format=FORMAT,
            version=VERSION,
            kind="run" if work else "work",
            input=relative(input, folder),
            work=relative(work, folder) if work else None,
            clips=[],
        )
        return cls(folder, file, None)

    @staticmethod
    def read_clips(folder: Path) -> list[Clip]:
        """The records of a folder as they are on the disk at this moment, also while a run goes on.

        Raises:
            UserError: the file cannot be read or has a missing or wrong field.
        """
        return _read(folder / MANIFEST_NAME)[0].clips

    @staticmethod
    def work_folder(folder: Path) -> Path:
        """The work folder of a run folder, as its manifest on the disk names it; a work folder is its own.

        Raises:
            UserError: the file cannot be read or has a missing or wrong field.
        """
        return (folder / (_read(folder / MANIFEST_NAME)[0].work or ".")).resolve()

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
        """Set what the run's results are made with; written by the next :meth:`save`."""
        self._file = self._file.model_copy(update={"made_with": dict(made_with), "trajectory": trajectory})

    def get(self, clip_id: str) -> Clip | None:
        return self._clips.get(clip_id)

    def put(self, clip: Clip) -> None:
        """Add a clip or replace its record; what is written does not grow with the number of clips."""
        self._clips[clip.id] = clip
        if self._base is None:
            self.save()
        else:
            record = clip.model_dump_json(exclude_none=True)
            journal.append(journal.journal_path(self.folder, self._part), self._base, [record])

    def save(self, clips: Iterable[Clip] = (), only: Iterable[str] | None = None) -> None:
        """Write the whole file, with these records added or replaced, and remove the journals that are in it now.

        With ``only``, the records of these clips are kept, in this order; files of results that are left out stay.
        """
        assert self._part is None, "a worker does not write the manifest"
        self._clips |= {clip.id: clip for clip in clips}
        if only is not None:
            self._clips = {clip_id: self._clips[clip_id] for clip_id in only if clip_id in self._clips}
        self._file = self._file.model_copy(update={"clips": self.clips})
        text = self._file.model_dump_json(exclude_none=True, indent=1) + "\n"
        write_text(self.path, text)
        self._base = journal.content_hash(text.encode())
        for path in journal.find_journals(self.folder):
            path.unlink()

    def fold(self) -> None:
        """Write the whole file if there is a journal, with what workers have recorded in theirs."""
        if journal.find_journals(self.folder):
            self.save(_read(self.path)[0].clips)


def relative(path: Path, folder: Path) -> str:
    """The path relative to ``folder``, as a manifest in ``folder`` spells it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _read(path: Path, *, with_parts: bool = True) -> tuple[_File, str, bool]:
    """Read and check a manifest and its journals, those of workers only ``with_parts``.

    Returns:
        The file with all records, the content hash of the manifest alone, and whether there is no journal.

    Raises:
        UserError: one line that names the file, the clip and the field.
    """
    while True:
        try:
            before, data = path.stat(), path.read_bytes()
            base = journal.content_hash(data)
            journals = journal.find_journals(path.parent)
            records = [
                (each, *line)
                for each in journals
                if with_parts or each == journal.journal_path(path.parent)
                for line in journal.read(each, base)
            ]
            after = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            break  # otherwise a run has folded the journals into it meanwhile
    file = _parse(path, data)
    if not records:
        return file, base, not journals
    clips = {clip.id: clip for clip in file.clips}
    for each, number, record in records:
        try:
            clip = Clip.model_validate(record)
        except ValidationError as error:
            fault = _describe(error, {"clips": [record]}, at=("clips", 0))
            raise UserError(f"{each}: line {number}, {fault}. {journal.ADVICE}") from error
        clips[clip.id] = clip
    return file.model_copy(update={"clips": list(clips.values())}), base, False


def _parse(path: Path, content: bytes) -> _File:
    advice = "Move the file away to start over (finished videos are kept)."
    try:
        data = json.loads(content.decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a whole JSON file ({error}). {advice}") from error
    except (RecursionError, ValueError) as error:  # nested too deep; a number of thousands of digits
        raise UserError(f"{path}: no manifest is like this ({error}). {advice}") from error
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


def _describe(invalid: ValidationError, data: dict[str, Any], at: tuple[str | int, ...] = ()) -> str:
    """The first invalid field and its clip; ``at`` is where in ``data`` the validated value is."""
    first = invalid.errors()[0]
    place = [*at, *first["loc"]]
    clip = ""
    if place[:1] == ["clips"] and len(place) > 1 and isinstance(place[1], int):
        record = data["clips"][place[1]]
        name = record.get("id") if isinstance(record, dict) else None
        clip = f"clip {name or place[1]!r}, "
        place = place[2:]
    more = f" (and {invalid.error_count() - 1} more)" if invalid.error_count() > 1 else ""
    field = ".".join(map(str, place)) or "(whole record)"
    return f"{clip}field {field}: {first['msg'].removeprefix('Value error, ')}{more}"
