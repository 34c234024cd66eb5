"""``bench.py render``: frames per second of a renderer over a clip streamed in chunks, and the memory it takes.

The clip is made up (noise on hills, a block before them) along an orbit of ten degrees. Only rendering is timed, from
host arrays to host arrays. Peak memory is the whole process's: run with two values of ``--frames`` to see that it does
not grow with the clip.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from benches.measure import Bench, peak_memory, seconds_of, size_argument

from inspatio.cameras import poses as cameras
from inspatio.cameras.cameras import Cameras, target_intrinsics
from inspatio.render import PointRenderer, WarpRenderer, render_scene
from inspatio.scene import Scene

RENDERERS = {"warper": WarpRenderer, "ply": PointRenderer}
CHUNK = 12
YAW_DEG = 10.0


class RepeatedChunk:
    """A clip of any length out of one chunk in memory, so that making the clip is not what is measured."""

    def __init__(self, chunk: np.ndarray, frame_count: int) -> None:
        self._chunk = chunk
        self._frame_count = frame_count

    def __len__(self) -> int:
        return self._frame_count

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self._chunk[np.asarray(indices) % len(self._chunk)]


def made_up_scene(frame_count: int, size: tuple[int, int]) -> Scene:
    """Noise on hills of depth 2 to 4.5, and a block at depth 1.4, under a camera that stands still."""
    height, width = size
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (CHUNK, height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width] / width
    phases = rng.uniform(0, 2 * np.pi, (CHUNK, 1, 1))
    depth = 3.25 + np.sin(16 * x + phases) + 0.25 * np.cos(28 * y)
    depth[:, height // 3 : 2 * height // 3, width // 3 : width // 2] = 1.4
    intrinsics = cameras.centred_intrinsics(np.diag([0.84 * width, 0.84 * width, 1.0]), size)
    return Scene(
        clip_id="made up",
        frames=RepeatedChunk(frames, frame_count),
        depth=RepeatedChunk(depth.astype(np.float32), frame_count),
        intrinsics=np.tile(intrinsics, (frame_count, 1, 1)),
        world_to_camera=np.tile(np.eye(4), (frame_count, 1, 1)),
        size=size,
        frame_rate=Fraction(24),
        scale="relative",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=int, default=200, help="length of the clip [200]")
    parser.add_argument("--size", type=size_argument, default=(480, 832), metavar="WxH", help="frame size [832x480]")
    parser.add_argument("--backend", choices=list(RENDERERS), default="warper", help="renderer [warper]")
    parser.add_argument("--device", default="cpu", help="where to render: cpu, cuda, cuda:1 [cpu]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    scene = made_up_scene(options.frames, options.size)
    renderer = RENDERERS[options.backend](device)
    yaw = np.linspace(0, YAW_DEG, options.frames)
    world_to_camera = cameras.invert(cameras.orbit(0.0, yaw, scene.foreground_depth()))
    targets = Cameras.from_poses(world_to_camera, target_intrinsics(scene.intrinsics[0], scene.size))
    chunks = [(start, targets[start : start + CHUNK]) for start in range(0, options.frames, CHUNK)]

    warm_up = seconds_of(lambda: render_scene(renderer, scene, *chunks[0]), device)
    seconds_per_frame = [
        seconds_of(lambda c=chunk: render_scene(renderer, scene, *c), device) / len(chunk[1]) for chunk in chunks
    ]
    return {
        "frames_per_second": round(1 / statistics.median(seconds_per_frame), 1),
        "slowest_chunk_frames_per_second": round(1 / max(seconds_per_frame), 1),
        "first_chunk_seconds": round(warm_up, 3),
        **peak_memory(device),
    }


BENCH = Bench(add_arguments, run)
