"""``bench.py drift``: what hundreds of live blocks do to colours, sharpness and memory.

    python scripts/bench.py drift --config_path configs/inference_1.3b.yaml --device cuda
    python scripts/bench.py drift --random_weights --model tiny --use_tae --size 112x64      # no model: tries it

One session is stepped as the live world does, its source time committed block by block. Camera and source time swing to
and fro with a period of ten blocks, so that every period asks for the same frames as the first one; what differs is
drift:

    colour_drift    how far the mean colour has moved, in levels of 255 (RGB, Euclidean)
    sharpness       the variance of the Laplacian over that of the first period: below 1 is blur, above 1 is noise
    memory          tensors that are held, and the memory of the process, after the second period and at the end

Both are given for every tenth of the session and for its last period. At the end a new session is started at the
source, as the page's key X does; its first period must be as the first one was.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benches import generate
from benches.measure import Bench
from numpy.typing import NDArray

from inspatio.cameras import poses
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.timeline import Timeline, bounced
from inspatio.generation.base import Generator, Session
from inspatio.geometry.imported import FilesGeometry
from inspatio.geometry.scene import open_scene
from inspatio.live.generation import start_live
from inspatio.media import probe
from inspatio.scene import Scene

PERIOD = 10
"""Blocks after which camera and source time are where they were."""
SWING_DEG = 8.0
TENTHS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    generate.add_network_arguments(parser)
    parser.add_argument("--clip", type=Path, default=Path("examples/living_room.mp4"), help="with geometry [example]")
    parser.add_argument("--blocks", type=int, default=300, help="length of the session [300]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    generator, _ = generate.from_options(options)
    video = probe(options.clip)
    with tempfile.TemporaryDirectory() as work:
        FilesGeometry().estimate(video, Path(work), lambda done, total: None)
        with open_scene(video, Path(work), generator.options.size) as scene:
            return measure(generator, scene, options.blocks)


def measure(generator: Generator, scene: Scene, blocks: int) -> dict[str, Any]:
    """Colour, sharpness and memory over a session of so many blocks, and the first period of a new one."""
    periods = blocks // PERIOD
    assert periods >= 2, f"{blocks} blocks, expected at least {2 * PERIOD}"
    session, timeline = start_live(generator, scene)
    looks, early = [], {}
    for period in range(periods):
        looks.append(_look_of_period(session, timeline, scene, period))
        if period == 1:
            early = memory()
    late = memory()
    first = looks[0]
    del session
    again = _look_of_period(*start_live(generator, scene), scene, 0)
    tenths = np.unique(np.linspace(0, periods - 1, TENTHS).round().astype(int))
    return {
        "blocks": periods * PERIOD,
        "colour_drift": round(_colour_drift(first, looks[-1]), 3),
        "sharpness": round(looks[-1][1] / first[1], 4),
        "colour_drift_by_tenths": [round(_colour_drift(first, looks[i]), 3) for i in tenths],
        "sharpness_by_tenths": [round(looks[i][1] / first[1], 4) for i in tenths],
        "colour_drift_after_anchoring": round(_colour_drift(first, again), 3),
        "sharpness_after_anchoring": round(again[1] / first[1], 4),
        "memory_mib_early": early,
        "memory_mib_late": late,
    }


Look = tuple[NDArray[np.float64], float]
"""The mean colour (``3``) and the sharpness of a period's frames."""


def _look_of_period(session: Session, timeline: Timeline, scene: Scene, period: int) -> Look:
    """Step a session through one period; a first block may be shorter than the others."""
    colours, sharpness = [], []
    for block in range(PERIOD):
        count = session.block_frames
        phases = 2 * np.pi * (block + np.arange(count) / count) / PERIOD
        swing = poses.orbit(0.0, SWING_DEG * np.sin(phases), scene.foreground_depth())
        reach = min(len(scene.frames) - 1, 5 * count)
        sources = [bounced(round(2 * reach * phase / (2 * np.pi)), reach + 1) for phase in phases]
        at_source = poses.invert(scene.world_to_camera[sources])
        timeline.append(sources)
        made = session.step(Cameras.from_poses(poses.invert(at_source @ swing), scene.lens))
        for frame in made.frames.cpu().numpy():
            colours.append(frame.reshape(-1, 3).mean(axis=0))
            sharpness.append(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
    return np.mean(colours, axis=0), float(np.mean(sharpness))


def _colour_drift(first: Look, later: Look) -> float:
    return float(np.linalg.norm(later[0] - first[0]))


def memory() -> dict[str, float]:
    """MiB of all tensors that there are, and of the process (Linux)."""
    gc.collect()
    tensors = sum(each.nbytes for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter))
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return {
        "tensors": round(tensors / 2**20, 2),
        "process": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
    }


BENCH = Bench(add_arguments, run)
