"""Run the pipeline again and again in one process: python scripts/soak.py --minutes 60 [--profile tiny]

Each round makes every result of the same two clips again (``--force``), at 80x48 with the preview, or with the networks
of another profile at its size. What must hold: every file equals that of the first round, byte by byte; the process
keeps no files open; and its memory at the end is at most a tenth above what it was after the first quarter of the time.
Needs Linux (/proc) and the extra `dev`.

The last line is one JSON object, which ``--record`` also appends to a file for scripts/reliability.py. Exit status 1 if
anything was wrong.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from reliability import keep

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from make_tiny_checkpoints import main as make_tiny_checkpoints  # noqa: E402 - found by the line above
from support.clips import write_clip  # noqa: E402
from support.runs import PROFILE, contents  # noqa: E402

from inspatio.locations import HOME_VARIABLE  # noqa: E402
from inspatio.pipeline.cli import main as inspatio  # noqa: E402

FRAMES = (24, 15)
GROWTH = 1.1
"""Of memory, which the allocator may keep in pieces, from the first quarter to the last."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the pipeline again and again in one process.")
    parser.add_argument("--minutes", type=float, default=10, help="how long [10]")
    parser.add_argument("--profile", default="preview", choices=("preview", "tiny"), help="[preview]")
    parser.add_argument("--record", type=Path, help="file that the result is appended to")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="inspatio-soak-") as name:
        folder = Path(name)
        os.environ[HOME_VARIABLE] = name
        (folder / "small.yaml").write_text(PROFILE)
        (folder / "path.txt").write_text("0 4\n0 -8\n0.9 1\n")
        for number, count in enumerate(FRAMES):
            write_clip(folder / f"clips/{number}.mp4", count=count, seed=number, sound=number == 1)
        command = ["run", "--input_dir", name + "/clips", "--traj_txt_path", name + "/path.txt", "--force", "--quiet"]
        command += ["--work_folder", name + "/output", "--disable_adaptive_frame"]
        if options.profile == "tiny":
            with redirect_stdout(io.StringIO()):
                make_tiny_checkpoints([name + "/checkpoints/tiny"])
            command += ["--profile", "tiny"]
        else:
            command += ["--config_path", name + "/small.yaml"]
        failures: list[str] = []
        first: dict[str, str] = {}
        memory: list[float] = []
        files: list[int] = []
        started = time.monotonic()
        while time.monotonic() - started < 60 * options.minutes or len(memory) < 4:
            if code := inspatio(command):
                failures.append(f"round {len(memory) + 1}: exit code {code}")
            made = contents(folder / "output")
            first = first or made
            if made != first:
                different = sorted(path for path in first | made if first.get(path) != made.get(path))
                failures.append(f"round {len(memory) + 1}: other files than the first: {', '.join(different)}")
            gc.collect()
            memory.append(resident())
            files.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
    quarter = len(memory) // 4
    before, after = statistics.median(memory[quarter : 2 * quarter]), statistics.median(memory[-quarter:])
    if after > GROWTH * before:
        failures.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
    if files[-1] > files[0]:
        failures.append(f"open files grew from {files[0]} to {files[-1]}")
    result = keep(
        options.record,
        "soak",
        f"python scripts/soak.py --minutes {options.minutes:g} --profile {options.profile}",
        (time.monotonic() - started) / 60,
        profile=options.profile,
        rounds=len(memory),
        frames=len(memory) * sum(FRAMES),
        memory=[round(before), round(after)],
        files=[files[0], files[-1]],
        failures=failures,
    )
    print(json.dumps(result))
    return 1 if failures else 0


def resident() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
