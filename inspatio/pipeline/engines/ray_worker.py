"""A worker of the Ray engine: it processes clips that are handed to it, and writes no manifest."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import inspatio
from inspatio.errors import UserError
from inspatio.pipeline.job import Job
from inspatio.pipeline.loop import Outcome, attempt
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.stages import make_stage
from inspatio.pipeline.workers import working_in
from inspatio.pipeline.workspace import HandedClip, Workspace
from inspatio.settings import StageName


@dataclass
class Answer:
    """What a worker sends back for a batch of clips, or when it has begun a stage (without outcomes)."""

    outcomes: Sequence[Outcome] = ()
    seconds: float = 0.0
    records: list[logging.LogRecord] = field(default_factory=list)
    """What it would have logged."""
    place: str = ""
    """Its machine and process."""
    fault: UserError | None = None
    """What ends the run: a condition that concerns every clip."""

    def log(self) -> None:
        """Log in this process what the worker would have logged."""
        for record in self.records:
            logging.getLogger(record.name).handle(record)


class RayWorker:
    """Processes clips of one stage at a time; the class of the actors, used from one thread.

    What a user can correct comes back in answers: an exception would arrive as one of Ray's, with a traceback.
    """

    def __init__(self, folder: str, code: str) -> None:
        """``folder`` is the current folder of the run, ``code`` what :func:`code_fingerprint` gives there."""
        self._folder = folder
        self._code = code
        self._stage: Stage | None = None
        self._writing = ExitStack()

    def begin(self, job: Job, name: StageName, clips: Sequence[HandedClip]) -> Answer:
        """Begin a stage of which this worker does some of these clips; the models of the last one are dropped."""
        self._stage = None
        self._writing.close()
        answer = Answer(place=f"{socket.gethostname()} (process {os.getpid()})")
        with _answering(answer):
            self._check(answer.place, job)
            workspace = Workspace.without_records(job)
            folder = workspace.folder_of(name)
            if not folder.is_dir():
                raise UserError(
                    f"{answer.place}: got no {folder}, expected a folder that all machines of the cluster share."
                )
            self._writing.enter_context(working_in(folder))
            stage = make_stage(name, workspace)
            states = [workspace.take(clip) for clip in clips]
            stage.prepare(states)
            stage.process_group(len(states))
            self._stage = stage
        return answer

    def process(self, clips: Sequence[HandedClip]) -> Answer:
        """Process a batch of clips."""
        stage = self._stage
        assert stage is not None, "clips come after a stage has begun"
        answer = Answer()
        with _answering(answer):
            states = [stage.workspace.take(clip) for clip in clips]
            started = time.perf_counter()
            answer.outcomes = attempt(stage, states, lambda done, total: None)
            answer.seconds = time.perf_counter() - started
        return answer

    def _check(self, place: str, job: Job) -> None:
        """Check that this process sees the run's folders and runs its code."""
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise UserError(
                f"{place}: got no folder {self._folder} ({error.strerror}), expected the one of the run. "
                "Run from a folder that all machines of the cluster share."
            ) from error
        if code_fingerprint() != self._code:
            raise UserError(
                f"{place}: got another version of inspatio in {Path(inspatio.__file__).parent} than that of the run. "
                "Install the same on all machines, or run from a checkout that they share."
            )


@contextmanager
def _answering(answer: Answer) -> Iterator[None]:
    """Put into an answer what is logged while the block runs, and an error of the user that ends it."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(queue)  # makes records fit to be sent
    handler.addFilter(lambda record: record.name.startswith("inspatio") or record.levelno >= logging.WARNING)
    root, package = logging.getLogger(), logging.getLogger("inspatio")
    root.addHandler(handler)
    package.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    try:
        yield
    except UserError as error:
        answer.fault = error
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        while not queue.empty():
            answer.records.append(queue.get())


def code_fingerprint() -> str:
    """Hash the package's modules: two processes with the same one make the same results."""
    package = Path(inspatio.__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()
