"""Offline renders of recorded flights: the pipeline in a process of its own, one at a time, with progress."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from inspatio.errors import UserError

JobState: TypeAlias = Literal["running", "done", "failed"]

_log = logging.getLogger(__name__)
_PROGRESS = re.compile(r"\b(caption|geometry|render|generate): .*: (\d+) of (\d+) frames")
_SHARES = {"caption": (0.0, 0.02), "geometry": (0.02, 0.1), "render": (0.1, 0.3), "generate": (0.3, 1.0)}
"""Which part of the whole each stage takes, roughly."""


@dataclass(frozen=True)
class RenderPlan:
    """How a flight is rendered: the pipeline's command and where the result will be."""

    command: Callable[[Path, str], list[str]]
    """From the flight's file and its name to the words after `python`."""
    result: Callable[[str], Path]


@dataclass(frozen=True)
class Job:
    """One offline render and how far it is (0..1)."""

    state: JobState
    progress: float
    message: str = ""


class Jobs:
    """Runs the pipeline for one flight after another; ``changed`` is called from its thread."""

    def __init__(self, plan: RenderPlan, changed: Callable[[], None]) -> None:
        self._plan, self._changed = plan, changed
        self._jobs: dict[str, Job] = {}
        self._process: subprocess.Popen[str] | None = None
        self._running: str | None = None

    def find(self, name: str, flight: Path) -> Job | None:
        """The job of a flight, if one was started, or its result is there from before and newer than the flight."""
        result = self._plan.result(name)
        if name not in self._jobs and result.is_file() and result.stat().st_mtime >= flight.stat().st_mtime:
            return Job("done", 1.0)
        return self._jobs.get(name)

    def forget(self, name: str) -> None:
        """The flight has another name now, or is gone."""
        if name != self._running:
            self._jobs.pop(name, None)

    def result(self, name: str) -> Path:
        """The video that a finished job has made."""
        return self._plan.result(name)

    def start(self, name: str, flight: Path) -> None:
        """Start rendering a flight.

        Raises:
            UserError: another one is being rendered.
        """
        if self._running is not None:
            raise UserError(f"{self._running} is being rendered, expected one at a time. Wait, or stop it.")
        self._running = name
        self._put(name, Job("running", 0.0))
        command = [sys.executable, *self._plan.command(flight, name)]
        threading.Thread(target=self._run, args=(name, command), name="inspatio-job", daemon=True).start()

    def stop(self) -> None:
        """Stop the render that is running; what it has finished is kept."""
        process = self._process
        if process is not None:
            process.terminate()

    def _run(self, name: str, command: Sequence[str]) -> None:
        last = ""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C in the terminal ends the server, which then ends this
            )
            self._process = process
            assert process.stderr is not None, "standard error is a pipe"
            for line in process.stderr:
                last = line.strip() or last
                self._read(name, line)
            code = process.wait()
        except OSError as error:
            code, last = 1, str(error)
        self._process = self._running = None
        if code == 0 and self._plan.result(name).is_file():
            self._put(name, Job("done", 1.0))
        else:
            _log.warning("render of %s ended with %d: %s", name, code, last)
            self._put(name, Job("failed", 0.0, last[:300]))

    def _read(self, name: str, line: str) -> None:
        found = _PROGRESS.search(line)
        if found:
            low, high = _SHARES[found[1]]
            share = int(found[2]) / max(int(found[3]), 1)
            self._put(name, replace(self._jobs[name], progress=low + share * (high - low)))

    def _put(self, name: str, job: Job) -> None:
        self._jobs[name] = job
        self._changed()
