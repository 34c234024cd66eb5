"""Disturb runs at random moments and continue them: python scripts/kill_test.py [ROUNDS] [--minutes M] [--kind ...]

Each round starts a run in an empty folder, disturbs it up to three times, and lets it finish. The disturbances:

    power     every process is killed (SIGKILL), as by a power failure
    main      only the process that was started is killed, as by the kernel when memory is short
    worker    one of its worker processes is killed
    INT       SIGINT to the process group, as by Ctrl-C
    TERM      SIGTERM to the process that was started, as by `kill` or a scheduler
    disk      the disk is full, and larger when the run is continued (a tmpfs is mounted, which needs root)

What must hold: after INT and TERM the exit code is 130, with no traceback and no process or temporary file left; and
the run that finishes has exit code 0, leaves no temporary file, and every file equals that of an undisturbed run,
byte by byte. The runs: ``preview`` (one process), ``workers`` (two workers in geometry, render and
generate), ``networks`` (every network at a tiny size, two workers in generate), ``ray`` (a Ray cluster of this machine,
if the extra `ray` is installed; where one of its workers is killed, the run itself must go on and end well).

The seed is printed. It decides what is done, and after which share of an undisturbed run's time, so moments still
depend on the machine. Needs Linux and the extra `dev`. The last line is one JSON object with the counts, which
``--record`` also appends to a file for scripts/reliability.py. Exit status 1 if anything was wrong; the round's
folder is then kept.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reliability import keep

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from make_tiny_checkpoints import main as make_tiny_checkpoints  # noqa: E402 - found by the line above
from support.clips import write_clip  # noqa: E402
from support.runs import PROFILE, contents  # noqa: E402

from inspatio.storage import PART_SUFFIX  # noqa: E402

LONGEST = 300.0
"""Seconds after which a run counts as hanging."""
CLIPS = 3
LARGE = 2**28
"""Bytes of a disk that has room for everything."""


@dataclass(frozen=True)
class Kind:
    """A run to disturb: its options, the frames of its clips, and the disturbances that make sense for it."""

    options: tuple[str, ...]
    frames: int
    ways: tuple[str, ...]


_WORKERS = ("power", "main", "worker", "worker", "INT", "TERM")
KINDS = {
    "preview": Kind(("--config_path", "small.yaml"), 40, ("power", "power", "INT", "TERM", "disk")),
    "workers": Kind(("--config_path", "small.yaml", "--step2_gpus", "0,1", "--step3_gpus", "0,1"), 40, _WORKERS),
    "networks": Kind(("--profile", "tiny", "--step3_gpus", "0,1"), 10, _WORKERS),
}
if importlib.util.find_spec("ray"):
    KINDS["ray"] = Kind(("--config_path", "small.yaml", "--engine", "ray"), 40, _WORKERS)


class Wrong(Exception):
    """A disturbed or continued run did what it must not do."""


class Run:
    """A run in a process group of its own; what it says is in a file."""

    def __init__(self, kind: Kind, folder: Path, port: int) -> None:
        command = [sys.executable, "-m", "inspatio", "run", *kind.options, "--input_dir", "clips"]
        command += ["--traj_txt_path", "path.txt", "--disable_adaptive_frame", "--master_port", str(port)]
        environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": str(ROOT), "INSPATIO_HOME": str(folder)}
        environment["TMPDIR"] = str(folder.parent)  # where a Ray cluster that is killed leaves its files
        self.has_cluster = "ray" in kind.options
        self._log = folder / "log.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log, start_new_session=True)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ran_until(self, happened: Callable[[], bool], seconds: float = LONGEST) -> bool:
        """Wait until something happened or the time is over; False where the run ended before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not happened():
            if self.process.poll() is not None:
                return False
            time.sleep(0.005)
        return True

    def end(self) -> int:
        """Wait for the end; returns the exit code, negative for a signal."""
        try:
            return self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            _signal(self.processes(), signal.SIGKILL)
            raise Wrong(f"still running after {LONGEST:.0f} s") from None

    def processes(self) -> list[int]:
        """The process that was started, then its workers."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
        generation, found = [self.process.pid], []
        while generation:
            found += generation
            generation = [pid for pid, parent in parents.items() if parent in generation]
        return found

    def workers(self) -> list[int]:
        """The processes that make results for the one that was started; of Ray's, only those that have begun."""
        if not self.has_cluster:
            return self.processes()[1:]
        return [pid for pid in self.processes()[1:] if _command(pid).startswith("ray::RayWorker")]


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: its files, the seconds it took after its first line, and the bytes of its files."""

    contents: dict[str, str]
    seconds: float
    size: int


@dataclass
class Campaign:
    """What is counted, and the folder in which runs are made."""

    folder: Path
    random: random.Random
    rounds: Counter[str] = field(default_factory=Counter)
    disturbances: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    undisturbed: dict[str, Undisturbed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = self.random.randint(20_000, 32_000)

    def prepare(self, name: str) -> None:
        """Make input and profile of a kind, and its undisturbed result."""
        folder = self.folder / name
        (folder / "output").mkdir(parents=True)
        (folder / "small.yaml").write_text(PROFILE)
        (folder / "path.txt").write_text("0 4\n0 -8\n0.9 1\n")
        for number in range(CLIPS):
            write_clip(folder / f"clips/{number}.mp4", count=KINDS[name].frames, seed=number, sound=number == 1)
        if name == "networks":
            with redirect_stdout(io.StringIO()):
                make_tiny_checkpoints([str(folder / "checkpoints/tiny")])
        run = self._start(name)
        run.ran_until(lambda: bool(run.said))
        started = time.monotonic()
        if run.end() != 0:
            raise SystemExit(f"the undisturbed run of {name} failed:\n{run.said}")
        seconds = time.monotonic() - started
        size = sum(path.stat().st_size for path in (folder / "output").rglob("*") if path.is_file())
        self.undisturbed[name] = Undisturbed(contents(folder / "output"), seconds, size)

    def round(self, name: str) -> None:
        """Disturb a run, continue it, compare; what is wrong is printed, and the folder kept."""
        folder = self.folder / name
        ways = self.random.choices(KINDS[name].ways, k=self.random.randint(1, 3))
        self.rounds[name] += 1
        counts = self.disturbances.setdefault(name, Counter())
        done: list[str] = []
        shutil.rmtree(folder / "output")
        (folder / "output").mkdir()
        disk = _mount(folder / "output") if "disk" in ways else False
        try:
            for way in ways:
                if way == "disk" and not disk:
                    continue
                done.append(way)
                if self._fill_disk(name) if way == "disk" else self._kill(name, way):
                    counts[way] += 1
                else:
                    done[-1] = f"{way} too late"
            run = self._start(name)
            if code := run.end():
                raise Wrong(f"continued run: exit code {code}:\n{run.said}")
            if left := _temporary(folder / "output"):
                raise Wrong(f"continued run: temporary files are left: {', '.join(left)}")
            self._compare(name)
            print(f"{name}: {', '.join(done)}: same files", flush=True)
        except Wrong as wrong:
            kept = self.folder / f"wrong {len(self.failures)} {name}"
            shutil.copytree(folder, kept, symlinks=True)
            self.failures.append(f"{name}: {', '.join(done)}: {str(wrong).splitlines()[0]}")
            print(f"WRONG {name}: {', '.join(done)}: {wrong}\n  kept in {kept}", flush=True)
        finally:
            if disk:
                subprocess.run(["umount", folder / "output"], check=True)

    def _start(self, name: str) -> Run:
        return Run(KINDS[name], self.folder / name, self.port)

    def _kill(self, name: str, way: str) -> bool:
        """Start a run and signal it at a random moment; False where it ended before it could notice."""
        seconds = self.undisturbed[name].seconds
        run = self._start(name)
        # Before its first line Python is starting up, with nothing to lose.
        running = run.ran_until(lambda: bool(run.said))
        moment = time.monotonic() + seconds * self.random.random() ** 2  # a continued run has less to do
        running = running and run.ran_until(lambda: time.monotonic() > moment)
        if way == "worker":
            running = running and run.ran_until(lambda: bool(run.workers()))
        processes, workers = run.processes(), run.workers()
        if not running or (way == "worker" and not workers):
            if code := run.end():
                raise Wrong(f"before it was disturbed: exit code {code}:\n{run.said}")
            return False
        match way:
            case "power":
                _signal(processes, signal.SIGKILL)
            case "main":
                _signal(processes[:1], signal.SIGKILL)
            case "worker":
                _signal([self.random.choice(workers)], signal.SIGKILL)
            case "INT":
                os.killpg(run.process.pid, signal.SIGINT)
            case "TERM":
                _signal(processes[:1], signal.SIGTERM)
        code = run.end()
        if way in ("INT", "TERM") and "clips done" in run.said:
            return False  # Python was shutting down, with everything written
        expected = {"worker": (0, 1), "INT": (0, 130), "TERM": (0, 130)}.get(way, (0, -signal.SIGKILL))
        if way == "worker" and run.has_cluster:
            if code or "Traceback" in run.said:
                raise Wrong(f"after a worker was killed: exit code {code}, expected 0:\n{run.said}")
            return True
        if code not in expected:
            raise Wrong(f"after {way}: exit code {code}, expected {expected[1]}:\n{run.said}")
        if way in ("INT", "TERM"):
            if "Traceback" in run.said:
                raise Wrong(f"after {way}: a traceback:\n{run.said}")
            if left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
                raise Wrong(f"after {way}: processes {left} of {processes} live on:\n{run.said}")
            if left := _temporary(self.folder / name / "output"):
                raise Wrong(f"after {way}: temporary files are left: {', '.join(left)}")
        return code != 0

    def _fill_disk(self, name: str) -> bool:
        """Run on a disk with room for a part of the result, then give it more; False where there was room for all."""
        output, size = self.folder / name / "output", self.undisturbed[name].size
        limit = shutil.disk_usage(output).used + self.random.randint(0, size)
        _resize(output, limit)
        run = self._start(name)
        code = run.end()
        _resize(output, LARGE)
        if code and (code != 1 or "the disk is full" not in run.said or "Traceback" in run.said):
            raise Wrong(f"on a disk of {limit} bytes: exit code {code}:\n{run.said}")
        return code == 1

    def _compare(self, name: str) -> None:
        expected, got = self.undisturbed[name].contents, contents(self.folder / name / "output")
        different = [path for path in sorted(expected | got) if expected.get(path) != got.get(path)]
        if different:
            raise Wrong(f"continued run: other files than an undisturbed one: {', '.join(different)}")


def _signal(processes: Sequence[int], number: int) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):  # it ended by itself, or with another one
            os.kill(pid, number)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return ""


def _temporary(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(f"*{PART_SUFFIX}"))


def _mount(folder: Path) -> bool:
    """Mount a file system in memory; False where this is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "none", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Disturb runs at random moments and continue them.")
    parser.add_argument("rounds", type=int, nargs="?", default=10, help="rounds of each kind of run [10]")
    parser.add_argument("--minutes", type=float, help="rounds for as long as this, in place of their number")
    parser.add_argument("--kind", choices=list(KINDS), nargs="+", default=list(KINDS), help="which runs [all]")
    parser.add_argument("--seed", type=int, help="of all choices [a new one each time]")
    parser.add_argument("--record", type=Path, help="file that the result is appended to")
    options = parser.parse_args(arguments)
    # A shell that starts this in the background has it ignore Ctrl-C, which the runs would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="inspatio-kill-"))
    print(f"seed {seed}, runs are made in {folder}", flush=True)
    campaign = Campaign(folder, random.Random(seed))
    for name in options.kind:
        campaign.prepare(name)
    started, rounds = time.monotonic(), 0
    while rounds < options.rounds if options.minutes is None else time.monotonic() < started + 60 * options.minutes:
        for name in options.kind:
            campaign.round(name)
        rounds += 1
    length = f"--minutes {options.minutes:g}" if options.minutes is not None else str(options.rounds)
    kinds = "" if options.kind == list(KINDS) else f" --kind {' '.join(options.kind)}"
    result = keep(
        options.record,
        "kills",
        f"python scripts/kill_test.py {length}{kinds} --seed {seed}",
        (time.monotonic() - started) / 60,
        rounds=dict(campaign.rounds),
        disturbances={name: dict(sorted(ways.items())) for name, ways in campaign.disturbances.items()},
        failures=campaign.failures,
    )
    if not campaign.failures:
        shutil.rmtree(folder)
    print(json.dumps(result))
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())
