"""Log lines and progress bars on standard error.

Every module logs through ``logging.getLogger(__name__)`` and leaves it to the program whether that is shown. The
command line shows it with :func:`log_to_stderr`: infos and errors as they are, warnings with a prefix, each on lines
of its own above a running bar. Where standard error is a file or a pipe there are no bars and no carriage returns, only
a line now and then.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tqdm import tqdm

from inspatio.types import Progress

LINE_INTERVAL = 30.0
"""Seconds between two progress lines where there is no terminal."""

_log = logging.getLogger(__name__)


class _StderrHandler(logging.Handler):
    """Writes records above any running bar, to whatever ``sys.stderr`` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        message = record.message.rstrip()
        return f"warning: {message.lstrip()}" if record.levelno == logging.WARNING else message


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show the package's infos, and warnings and errors of every library, while the block runs.

    Python's ``warnings`` come the same way. FFmpeg is silent by PyAV's default; OpenCV is told here to report errors
    only, which counts if it has not been imported yet.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    handler = _StderrHandler()
    handler.setFormatter(_Formatter())
    root, package = logging.getLogger(), logging.getLogger("inspatio")
    level = package.level
    root.addHandler(handler)
    package.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        package.setLevel(level)
        root.removeHandler(handler)


@contextmanager
def progress_bar(total: int, description: str, unit: Literal["frame", "clip"] = "frame") -> Iterator[Progress]:
    """Show progress until the block ends; yields the function to call with (done, total)."""
    if not sys.stderr.isatty():
        shown = time.monotonic()

        def log_line(done: int, total: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= LINE_INTERVAL:
                shown = time.monotonic()
                _log.info("%s: %d of %d %ss", description, done, total, unit)

        yield log_line
        return
    with tqdm(
        total=total, desc=description, unit=unit, file=sys.stderr, dynamic_ncols=True, leave=False, mininterval=0.2
    ) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
