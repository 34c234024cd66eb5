"""The files of a stage's result as they were when it finished, and how to tell that one has been damaged since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from inspatio.errors import UserError
from inspatio.pipeline.fingerprints import file_fingerprint
from inspatio.pipeline.manifest import MANIFEST_NAME, Manifest
from inspatio.pipeline.records import STAGES, FileRecord


def record_files(folder: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    """Size, time and hash of finished files, by their paths relative to the manifest's ``folder``."""
    records = {}
    for name in names:
        facts = (folder / name).stat()
        content = file_fingerprint(folder / name)
        records[name] = FileRecord(size=facts.st_size, mtime_ns=facts.st_mtime_ns, content=content)
    return records


def files_below(folder: Path, relative: str) -> list[str]:
    """The paths of all files in ``folder/relative``, relative to ``folder``."""
    return sorted(path.relative_to(folder).as_posix() for path in (folder / relative).rglob("*") if path.is_file())


def find_damage(folder: Path, files: Mapping[str, FileRecord], *, read_all: bool = False) -> str | None:
    """What is wrong with the first file that differs from its record, or None.

    A file of the recorded size and time counts as whole, unless ``read_all`` asks for every file to be read. A new time
    alone, as a copied folder has it, is not damage.
    """
    for name, record in files.items():
        try:
            facts = (folder / name).stat()
            if facts.st_size != record.size:
                return f"{name} is damaged: got {facts.st_size} bytes, expected {record.size}"
            if (read_all or facts.st_mtime_ns != record.mtime_ns) and file_fingerprint(folder / name) != record.content:
                return f"{name} is damaged: its content is not what was written"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def verify_folder(folder: Path) -> tuple[int, list[str]]:
    """Read all files that a folder's manifest records.

    Returns:
        How many are recorded, and one line for each that is damaged, missing or of unknown content.

    Raises:
        UserError: the folder has no manifest, or one that cannot be read.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise UserError(f"{folder}: got no {MANIFEST_NAME}, expected a work or output folder. Run the pipeline first.")
    count, faults = 0, []
    for clip in Manifest.read_clips(folder):
        for stage, entry in STAGES.items():
            block = getattr(clip, entry.field)
            for name, record in (block.files or {}).items() if block else ():
                count += 1
                if fault := find_damage(folder, {name: record}, read_all=True):
                    faults.append(f"{folder}: {clip.id}, {stage}: {fault}")
    return count, faults
