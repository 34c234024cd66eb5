"""What the benches share: timing, peak memory, and the closing line.

A bench is a module of this package with a ``BENCH``. Timings are medians: the mean would be moved by whatever else the
machine does for a moment, and the minimum is what nobody gets.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("inspatio", "torch", "triton", "numpy", "numba", "transformers", "av")


@dataclass(frozen=True)
class Bench:
    """A subcommand: its options, and what it measures with them (JSON values by name, the unit in the name)."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Mapping[str, Any]]


def size_argument(text: str) -> tuple[int, int]:
    """``832x480`` as (height, width)."""
    try:
        width, height = (int(side) for side in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 832x480, got {text!r}") from None
    return height, width


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """How long ``work`` takes, until the device is done with it."""
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def median_seconds(
    work: Callable[[], object], *, repeats: int, warm_up: int = 1, device: torch.device | None = None
) -> float:
    """The median of ``repeats`` timings of ``work``, after ``warm_up`` calls that do not count."""
    device = device or torch.device("cpu")
    for _ in range(warm_up):
        work()
    return statistics.median(seconds_of(work, device) for _ in range(repeats))


def cpu_seconds(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU time of each of several works, taken in turns after one warm-up: what a shared machine can tell."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(device: torch.device) -> dict[str, float]:
    """Largest resident memory of this process so far; on a GPU the largest allocation there, the largest part of its
    memory that PyTorch held, and what all of its processes use now; in GiB."""
    # The unit is KiB on Linux, bytes on macOS.
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = {"peak_resident_gib": round(resident / 2**30, 3)}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peak["peak_gpu_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
        peak["peak_gpu_reserved_gib"] = round(torch.cuda.max_memory_reserved(device) / 2**30, 3)
        peak["gpu_in_use_gib"] = round((total - free) / 2**30, 3)
    return peak


def gpu_state(device: torch.device) -> dict[str, str]:
    """What nvidia-smi says of a GPU now: clocks, power and temperature; empty without one."""
    if device.type != "cuda" or shutil.which("nvidia-smi") is None:
        return {}
    fields = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        return {"nvidia-smi": done.stderr.strip() or done.stdout.strip()}
    return dict(zip(fields, (value.strip() for value in done.stdout.split(",")), strict=True))


def report(options: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The closing line: JSON of options, results, hardware, versions and date."""
    return json.dumps(
        {
            **{name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
            "results": dict(results),
            "hardware": hardware(),
            "versions": {"python": platform.python_version(), **_library_versions()},
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def hardware() -> dict[str, Any]:
    """Processor, cores and threads, and the GPUs by name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor_name(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
    }


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _library_versions() -> dict[str, str]:
    installed = {distribution.name.lower(): distribution.version for distribution in importlib.metadata.distributions()}
    return {name: installed[name] for name in LIBRARIES if name in installed}


def fill(module: torch.nn.Module, device: torch.device) -> None:
    """Give a module storage on a device: gains of 1, biases of 0, and random matrices that keep the variance."""
    module.to_empty(device=device).requires_grad_(False)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.squeeze().ndim <= 1:
            value.fill_(1.0 if name.endswith(("weight", "gamma")) else 0.0)
        else:
            value.normal_(std=value[0].numel() ** -0.5)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
