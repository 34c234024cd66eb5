"""``bench.py breakdown``: where the time of steady blocks goes, by class of kernel (torch.profiler).

    python scripts/bench.py breakdown --use_tae [--compile_dit] [--cuda_graphs] --device cuda

A session runs for three blocks, then two more are recorded with everything overlapped as in production. Times are the
kernels' own; they may run at the same time, so that classes can add up to more than the wall time. On a CPU the classes
are those of PyTorch's operations.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from typing import Any

from benches import generate
from benches.measure import Bench, gpu_state
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

CLASSES = {
    "attention": r"flash|fmha|attention|sdpa|_attend",
    "convolution": r"conv|fprop|implicit",
    "product": r"gemm|nvjet|cutlass|cublas|addmm|::mm|::bmm|scaled_mm|linear",
    "transfer": r"memcpy|memset",
    "compiled": r"triton",
    "norm": r"norm",
    "copy": r"copy|cat|_to_copy|clone",
}
"""Names of kernels and operations; what fits none is "other"."""
WARM_UP, RECORDED, LONGEST_NAME = 3, 2, 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    generate.add_network_arguments(parser)
    parser.add_argument("--top", type=int, default=25, help="kernels to list [25]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    generator, device = generate.from_options(options)
    scene, targets = generate.clip(generator, WARM_UP + RECORDED + 1)
    session = generator.start(scene, seed=0)
    done = 0

    def step() -> None:
        nonlocal done
        done += len(session.step(targets[done : done + session.block_frames]).frames)

    for _ in range(WARM_UP):
        step()
    generate.synchronise(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    start = time.perf_counter()
    with profile(activities=activities) as profiler:
        for _ in range(RECORDED):
            step()
        generate.synchronise(device)
    seconds = time.perf_counter() - start
    on_device = device.type == "cuda"
    spent: Counter[str] = Counter()
    launched: Counter[str] = Counter()
    by_name: Counter[str] = Counter()
    for event in profiler.key_averages():
        if on_device and event.device_type != DeviceType.CUDA:
            continue
        micros = event.self_device_time_total if on_device else event.self_cpu_time_total
        kind = class_of(event.key)
        spent[kind] += micros
        launched[kind] += event.count
        by_name[event.key] += micros
    milliseconds = {kind: round(micros / 1000 / RECORDED, 3) for kind, micros in spent.most_common()}
    for kind, value in milliseconds.items():
        print(f"{kind:>12} {value:10.2f} ms a block {launched[kind] // RECORDED:7d} launched", flush=True)
    return {
        "wall_ms_per_block": round(1000 * seconds / RECORDED, 3),
        "ms_per_block": milliseconds,
        "launched_per_block": {kind: count // RECORDED for kind, count in launched.items()},
        "top": [
            {"name": name[:LONGEST_NAME], "ms_per_block": round(micros / 1000 / RECORDED, 3)}
            for name, micros in by_name.most_common(options.top)
        ],
        "gpu": gpu_state(device),
    }


def class_of(name: str) -> str:
    """The class of a kernel or operation by its name."""
    return next((kind for kind, words in CLASSES.items() if re.search(words, name, re.IGNORECASE)), "other")


BENCH = Bench(add_arguments, run)
