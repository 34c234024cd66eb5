"""``bench.py geometry``: frames per second and memory of Depth Anything 3 over a clip of any length.

Full-size networks with random weights (nothing to download; the work is the same), frames of noise, everything from
frames to the finished geometry folder in a temporary place. ``--window`` 0 takes as many frames at once as fit. Depth
from random weights means nothing, nor does the fit between windows; only time and memory do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.measure import Bench, fill, peak_memory, seconds_of, size_argument

from inspatio.geometry.depth_anything3.backend import estimate_clip
from inspatio.geometry.depth_anything3.windows import ClipTask, Networks, Notes, Options
from inspatio.models.depth_anything3.checkpoint import MODELS
from inspatio.models.depth_anything3.network import DepthNetwork, NetworkConfig

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class NoiseFrames:
    """A clip of any length out of a few frames in memory."""

    def __init__(self, frame_count: int, size: tuple[int, int]) -> None:
        self._frame_count = frame_count
        self._frames = np.random.default_rng(0).integers(0, 256, (8, *size, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return self._frame_count

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self._frames[np.asarray(indices) % len(self._frames)]


def random_network(config: NetworkConfig, device: torch.device, dtype: torch.dtype) -> DepthNetwork:
    """A network whose weights keep activations in range, made on the device."""
    with torch.device("meta"):
        network = DepthNetwork(config)
    network.backbone.to(dtype)
    fill(network, device)
    for name, parameter in network.named_parameters():
        if name.endswith(".gamma"):
            parameter.fill_(0.1)
    if network.camera is not None:
        network.camera.quaternion.bias[3] = 1
        network.camera.field_of_view.bias.fill_(1.0)
        network.camera.quaternion.weight.mul_(0.01)
        network.camera.field_of_view.weight.mul_(0.01)
    return network.eval()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=list(MODELS), default="da3nested-giant-large", help="whose sizes")
    parser.add_argument("--frames", type=int, nargs="+", default=[49, 247, 1000], help="clip lengths [49 247 1000]")
    parser.add_argument("--size", type=size_argument, default=(480, 832), metavar="WxH", help="frame size [832x480]")
    parser.add_argument("--window", type=int, default=0, help="frames to a window; 0: as many as fit [0]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    parser.add_argument("--dtype", choices=list(DTYPES), help="precision [bfloat16 on a GPU, float32 on a CPU]")
    parser.add_argument("--memory", type=float, help="GiB of the GPU that may be used; the rest is closed off")


def run(options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    dtype = DTYPES[options.dtype or ("bfloat16" if device.type == "cuda" else "float32")]
    if options.memory and device.type == "cuda":
        share = options.memory * 2**30 / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(share, device)
    loaded = [random_network(config, device, dtype) for config in MODELS[options.model].networks]
    networks = Networks(
        next((network for network in loaded if network.config.kind == "any-view"), None),
        next((network for network in loaded if network.config.kind != "any-view"), None),
    )
    settings = Options(window=options.window or None)
    estimate(networks, 8, options.size, settings, device)
    return {f"{count}_frames": measure(networks, count, options.size, settings, device) for count in options.frames}


def measure(
    networks: Networks, count: int, size: tuple[int, int], settings: Options, device: torch.device
) -> dict[str, Any]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found: list[Notes] = []
    cpu = time.process_time()
    seconds = seconds_of(lambda: found.append(estimate(networks, count, size, settings, device)), device)
    return {
        "frames_per_second": round(count / seconds, 2),
        "cpu_seconds_per_frame": round((time.process_time() - cpu) / count, 2),
        "windows": found[0].settings.get("windows", []),
        **peak_memory(device),
    }


def estimate(networks: Networks, count: int, size: tuple[int, int], settings: Options, device: torch.device) -> Notes:
    notes = Notes()
    task = ClipTask(networks, count, size, settings, device)
    with tempfile.TemporaryDirectory() as folder:
        estimate_clip(task, NoiseFrames(count, size), Path(folder), notes, lambda done, total: None)
    return notes


BENCH = Bench(add_arguments, run)
