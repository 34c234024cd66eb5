"""Files and folders that are either whole or not there.

Everything the pipeline leaves behind is written under a temporary name in the same folder, synced to the disk and
renamed. A run killed at any moment leaves temporary names only; the next run sweeps them away (:func:`sweep`).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspatio.errors import UserError

PART_SUFFIX = ".part"


def part_path(path: Path) -> Path:
    """The temporary name that ``path`` is written under: hidden, in the same folder, of this process alone."""
    return path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path; on success it is synced and becomes ``path``, on an exception it is removed.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    part = part_path(path)
    with _explained(part, path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            sync(part)
            part.replace(path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder; on success it takes the place of ``path``, on an exception it is removed.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    part = part_path(path)
    with _explained(part, path):
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
            for file in part.rglob("*"):
                sync(file)
            _replace_folder(part, path)
            sync(path.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all."""
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sweep(folder: Path, *, below: bool = True) -> None:
    """Remove what killed runs left under temporary names in ``folder`` and, with ``below``, in every folder in it.

    The caller holds the folder's lock: what a live run is writing looks the same.
    """
    find = folder.rglob if below else folder.glob
    for left in sorted(find(f".*{PART_SUFFIX}")) if folder.is_dir() else []:
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the system write a file's or a folder's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(part: Path, path: Path) -> Iterator[None]:
    """An operating system's error about ``path`` in the making leaves as one line; about other files as it is."""
    try:
        yield
    except OSError as error:
        if _is_about(error, part, path):
            raise explain(error, path) from error
        raise


def _replace_folder(new: Path, path: Path) -> None:
    """Rename a folder to ``path``, whatever is there.

    A folder cannot be renamed over one that holds files: the old one steps aside first, under a name that the next
    sweep removes should the process die in between.
    """
    if not path.exists():
        new.rename(path)
        return
    old = path.with_name(f".{path.name}.old{PART_SUFFIX}")
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    new.rename(path)
    shutil.rmtree(old)


def _is_about(error: OSError, part: Path, path: Path) -> bool:
    """Whether an error is of the file or folder being written, not of another one that the caller's block touched."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (part, path, *path.parents) or named.is_relative_to(part)


def explain(error: OSError, path: Path) -> UserError:
    """An operating system error at ``path`` as one line that says what to do."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return UserError(f"{path}: the disk is full; free some space and run again, finished clips are kept")
        case errno.EFBIG:
            return UserError(f"{path}: the file grew past the largest size allowed here (see `ulimit -f`)")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return UserError(f"{path}: cannot be written ({error.strerror}); choose another --output_folder")
        case _:
            return UserError(f"{path}: {error.strerror or error}")
