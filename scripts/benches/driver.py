"""``bench.py driver``: what thousands of clips cost the process that plans and records them.

A folder of copies of one small video goes through all four stages. Only the work of a clip is replaced: instead of
depth, renders and videos, each stage writes tiny files of the same names. Reading the input, planning, journals,
manifests, hashes and damage checks are the product's own. Then the same command runs again, with nothing left to do.
Each number of clips has a process of its own, whose largest memory counts. Use ``--folder`` for a folder in memory
(/dev/shm), where syncing costs nothing: what is meant is CPU time, not the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benches.measure import Bench

TESTS = Path(__file__).resolve().parents[2] / "tests"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10_000], help="numbers of clips [1000 10000]")
    parser.add_argument("--folder", type=Path, help="where to work [the system's folder for temporary files]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for count in options.clips:
        with tempfile.TemporaryDirectory(prefix="inspatio-driver-", dir=options.folder) as name:
            command = [sys.executable, __file__, str(count), name]
            path = os.pathsep.join([str(TESTS), str(TESTS.parent), *sys.path])
            done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, check=True)
        results[str(count)] = json.loads(done.stdout.splitlines()[-1])
        print(count, results[str(count)], flush=True)
    return results


BENCH = Bench(add_arguments, run)


def _measure(count: int, folder: Path) -> dict[str, float]:
    """Run over so many clips in this process: CPU milliseconds and written bytes per clip, largest memory in MB."""
    import resource

    from support.clips import write_clip
    from support.runs import PROFILE

    from inspatio.pipeline.cli import main

    os.chdir(folder)
    _replace_work()
    Path("small.yaml").write_text(PROFILE)
    Path("path.txt").write_text("0 4\n0 -8\n0.9 1\n")
    first = write_clip(Path("clips/00000.mp4"), count=2)
    for number in range(1, count):
        shutil.copyfile(first, f"clips/{number:05}.mp4")
    command = ["run", "--config_path", "small.yaml", "--input_dir", "clips", "--traj_txt_path", "path.txt", "--quiet"]
    command += ["--geometry", "plane", "--caption", "a room", "--disable_adaptive_frame"]
    measured = {}
    for name in ("run", "resume"):
        started, written = time.process_time(), _written()
        if main(command) != 0:
            raise SystemExit(f"the {name} over {count} clips failed")
        measured[f"{name}_cpu_ms_per_clip"] = round((time.process_time() - started) * 1000 / count, 2)
        measured[f"{name}_bytes_written_per_clip"] = round((_written() - written) / count)
    measured["memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    return measured


def _written() -> int:
    """Bytes that this process has given to write() so far, as Linux counts them."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["wchar"])


def _replace_work() -> None:
    """Have the stages write tiny files instead of results."""
    from inspatio.pipeline.generate import GenerateStage
    from inspatio.pipeline.geometry import GeometryStage
    from inspatio.pipeline.records import GeometryResult, OutputResult, RenderResult
    from inspatio.pipeline.render import RenderStage
    from inspatio.pipeline.result_files import record_files
    from inspatio.storage import atomic_folder, write_text

    def geometry(stage: GeometryStage, states: Sequence[Any], progress: Any) -> list[GeometryResult]:
        (state,) = states
        made_from, relative = stage.made_from(state), f"geometry/{state.id}"
        names = ["cameras.json", "depth.npy"]
        files = _write(stage, relative, names)
        return [
            GeometryResult(**made_from, files=files, folder=relative, backend="plane", scale="relative", frame_count=2)
        ]

    def render(stage: RenderStage, states: Sequence[Any], progress: Any) -> list[RenderResult]:
        (state,) = states
        made_from, relative = stage.made_from(state), f"render/{state.id}"
        files = _write(stage, relative, ["cameras.json", "mask.mp4", "render.mp4"])
        return [RenderResult(**made_from, files=files, folder=relative, frame_count=2, coverage=1.0)]

    def generate(stage: GenerateStage, states: Sequence[Any], progress: Any) -> list[OutputResult]:
        (state,) = states
        made_from, names = stage.made_from(state), [f"{state.id}.mp4", f"{state.id}.cameras.json"]
        folder = stage.workspace.folder_of(stage.name)
        for name in names:
            write_text(folder / name, name)
        video, cameras = names
        files = record_files(folder, names)
        return [
            OutputResult(
                **made_from, files=files, video=video, cameras=cameras, frame_count=2, generator=stage.job.profile.name
            )
        ]

    def _write(stage: Any, relative: str, names: Sequence[str]) -> Any:
        above = stage.workspace.folder_of(stage.name)
        with atomic_folder(above / relative) as folder:
            for name in names:
                (folder / name).write_text(name)
        return record_files(above, [f"{relative}/{name}" for name in names])

    for stage, process in ((GeometryStage, geometry), (RenderStage, render), (GenerateStage, generate)):
        setattr(stage, "process", process)  # noqa: B010  the types would have to be those of any stage


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]), Path(sys.argv[2]))))
