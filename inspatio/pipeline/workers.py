"""Run a stage in several processes of this machine, and end them whenever the process that started them ends.

Workers find each other as under torchrun, by RANK, WORLD_SIZE, LOCAL_RANK and the address of rank 0. They are started
directly, since torchrun's launcher and its workers live on when the launcher's parent is killed or interrupted, and go
on writing into folders that the next run believes to be its own.

A worker ends with its starter, however that ends: its standard input is a pipe to which nothing is written, and which
is then closed (:func:`ends_with_starter`). Since ending takes a moment, a worker shares a lock of the folder in which
it writes (:func:`working_in`), and the next run waits for it (:func:`wait_for_workers`).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from inspatio.storage import folder_lock

WORKERS_LOCK = ".workers.lock"
GRACE = 10.0
"""Seconds that a worker has to remove its temporary files before it is killed."""

_log = logging.getLogger(__name__)


def run_workers(command: Sequence[str], count: int, port: int, environment: Mapping[str, str]) -> int:
    """Run ``count`` copies of a command, each with its rank; returns the first exit code that is not 0, else 0.

    When one fails, or this process is interrupted, the others are ended first.
    """
    shared = dict(environment) | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # In a session of its own, Ctrl-C reaches the starter alone, which then ends its workers.
            workers.append(subprocess.Popen(command, env=own, stdin=subprocess.PIPE, start_new_session=True))
        codes = [worker.poll() for worker in workers]
        while None in codes and not any(codes):
            time.sleep(0.05)
            codes = [worker.poll() for worker in workers]
        return next((code for code in codes if code), 0)
    finally:
        _end(workers)


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    last = time.monotonic() + GRACE
    for worker in workers:
        try:
            worker.wait(max(0.0, last - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@contextmanager
def ends_with_starter() -> Iterator[None]:
    """In a worker: be interrupted when the process that started it ends; the starter says so, a worker is silent."""
    threading.Thread(target=_wait_for_end_of_input, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _wait_for_end_of_input() -> None:
    # Not through sys.stdin, whose lock a thread that still reads would hold at the end of the program.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(130)  # it is stuck, waiting for a worker that has ended perhaps


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Share the workers' lock of a folder while a worker writes there."""
    with folder_lock(folder, wait=True, notice=_log.info, name=WORKERS_LOCK, shared=True):
        yield


def wait_for_workers(folder: Path) -> None:
    """Wait until no worker of a run that was killed writes into a folder any more."""
    with folder_lock(folder, wait=True, notice=_log.info, name=WORKERS_LOCK):
        pass
