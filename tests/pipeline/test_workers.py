"""Worker processes of a stage: what they are told, and that none outlives the run that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from inspatio.pipeline.workers import run_workers, wait_for_workers

LONG_TIME = 20.0
WORKER = """
import os, sys, time
from pathlib import Path
from inspatio.pipeline.cli import _terminating_is_interrupting
from inspatio.pipeline.workers import ends_with_starter, working_in
with _terminating_is_interrupting(), ends_with_starter(), working_in(Path.cwd()):
    Path(os.environ["RANK"]).write_text(str(os.getpid()))
    {work}
"""
STARTER = """
import os, sys
from inspatio.pipeline.cli import _terminating_is_interrupting
from inspatio.pipeline.workers import run_workers
with _terminating_is_interrupting():
    sys.exit(run_workers([sys.executable, "-c", sys.argv[1]], 2, 29700, os.environ))
"""


def wait_until(happened) -> None:
    end = time.monotonic() + LONG_TIME
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def start(folder: Path, worker: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A run with two workers that have begun, and the workers' process ids."""
    starter = subprocess.Popen([sys.executable, "-c", STARTER, worker], cwd=folder)
    files = [folder / "0", folder / "1"]
    wait_until(lambda: all(path.is_file() and path.read_text() for path in files))
    return starter, [int(path.read_text()) for path in files]


def test_workers_know_their_ranks_and_the_first_failure_ends_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work = """while os.environ['RANK'] == '0' or not (Path('0').is_file() and Path('0').read_text()):
        time.sleep(0.01)
    sys.exit(7 if os.environ['WORLD_SIZE'] == '2' else 8)"""
    began = time.monotonic()
    assert run_workers([sys.executable, "-c", WORKER.format(work=work)], 2, 29700, os.environ) == 7
    assert time.monotonic() - began < LONG_TIME
    assert not is_running(int((tmp_path / "0").read_text()))


def test_workers_end_with_a_starter_that_is_terminated(tmp_path):
    """torchrun was killed after a quarter of a second, and its workers wrote on."""
    starter, workers = start(tmp_path, WORKER.format(work="time.sleep(100)"))
    starter.send_signal(signal.SIGTERM)
    assert starter.wait(LONG_TIME) != 0
    assert not any(map(is_running, workers))


def test_workers_end_after_a_starter_that_was_killed_and_the_next_run_waits_for_them(tmp_path):
    """They went on writing into the folder that the next run worked in."""
    slow = """try:
        time.sleep(100)
    finally:
        time.sleep(0.5)
        Path('ended', os.environ['RANK']).touch()"""
    (tmp_path / "ended").mkdir()
    starter, _ = start(tmp_path, WORKER.format(work=slow))
    starter.kill()
    starter.wait()
    wait_for_workers(tmp_path)
    assert {path.name for path in (tmp_path / "ended").iterdir()} == {"0", "1"}
