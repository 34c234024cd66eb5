"""Offline renders of recorded flights: the pipeline in a process of its own, one after another, with progress."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from inspatio.errors import UserError

JobState: TypeAlias = Literal["queued", "in_progress", "completed", "failed"]

MAX_WAITING = 8
"""Renders that wait for the one that runs."""

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
    """One offline render: how far it is (0..1), when it was asked for and when it was done (seconds since 1970), and
    why it failed."""

    state: JobState
    created: float
    progress: float = 0.0
    completed: float | None = None
    message: str = ""


class Jobs:
    """Runs the pipeline for one flight after another; ``changed`` is called, often from its thread, on every change."""

    def __init__(self, plan: RenderPlan, changed: Callable[[], None]) -> None:
        self._plan, self._changed = plan, changed
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[tuple[str, Path]] = deque()
        self._running: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._ending = False

    def find(self, name: str, flight: Path) -> Job | None:
        """The job of a flight, if one was started, or its result is there from before and newer than the flight."""
        result = self._plan.result(name)
        with self._lock:
            found = self._jobs.get(name)
        if found is None and result.is_file() and result.stat().st_mtime >= flight.stat().st_mtime:
            made = result.stat().st_mtime
            return Job("completed", made, 1.0, made)
        return found

    def result(self, name: str) -> Path:
        """The video that a finished job has made."""
        return self._plan.result(name)

    def start(self, name: str, flight: Path) -> Job:
        """Render a flight, after those that wait; again, if it has been rendered.

        Raises:
            UserError: it is being rendered or waits already, or too many wait.
        """
        with self._lock:
            if name == self._running or any(name == each for each, _ in self._waiting):
                raise UserError(f"{name} is being rendered, expected another flight. Wait, or stop it.")
            if len(self._waiting) >= MAX_WAITING:
                raise UserError(f"{len(self._waiting)} renders wait, expected fewer than {MAX_WAITING}. Try later.")
            self._jobs[name] = Job("queued", time.time())
            self._waiting.append((name, flight))
            if self._running is None:
                self._running = ""
                threading.Thread(target=self._work, name="inspatio-jobs", daemon=True).start()
        self._changed()
        return self._jobs[name]

    def forget(self, name: str) -> bool:
        """Stop a flight's render if it waits or runs, and keep no record of it; returns whether it did."""
        with self._lock:
            waits = any(name == each for each, _ in self._waiting)
            self._waiting = deque(each for each in self._waiting if each[0] != name)
            self._jobs.pop(name, None)
            runs = name == self._running
            if runs and self._process is not None:
                self._process.terminate()
        return waits or runs

    def delete(self, name: str) -> None:
        """Stop a flight's render if it waits or runs; else delete what it has made."""
        if not self.forget(name):
            self._plan.result(name).unlink(missing_ok=True)
        self._changed()

    def stop(self) -> None:
        """Stop everything; what the render that runs has finished is kept."""
        with self._lock:
            self._ending = True
            self._waiting.clear()
            if self._process is not None:
                self._process.terminate()

    def _work(self) -> None:
        """Render what waits until nothing does (on a thread of its own)."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = None
                    return
                name, flight = self._waiting.popleft()
                self._running = name
                self._jobs[name] = replace(self._jobs[name], state="in_progress")
            self._changed()
            code, last = self._run(name, [sys.executable, *self._plan.command(flight, name)])
            done = code == 0 and self._plan.result(name).is_file()
            with self._lock:
                self._process = None
                stopped = name not in self._jobs or self._ending
                if done and name in self._jobs:
                    self._jobs[name] = replace(self._jobs[name], state="completed", progress=1.0, completed=time.time())
                elif not stopped:
                    _log.warning("render of %s ended with %d: %s", name, code, last)
                    self._jobs[name] = replace(self._jobs[name], state="failed", message=last[:300])
            self._changed()

    def _run(self, name: str, command: Sequence[str]) -> tuple[int, str]:
        """Run a command to its end; returns its exit code and its last line."""
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
        except OSError as error:
            return 1, str(error)
        with self._lock:
            self._process = process
            if name not in self._jobs or self._ending:  # stopped while it was being started
                process.terminate()
        assert process.stderr is not None, "standard error is a pipe"
        for line in process.stderr:
            last = line.strip() or last
            self._read(name, line)
        return process.wait(), last

    def _read(self, name: str, line: str) -> None:
        found = _PROGRESS.search(line)
        if not found:
            return
        low, high = _SHARES[found[1]]
        share = int(found[2]) / max(int(found[3]), 1)
        with self._lock:
            if name not in self._jobs:
                return
            self._jobs[name] = replace(self._jobs[name], progress=low + share * (high - low))
        self._changed()
