"""Atomic files and folders, and a lock for a folder.

Results are written under a temporary name in the same folder, synced to the disk and renamed, so a reader finds
either the whole file or the old one. A run that is killed leaves temporary names only, which the next run removes
(:func:`remove_temporary`); they are unmistakable, since the folder may hold other people's files. Locks and the syncing
of folders are POSIX: Linux and macOS (on Windows use WSL 2).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspatio.errors import ClipError, UserError

try:
    import fcntl
except ImportError as error:
    raise UserError(
        f"this system has no POSIX file locks: got {os.name}, expected Linux or macOS. On Windows run it in WSL 2."
    ) from error

PART_SUFFIX = ".inspatio.part"
LOCK_NAME = ".lock"
DAMAGED_ARRAYS = (
    OSError,
    ValueError,
    EOFError,
    tokenize.TokenError,  # a header that is no Python literal
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,  # a version or feature of the zip format that zipfile does not know
    RuntimeError,  # an entry that is marked as encrypted
    OverflowError,
    MemoryError,  # an array of a size that no file has
)
"""What numpy and zipfile were seen to raise on damaged ``.npy`` and ``.npz`` files, by fuzzing."""
LONGEST_NAME = 255
"""Bytes that the name of a file may have on the usual file systems."""

_OWN_PART = re.compile(r"\..+\.(\d+|old)" + re.escape(PART_SUFFIX), re.DOTALL)


def part_path(path: Path) -> Path:
    """The temporary name under which this process writes ``path``: a hidden one in the same folder."""
    return _hidden(path, str(os.getpid()))


def _hidden(path: Path, mark: str) -> Path:
    ending = f".{mark}{PART_SUFFIX}"
    return path.with_name(f".{short_name(path.name, LONGEST_NAME - 1 - len(ending))}{ending}")


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    """A file name of at most ``longest`` bytes: the name itself, or its beginning and a hash of the whole.

    A character of a name can take four bytes, so that 64 of them fill a file system's limit.
    """
    encoded = os.fsencode(name)
    if len(encoded) <= longest:
        return name
    mark = "~" + hashlib.blake2b(encoded, digest_size=4).hexdigest()
    return encoded[: longest - len(mark)].decode(errors="ignore") + mark


def file_name(stem: str, ending: str) -> str:
    """A file name that is not too long: ``stem``, shortened where it must be (:func:`short_name`), and ``ending``."""
    return short_name(stem, LONGEST_NAME - len(os.fsencode(ending))) + ending


def is_there(path: Path) -> bool:
    """Whether there is something at a path, be it a dangling link; a name too long for the file system is not there."""
    try:
        return path.exists() or path.is_symlink()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file atomically: yields a temporary path, which becomes ``path``, or is removed on an exception.

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
    """Write a folder atomically: yields an empty temporary one, which replaces ``path``, or is removed on an exception.

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
    """Write a text file atomically, in UTF-8."""
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files and folders that killed runs left in ``folder`` itself, not in folders below it.

    Only names that :func:`part_path` makes are removed: other programs leave ``.part`` files too, and the folder may
    be shared with them. Hold the folder's lock when you call it: the files that a live run is writing have such names.
    """
    for left in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not _OWN_PART.fullmatch(left.name):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(part: Path, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` about ``path`` into a `UserError`; one about another file passes unchanged."""
    try:
        yield
    except OSError as error:
        if _is_about(error, part, path):
            raise explain(error, path) from error
        raise


def _replace_folder(new: Path, path: Path) -> None:
    """Rename a folder to ``path``, replacing the folder there.

    A folder cannot be renamed over one that holds files, so the old one is first renamed to a temporary name, which
    :func:`remove_temporary` knows should the process die in between.
    """
    if not path.exists():
        new.rename(path)
        return
    old = _hidden(path, "old")
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    new.rename(path)
    shutil.rmtree(old)


def _is_about(error: OSError, part: Path, path: Path) -> bool:
    """Whether an error is about the file being written, not about another one that the caller's block touched."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (part, path, *path.parents) or named.is_relative_to(part)


def explain(error: OSError, path: Path) -> UserError:
    """Say in one line what an operating system error at ``path`` means and what to do."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return UserError(f"{path}: the disk is full. Free some space and run again; finished clips are kept.")
        case errno.EFBIG:
            return UserError(f"{path}: larger than this system allows a file to be. See `ulimit -f`.")
        case errno.ENAMETOOLONG:
            return ClipError(f"{path}: got a name that is longer than this file system allows. Rename the clip.")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return UserError(
                f"{path}: cannot be written ({error.strerror}). Make it writable or choose another folder."
            )
        case errno.ENOENT:
            return UserError(f"{path}: its folder is gone. Bring it back, or its disk, and run again.")
        case _:
            return UserError(f"{path}: {error.strerror or error}")


@contextmanager
def folder_lock(
    folder: Path, *, wait: bool, notice: Callable[[str], None], name: str = LOCK_NAME, shared: bool = False
) -> Iterator[None]:
    """Hold a lock of a folder: alone, or with ``shared`` together with others who share it.

    The lock is the operating system's (flock) on the hidden file ``name``, so it ends with the process that holds it,
    however that ends; the file itself stays and means nothing. With ``wait`` a second run waits, after one line to
    ``notice``; otherwise it is refused.

    Raises:
        UserError: another run holds the lock and ``wait`` is not set, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("a+", encoding="utf-8")
    except OSError as error:
        raise explain(error, folder) from error
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if not wait:
                raise UserError(
                    f"{folder}: another run (process {holder}) is writing here. "
                    "Wait until it has ended, or choose another folder."
                ) from None
            notice(f"waiting for process {holder}, which is using {folder}")
            fcntl.flock(file, kind)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
