"""The journal of a manifest: an append-only file with the records that are newer than the manifest itself.

A manifest that is written whole for every clip costs time and disk that grow with the square of the number of clips. So
a run appends each new record to a journal, one JSON object a line, synced to the disk, and folds the journal into the
manifest (writes it whole and removes the journal) when it begins and after its stages. The process that writes
the manifest has ``manifest.journal.jsonl``, a worker ``manifest.journal-RANK.jsonl``.

The first line has the hash of the manifest that the records go with. That makes folding safe to interrupt: the journal
of an older manifest has been folded in already and does not count. A last line without its line end was being written
when the process was killed; what it records is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inspatio.errors import UserError
from inspatio.storage import explain, sync

FORMAT = "inspatio-journal"
VERSION = 1
ADVICE = "Move the file away: the clips that it records are made again."

_NAME = re.compile(r"manifest\.journal(-[0-9]+)?\.jsonl")


def journal_path(folder: Path, part: int | None = None) -> Path:
    """The journal of the process that writes a folder's manifest, or of the worker of rank ``part``."""
    return folder / ("manifest.journal.jsonl" if part is None else f"manifest.journal-{part}.jsonl")


def find_journals(folder: Path) -> list[Path]:
    """All journals in a folder: that of the manifest's writer first, as workers' records are newer than those."""
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: (path != journal_path(folder), path.name))


def content_hash(manifest: bytes) -> str:
    """What a journal knows its manifest by."""
    return hashlib.blake2b(manifest, digest_size=8).hexdigest()


def append(path: Path, manifest: str, records: Sequence[str]) -> None:
    """Append records (JSON texts) to a journal and sync it; a new one begins with the hash of its ``manifest``.

    Nothing is appended where an exception is raised.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            header = [] if size else [json.dumps({"format": FORMAT, "version": VERSION, "manifest": manifest})]
            rest = memoryview("".join(f"{line}\n" for line in [*header, *records]).encode())
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:  # a part of a line would damage the next one
                file.truncate(size)
                raise
        if not size:
            sync(path.parent)
    except OSError as error:
        raise explain(error, path) from error


def read(path: Path, manifest: str) -> Iterator[tuple[int, Any]]:
    """The records of a journal with their line numbers, if it belongs to the manifest of this hash.

    Raises:
        UserError: it is not a journal, is from a newer version, or has a line that is not whole.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:  # folded meanwhile
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    lines = text.split(b"\n")[:-1]
    if not lines:
        return
    about = _parse(path, 1, lines[0])
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f'{path}: not a journal: expected a first line with "format": "{FORMAT}". {ADVICE}')
    version = about.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise UserError(f"{path}: got version {version}, expected up to {VERSION}. Update inspatio.")
    if about.get("manifest") != manifest:
        return
    for number, line in enumerate(lines[1:], 2):
        yield number, _parse(path, number, line)


def _parse(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:  # also bytes that are no text; nested too deep; a huge number
        raise UserError(f"{path}: line {number} is damaged ({error}). {ADVICE}") from error
