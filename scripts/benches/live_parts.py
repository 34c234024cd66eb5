"""The parts of ``bench.py live`` that need no server: what a generated frame costs, and what the warp is worth.

All in this process, on one thread, on the example along ``orbit_left`` (or another clip that has geometry beside it).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benches import render
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.poses import invert
from inspatio.clip_options import Controls
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.geometry.imported import FilesGeometry
from inspatio.geometry.scene import open_scene
from inspatio.live.compose import Composer, GeneratedFrame, fill_smoothly
from inspatio.live.encode import H264Encoder, encode_jpeg
from inspatio.live.sources import DEPTH_BYTES, FRAME_BYTES, CachedSource
from inspatio.media import probe
from inspatio.render import WarpRenderer
from inspatio.scene import Scene, adapt
from inspatio.types import Image

SIZE = (480, 832)
TRAJECTORY = Path("traj/orbit_left.txt")
FRAMES, STRIDE, LAG = 48, 6, 12
"""How many frames are generated, every how many-th of them is warped, and how many frames ahead."""


def measure(clip: Path) -> dict[str, Any]:
    video = probe(clip)
    with tempfile.TemporaryDirectory() as work:
        FilesGeometry().estimate(video, Path(work), lambda done, total: None)
        with open_scene(video, Path(work), SIZE) as scene:
            adapted, cameras = adapt(scene, load_trajectory(TRAJECTORY), Controls())
            return {**_render_bench(), **_cost_and_warp(adapted, cameras), **_cost_of_codecs(adapted)}


def _render_bench() -> dict[str, float]:
    options = argparse.Namespace(frames=48, size=SIZE, backend="warper", device="cpu")
    return {"render_bench_frames_per_second": render.run(options)["frames_per_second"]}


def _cost_of_codecs(scene: Scene) -> dict[str, float]:
    """What a picture of the clip costs as JPEG and as H.264: CPU time on one thread, and size."""
    pictures = scene.read_frames(range(FRAMES))
    encoder = H264Encoder(SIZE)
    coded: dict[str, Callable[[Image], bytes]] = {
        "jpeg": encode_jpeg,
        "h264": lambda picture: encoder.encode(picture, key=False)[0],
    }
    found = {}
    for name, encode in coded.items():
        began = time.thread_time()
        sizes = [len(encode(picture)) for picture in pictures]
        found[f"{name}_cpu_ms"] = round(1000 * (time.thread_time() - began) / len(pictures), 2)
        found[f"{name}_kb"] = round(statistics.mean(sizes) / 1000, 1)
    return found


def _cost_and_warp(scene: Scene, cameras: Cameras) -> dict[str, Any]:
    frames, depth = CachedSource(scene.frames, FRAME_BYTES), CachedSource(scene.depth, DEPTH_BYTES)
    renderer = WarpRenderer(threads=1)
    composer = Composer(scene, frames, depth, renderer, cameras.intrinsics[0], source_first=True)
    session = PreviewGenerator(SIZE, renderer, threads=1, live=True).start(scene, seed=0)
    sources = scene.source_frames(range(FRAMES))
    kept: list[GeneratedFrame] = []
    costs, splats = [], []
    while len(kept) < FRAMES:
        start, count = len(kept), session.block_frames
        places, targets = range(start, start + count), cameras[start : start + count]
        pictures, maps, source = scene.read_frames(places), scene.read_depth(places), scene.cameras(places)
        began = time.thread_time()
        renderer.render(pictures, maps, source, targets, with_depth=True)
        middle = time.thread_time()
        block = session.step(targets)
        costs.append((time.thread_time() - middle) / count)
        splats.append((middle - began) / count)
        for i, image in enumerate(block.frames.numpy()):
            known = composer.warpable(image, None if block.depth is None else block.depth[i], None)
            kept.append(GeneratedFrame(start + i, 0, 0.0, 0.0, image, known, targets[i : i + 1], sources[start + i]))
    gains = np.array([_warped(composer, renderer, kept[i], kept[i + LAG]) for i in range(0, FRAMES - LAG, STRIDE)])
    stale, warped, shown = (round(float(value), 2) for value in gains.mean(axis=0))
    return {
        "splat_cpu_ms": round(1000 * statistics.median(splats[2:]), 1),
        "preview_frame_cpu_ms": round(1000 * statistics.median(costs[2:]), 1),
        "preview_frame_in_splats": round(statistics.median(costs[2:]) / statistics.median(splats[2:]), 2),
        "stale_db": stale,
        "warp_db": warped,
        "warp_gain_db": round(warped - stale, 2),
        "shown_db": shown,
    }


def _warped(composer: Composer, renderer: WarpRenderer, old: GeneratedFrame, new: GeneratedFrame) -> list[float]:
    """PSNR against the new frame of: the old one as it is, warped to the new camera, and what the page would show."""
    warp = renderer.render(old.image[None], old.depth[None], old.camera, new.camera)
    image = warp.frames[0].copy()
    fill_smoothly(image, warp.masks[0])
    pose = invert(new.camera.world_to_camera)[0]
    shown = composer.compose(new.source_frame, pose, old, "result").image
    return [_psnr(each, new.image) for each in (old.image, image, shown)]


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(np.float32) - b) ** 2), 1e-9)))
