"""``bench.py preview``: frames per second of the generator without a network, and the memory it takes.

The scene is the example, or any clip with its geometry beside it, played to and fro up to ``--frames``. Everything that
a session does is timed: reading frames and depth, rendering, filling. Peak memory is the whole process's: run with two
values of ``--frames`` to see that it does not grow with the clip.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from benches.measure import Bench, peak_memory, seconds_of

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.controls import bounce
from inspatio.cameras.formats import load_trajectory
from inspatio.clip_options import Controls
from inspatio.generation.preview.session import PreviewGenerator, PreviewSession
from inspatio.geometry.imported import FilesGeometry
from inspatio.geometry.scene import open_scene
from inspatio.media import probe
from inspatio.scene import Scene, target_cameras

SIZE = (480, 832)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clip", type=Path, default=Path("examples/living_room.mp4"), help="clip with geometry [example]"
    )
    parser.add_argument("--traj", type=Path, default=Path("traj/x_y_circle_cycle.txt"), help="trajectory [circle]")
    parser.add_argument("--frames", type=int, default=121, help="length of the clip [121]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    video = probe(options.clip)
    with tempfile.TemporaryDirectory() as work:
        FilesGeometry().estimate(video, Path(work), lambda done, total: None)
        with open_scene(video, Path(work), SIZE) as clip:
            scene = clip.select(bounce(video.frame_count, options.frames))
            cameras = target_cameras(scene, load_trajectory(options.traj), Controls())
            _drive(PreviewGenerator().start(scene.select(range(9)), seed=0), cameras[:9])  # compiles
            return _measure(scene, cameras)


def _measure(scene: Scene, cameras: Cameras) -> dict[str, Any]:
    cpu = torch.device("cpu")
    sessions: list[PreviewSession] = []
    start = seconds_of(lambda: sessions.append(PreviewGenerator().start(scene, seed=0)), cpu)
    blocks = _drive(sessions[0], cameras)
    return {
        "frames_per_second": round(len(scene) / (start + sum(seconds for seconds, _ in blocks)), 2),
        "median_block_frames_per_second": round(1 / statistics.median(seconds / n for seconds, n in blocks), 2),
        "slowest_block_frames_per_second": round(1 / max(seconds / n for seconds, n in blocks), 2),
        "start_seconds": round(start, 2),
        "views_remembered": len(sessions[0].memory.keyframes),
        **peak_memory(cpu),
    }


def _drive(session: PreviewSession, cameras: Cameras) -> list[tuple[float, int]]:
    """(seconds, frames) of every block."""
    blocks, done = [], 0
    while done < len(cameras):
        block = cameras[done : done + session.block_frames]
        blocks.append((seconds_of(lambda block=block: session.step(block), torch.device("cpu")), len(block)))
        done += len(block)
    return blocks


BENCH = Bench(add_arguments, run)
