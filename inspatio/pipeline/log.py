"""Log lines and progress bars on standard error, and the same lines as JSON in a file.

Every module logs through ``logging.getLogger(__name__)`` and leaves it to the program whether that is shown. The
command line shows it with :func:`log_to_stderr`: infos and errors as they are, warnings with a prefix, each on lines
of its own above a running bar. Where standard error is a file or a pipe there are no bars and no carriage returns, only
a line now and then.

Who logs may say more than the text, with ``extra=facts("done", stage="render", clip="one", seconds=3.2)``; a log file
of :func:`log_to_json` has these as values of their own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from inspatio.errors import UsageError, UserError
from inspatio.types import Progress

Detail = Literal["quiet", "normal", "verbose"]
"""How much standard error shows: warnings and errors only; results and stages too; everything, with time and origin."""

MAX_NAME = 40
"""Characters of a name in lists on the screen."""

LINE_INTERVAL, VERBOSE_INTERVAL = 30.0, 2.0
"""Seconds between two progress lines where there is no terminal; with --verbose, for programs that show progress."""

_log = logging.getLogger(__name__)


class _StderrHandler(logging.Handler):
    """Writes records above any running bar, to whatever ``sys.stderr`` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        message = super().formatMessage(record).rstrip()
        return f"warning: {message.lstrip()}" if record.levelno == logging.WARNING else message


class _JsonHandler(logging.Handler):
    """Appends every record as one JSON object a line. Several processes may write to one file: each line is one write.

    A disk that is full, or gone, ends this log with one warning and leaves the run alone.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = path.open("ab", buffering=0)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.write(f"{self.format(record)}\n".encode())
        except OSError as error:
            logging.getLogger().removeHandler(self)
            _log.warning("--log_json %s: cannot be written (%s); the run goes on without it", self._path, error)

    def close(self) -> None:
        self._file.close()
        super().close()

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": "message",
            "stage": None,
            "clip": None,
            "seconds": None,
            "reason": None,
            "process": record.process,
        }
        line |= getattr(record, _FACTS, {})
        line["message"] = " ".join(record.getMessage().split())
        return json.dumps(line)


_FACTS = "facts"


def facts(
    event: str,
    *,
    stage: str | None = None,
    clip: str | None = None,
    seconds: float | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """What a log line is about, as the ``extra`` of a logging call.

    ``seconds`` is what ``event`` took, ``reason`` why the clip's result of the stage has to be made.
    """
    rounded = None if seconds is None else round(seconds, 3)
    return {_FACTS: {"event": event, "stage": stage, "clip": clip, "seconds": rounded, "reason": reason or None}}


def shortened(names: Sequence[str]) -> str:
    """The first five of some names, and how many there are."""
    more = f" ... ({len(names)} in all)" if len(names) > 5 else ""
    return ", ".join(fit(name, MAX_NAME) for name in names[:5]) + more


def fit(name: str, width: int) -> str:
    """A name in at most so many characters, with its middle left out."""
    half = (width - 3) // 2
    return name if len(name) <= width else f"{name[: width - 3 - half]}...{name[-half:]}"


@contextmanager
def log_to_json(path: Path | None) -> Iterator[None]:
    """Append every log line to a file while the block runs, whatever standard error shows; None: to no file.

    The last line of a run that cannot go on has the event ``stopped``.

    Raises:
        UsageError: the file cannot be opened.
    """
    if path is None:
        yield
        return
    try:
        handler = _JsonHandler(path)
    except OSError as error:
        raise UsageError(f"--log_json {path}: cannot be written ({error.strerror}). Choose another file.") from error
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    except (UserError, KeyboardInterrupt) as error:
        record = logging.LogRecord(
            __name__, logging.ERROR, __file__, 0, str(error) or "interrupted", None, None, "log_to_json"
        )
        setattr(record, _FACTS, {"event": "stopped"})
        handler.handle(record)
        raise
    finally:
        root.removeHandler(handler)
        handler.close()


@contextmanager
def log_to_stderr(detail: Detail = "normal") -> Iterator[None]:
    """Show the package's infos, and warnings and errors of every library, while the block runs.

    Python's ``warnings`` come the same way. FFmpeg is silent by PyAV's default; OpenCV is told here to report errors
    only, which counts if it has not been imported yet.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    handler = _StderrHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(name)s: %(message)s" if detail == "verbose" else None))
    handler.setLevel({"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}[detail])
    root, package = logging.getLogger(), logging.getLogger("inspatio")
    level = package.level
    root.addHandler(handler)
    package.setLevel(logging.DEBUG)  # a log file has the details whatever is shown here
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        package.setLevel(level)
        root.removeHandler(handler)


@contextmanager
def progress_bar(total: int, description: str, unit: Literal["frame", "clip", "step"] = "frame") -> Iterator[Progress]:
    """Show progress until the block ends; yields the function to call with (done, total)."""
    shown_here = (handler for handler in logging.getLogger().handlers if isinstance(handler, _StderrHandler))
    quiet = any(handler.level > logging.INFO for handler in shown_here)
    if quiet or not sys.stderr.isatty():
        shown = time.monotonic()
        interval = VERBOSE_INTERVAL if _log.isEnabledFor(logging.DEBUG) else LINE_INTERVAL

        def log_line(done: int, total: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= interval:
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
