"""The engine of many machines: workers on a Ray cluster process the clips, and this process alone records them.

    inspatio run --engine ray                         a cluster of this machine, for the time of the run
    inspatio run --engine ray --ray_address auto      the cluster that this machine belongs to

There is one worker (an actor) for each GPU of the cluster, or for each CPU where it has no GPU. A worker lives as long
as the run, keeps the models of its stage, and gets one batch of clips at a time. All machines see the same folders
under the same paths. Stages follow each other as in one process: the next begins when all clips are through the one
before.

A worker that dies (killed, out of memory, its machine gone or preempted) is replaced, and its clips are given out
again. A clip that has been with several workers when they died is recorded as failed. What is retried is logged.

Results are those of one process, bit for bit, where a worker has as many threads (OMP_NUM_THREADS).
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspatio.errors import ClipError, UserError
from inspatio.locations import HOME_VARIABLE
from inspatio.pipeline.engines.engine import Engine, same_code
from inspatio.pipeline.engines.ray_worker import Answer, RayWorker, code_fingerprint
from inspatio.pipeline.job import RUN_SUBFOLDERS, WORK_SUBFOLDERS, Job
from inspatio.pipeline.log import facts, progress_bar
from inspatio.pipeline.loop import Recorder, batches, begin_stage
from inspatio.pipeline.pace import Pace
from inspatio.pipeline.plan import StagePlan
from inspatio.pipeline.records import STAGES
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workers import wait_for_workers
from inspatio.pipeline.workspace import ClipState
from inspatio.settings import StageName
from inspatio.storage import remove_temporary

MAX_DEATHS = 3
"""Workers that may die with a clip before it counts as failed. Preempted ones do not count."""
MAX_PREEMPTIONS = 20
"""Preempted workers that a clip may be with: a limit, so that no run goes on for ever."""
MAX_FAILED_STARTS = 3
"""Workers in a row that may die before they get a clip."""
CONNECT_SECONDS = 10.0
TICK = 5.0
"""Seconds after which the size of the cluster is looked at again."""
LONGEST_FOLDER = 30
"""Bytes of the system's folder for temporary files: the paths of Ray's sockets in it must not exceed 107."""
STORE_BYTES = 100 * 2**20
"""Of shared memory that a cluster of this machine alone gets: only records go through it."""

_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """A worker as this process knows it."""

    actor: Any
    place: str = ""
    """Its machine and process, once it has begun."""
    batch: list[ClipState] = field(default_factory=list)
    """The clips that it is processing; none while it begins a stage."""


class RayEngine(Engine):
    """Runs stages on a Ray cluster; connects to it, or starts it, when the first clip is to be processed."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        if importlib.util.find_spec("ray") is None:
            raise UserError(
                "--engine ray: the package ray is not installed. "
                "Install it with `pip install inspatio[ray]`, or run without --engine."
            )
        self._ray: Any = None
        self._temporary: Path | None = None
        self._workers: list[_Worker] = []
        self._lost = False
        """Whether a worker has died in this stage, which may leave temporary files."""

    def processes(self, stage: StageName) -> int:
        self._connect()
        return self._share()[0]

    def run(self, stage: Stage, plan: StagePlan, pace: Pace) -> None:
        todo = begin_stage(stage, plan)
        if not todo:
            return
        self._connect()
        recorder = Recorder(stage, plan, pace)
        pace.start(stage, todo, self._share()[0])
        try:
            with progress_bar(len(todo), f"{stage.name:>8}", unit="clip") as progress:
                done = 0
                for batch, answer in self._process(stage, todo, recorder):
                    recorder.finished(batch, answer.outcomes, answer.seconds)
                    done += len(batch)
                    progress(done, len(todo))
        except BaseException:
            # Here, while the run still holds the locks of the folder: another run may be waiting for them.
            self._end_workers()
            wait_for_workers(stage.workspace.folder_of(stage.name))
            self._lost = True
            raise
        finally:
            if self._lost:
                _remove_temporary(stage)
                self._lost = False

    def close(self) -> None:
        if self._ray is None:
            return
        self._end_workers()
        self._ray.shutdown()
        self._ray = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _end_workers(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers = []

    def _process(
        self, stage: Stage, todo: Sequence[ClipState], recorder: Recorder
    ) -> Iterator[tuple[list[ClipState], Answer]]:
        """Give batches out to workers as they become free; yields what comes back, in any order."""
        waiting = deque(batches(todo, stage.batch_size))
        everything = self._ray.put([stage.workspace.hand_out(state.id) for state in todo])
        losses = _Losses(stage)
        others = list(self._workers)  # they have not begun this stage
        idle: list[_Worker] = []
        running: dict[Any, _Worker] = {}
        has_begun = False
        while waiting or running:
            while idle and waiting:
                worker = idle.pop()
                worker.batch = waiting.popleft()
                recorder.starts(worker.batch)
                handed = [stage.workspace.hand_out(state.id) for state in worker.batch]
                running[worker.actor.process.remote(handed)] = worker
            # The first worker prepares alone what all of them need, such as encoded prompts.
            room = (self._share()[0] if has_begun else 1) - len(running)
            beginning = sum(not worker.batch for worker in running.values())
            for _ in range(min(room, len(waiting) - beginning)):
                worker = others.pop() if others else self._start()
                running[worker.actor.begin.remote(self.job, stage.name, everything)] = worker
            for reference in self._ray.wait(list(running), num_returns=1, timeout=TICK)[0]:
                worker = running.pop(reference)
                batch, worker.batch = worker.batch, []
                try:
                    answer: Answer = self._ray.get(reference)
                except self._ray.exceptions.RayTaskError as error:
                    raise error.cause from error  # a bug of the engine itself
                except self._ray.exceptions.RayError as error:
                    self._workers.remove(worker)
                    self._lost = True
                    failed = losses.count(worker, batch, error)
                    # Alone, so that none takes another one with it; first, so that the end does not wait for them.
                    waiting.extendleft([state] for state in reversed(batch) if state.id not in failed)
                    for clip_id, fault in failed.items():
                        yield [state for state in batch if state.id == clip_id], Answer([fault])
                    continue
                answer.log()
                if answer.fault is not None:
                    raise answer.fault
                if batch:
                    yield batch, answer
                else:
                    worker.place, has_begun = answer.place, True
                    losses.failed_starts = 0
                idle.append(worker)

    def _start(self) -> _Worker:
        """Ask the cluster for another worker."""
        _, resources = self._share()
        variables = same_code() | {"OPENCV_LOG_LEVEL": "ERROR"}
        variables |= {name: os.environ[name] for name in (HOME_VARIABLE, "OMP_NUM_THREADS") if name in os.environ}
        actor = self._ray.remote(RayWorker).options(**resources, runtime_env={"env_vars": variables})
        worker = _Worker(actor.remote(str(Path.cwd()), code_fingerprint()))
        self._workers.append(worker)
        return worker

    def _share(self) -> tuple[int, dict[str, float]]:
        """How many workers the cluster has room for as it is now, and what each of them takes."""
        there = self._ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        if not gpus:
            return max(1, int(there.get("CPU", 1))), {"num_cpus": 1}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
        cpus = min((int(node.get("CPU", 1) // node["GPU"]) for node in nodes), default=1)
        return gpus, {"num_gpus": 1, "num_cpus": max(1, cpus)}

    def _connect(self) -> None:
        if self._ray is not None:
            return
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        address = self.job.ray_address
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address is None:
            folder = tempfile.gettempdir()
            short = folder if len(os.fsencode(folder)) <= LONGEST_FOLDER else "/tmp"
            self._temporary = Path(tempfile.mkdtemp(prefix="ray-", dir=short))
            options |= {"_temp_dir": str(self._temporary), "object_store_memory": STORE_BYTES}
            options |= {"include_dashboard": False}
        with _signals_kept():
            import ray
            from ray._private import worker as ray_driver

            # Ray prints a paragraph for each worker that dies to standard output, and has no public switch for it.
            ray_driver._worker_logs_enabled = False
            self._ray = ray
            try:
                _check_reachable(address)
                ray.init(address=address or "local", **options)
            except (OSError, RuntimeError, ValueError, TimeoutError) as error:
                where = f"no cluster at {address}" if address else "no cluster could be started on this machine"
                advice = "Start one with `ray start --head`." if address else "Run without --engine ray."
                fault = " ".join(str(error).split())[:300]
                raise UserError(f"--engine ray: {where}: {fault}. {advice}") from error
        workers, resources = self._share()
        each = "GPU" if "num_gpus" in resources else "CPU"
        nodes = sum(node["Alive"] for node in ray.nodes())
        _log.info("%8s: up to %d workers, one for each %s, on %d machines", "ray", workers, each, nodes)


class _Losses:
    """Counts the workers that die in a stage, and says when it is too many."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._deaths: Counter[str] = Counter()
        self._preemptions: Counter[str] = Counter()
        self.failed_starts = 0
        """Workers that died before they had begun, since one has begun."""

    def count(self, worker: _Worker, batch: Sequence[ClipState], error: Exception) -> dict[str, ClipError]:
        """Count a worker that died with these clips; returns those that are given up, and why.

        Raises:
            UserError: workers do not even begin.
        """
        reason, name = _reason(error), self._stage.name
        if not worker.place:
            self.failed_starts += 1
            if self.failed_starts >= MAX_FAILED_STARTS:
                raise UserError(
                    f"--engine ray: {self.failed_starts} workers in a row ended before they had begun: {reason}. "
                    "Look at the logs of the cluster."
                ) from error
        is_preempted = bool(getattr(error, "preempted", False))
        counts, limit = (self._preemptions, MAX_PREEMPTIONS) if is_preempted else (self._deaths, MAX_DEATHS)
        failed = {}
        for state in batch:
            counts[state.id] += 1
            told = f"{counts[state.id]} of {limit} times"
            if counts[state.id] == limit:
                failed[state.id] = ClipError(f"its worker ended {told}, last on {worker.place}: {reason}")
            else:
                about = facts("retried", stage=name, clip=state.id, reason=reason)
                text = "%8s: %s: its worker on %s ended (%s), so another one gets it: %s"
                _log.warning(text, name, state.id, worker.place, told, reason, extra=about)
        return failed


def _remove_temporary(stage: Stage) -> None:
    """Remove what workers that died in this stage have left."""
    folder = stage.workspace.folder_of(stage.name)
    subfolders = WORK_SUBFOLDERS if STAGES[stage.name].folder == "work" else RUN_SUBFOLDERS
    for name in ("", *subfolders):
        remove_temporary(folder / name)


def _check_reachable(address: str | None) -> None:
    """Raise OSError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    rest, separator, port = (address or "").rpartition(":")
    if separator and port.isdecimal():
        host = rest.rpartition("//")[2]
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what SIGTERM does: Ray's own handler would end the process where it stands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _reason(error: Exception) -> str:
    """What Ray says of a worker's end, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("The actor is dead because")), lines[0] if lines else "")
    return (told or type(error).__name__)[:300]
