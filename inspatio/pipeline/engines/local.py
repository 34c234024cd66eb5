"""The engine of one machine: a stage runs in this process, or in several processes that are started for it.

A stage with several GPUs or processes is run by workers (``workers.py``), each with this run's own command line and
``--worker <stage>`` added; they write journals, which are folded into the manifest here.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from inspatio.errors import UserError
from inspatio.pipeline.engines.engine import Engine, same_code
from inspatio.pipeline.job import Job
from inspatio.pipeline.loop import run_stage
from inspatio.pipeline.pace import Pace
from inspatio.pipeline.plan import StagePlan
from inspatio.pipeline.records import STAGES
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workers import run_workers
from inspatio.settings import StageName

_log = logging.getLogger(__name__)


class LocalEngine(Engine):
    """Runs stages on this machine; workers get the run's ``command_line`` (command and options)."""

    def __init__(self, job: Job, command_line: Sequence[str]) -> None:
        super().__init__(job)
        self._command_line = command_line

    def processes(self, stage: StageName) -> int:
        return max(len(self.job.gpus[stage]), self.job.processes if stage == "generate" else 1)

    def run(self, stage: Stage, plan: StagePlan, pace: Pace) -> None:
        processes = self.processes(stage.name)
        if processes == 1 or not any(each.status == "to do" for each in plan.values()):
            run_stage(stage, plan, pace)
        else:
            self._run_workers(stage, processes)

    def _run_workers(self, stage: Stage, processes: int) -> None:
        name, job, gpus = stage.name, self.job, self.job.gpus[stage.name]
        _log.info("%8s: %d processes on GPUs %s", name, processes, ", ".join(gpus))
        command = [sys.executable, "-m", "inspatio", *self._command_line, "--worker", name]
        if not (job.profile_name or job.config_path):
            command += ["--profile", job.profile.name]  # weights that arrive meanwhile must not change the choice
        # One thread a worker, as torchrun has it: they share the machine's cores already.
        environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} | same_code()
        code = run_workers(command, processes, job.master_port, environment)
        stage.workspace.fold(STAGES[name].folder)
        if code != 0:
            raise UserError(
                f"{name}: a worker ended with exit code {code}, expected 0 (see above). "
                "Finished clips are kept; run again."
            )
