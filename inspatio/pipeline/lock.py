"""One run at a time in a folder.

The lock is the operating system's (flock) on a hidden file, so it ends with the process that holds it, however that
ends; a file left behind means nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inspatio.errors import UserError
from inspatio.storage import explain

LOCK_NAME = ".lock"


@contextmanager
def folder_lock(folder: Path, *, wait: bool, notice: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder while the block runs.

    With ``wait`` a second run waits its turn after one line to ``notice``; without, it is refused.

    Raises:
        UserError: another live run holds the folder and ``wait`` is not set, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise explain(error, folder) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if not wait:
                raise UserError(
                    f"{folder}: another run (process {holder}) is working here; "
                    "wait for it to end or choose another --output_folder"
                ) from None
            notice(f"waiting for the run of process {holder} that is preparing {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
