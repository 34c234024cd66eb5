"""Frames of one clip shared out over processes: what one process makes to the byte, and none waits for a failed one."""

from __future__ import annotations

from multiprocessing import set_forkserver_preload
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from support.networks import make_worldfm
from support.scenes import noise_scene, sideways, targets
from torch.multiprocessing.spawn import start_processes

from inspatio.cameras.cameras import Cameras
from inspatio.errors import ClipError
from inspatio.generation.base import FrameBlock, drive
from inspatio.generation.worldfm.session import WorldFMSession
from inspatio.generation.worldfm.sharing import share_frames
from inspatio.models.wan.parallel import clip_process_group

SIZE = (32, 48)
FRAMES, PROCESSES = 8, 3
"""Of the last block some processes have no frame."""


def frames_depth_and_coverage(at_once: int, group: dist.ProcessGroup | None = None) -> dict[str, np.ndarray]:
    scene = noise_scene(FRAMES, size=SIZE)
    session = make_worldfm(SIZE, group=group, frames_at_once=at_once, noise="fresh").start(scene, seed=3)
    blocks = list(drive(session, targets(scene, sideways(FRAMES))))
    made = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in ("depth", "coverage")}
    return made | {"frames": torch.cat([block.frames for block in blocks]).numpy()}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    group = clip_process_group(PROCESSES)
    for at_once in (1, 2):
        for name, values in frames_depth_and_coverage(at_once, group).items():
            np.save(f"{folder}/{name}_{at_once}_{rank}.npy", values)

    def make(start: int, cameras: Cameras) -> FrameBlock:
        if rank == 1:
            raise ClipError("frame 1 has NaN")
        return session._make(start, cameras)

    scene = noise_scene(FRAMES, size=SIZE)
    session = make_worldfm(SIZE).start(scene, seed=3)
    assert isinstance(session, WorldFMSession)
    try:
        share_frames(make, 0, targets(scene, sideways(FRAMES))[:PROCESSES], 1, group)
    except ClipError as error:
        Path(folder, f"failed_{rank}").write_text(str(error))
    dist.destroy_process_group()


def test_processes_give_what_one_gives_and_fail_together(tmp_path: Path) -> None:
    set_forkserver_preload(["inspatio.generation.worldfm.session", "torch._dynamo", "pytest"])
    start_processes(work, args=(str(tmp_path),), nprocs=PROCESSES, start_method="forkserver")
    for at_once in (1, 2):
        for name, expected in frames_depth_and_coverage(at_once).items():
            for rank in range(PROCESSES):
                assert np.array_equal(np.load(tmp_path / f"{name}_{at_once}_{rank}.npy"), expected)
    assert [(tmp_path / f"failed_{rank}").read_text() for rank in range(PROCESSES)] == ["frame 1 has NaN"] * PROCESSES
