"""Several processes give what one gives: four on the CPU with gloo, as one group and as two groups of two."""

from __future__ import annotations

from multiprocessing import set_forkserver_preload
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from support.networks import embed, make_dit, make_generator
from support.scenes import noise_scene, sideways, targets
from torch.multiprocessing.spawn import start_processes

from inspatio.errors import UsageError
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.offload import offload_blocks
from inspatio.models.wan.parallel import clip_process_group, parallelize, processes_per_clip

PROCESSES = 4
SIZES = (4, 2)
LATENTS = (4, 6)
"""Six tokens a latent frame, so eighteen a block: not a multiple of four."""


def latents(dit: CausalDiT) -> torch.Tensor:
    """Two blocks: the second one has the first as context."""
    random = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        schedule = Schedule.make(dit, (1000, 500), 5.0)
        text = dit.encode_text(embed("a room"))
        loop = BlockLoop(dit, schedule, text)
        source, condition = (
            torch.randn(6, 16, *LATENTS, generator=random),
            torch.randn(6, 20, *LATENTS, generator=random),
        )
        noise = torch.randn(2, 1, 6, 16, *LATENTS, generator=random)
        parts = (slice(0, 3), slice(3, 6))
        return torch.cat([loop.step(source[None, part], condition[None, part], noise[:, :, part]) for part in parts])


def frames(dit: CausalDiT) -> np.ndarray:
    scene = noise_scene(9)
    return make_generator(dit=dit).start(scene, seed=1).step(targets(scene, sideways(9))).frames.numpy()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    for size in SIZES:
        group = clip_process_group(size)
        dit = parallelize(make_dit(), group)
        torch.save(latents(dit), f"{folder}/{size}_{rank}.pt")
        if size == 2:
            torch.save(frames(dit), f"{folder}/frames_{rank}.pt")
            dit = parallelize(offload_blocks(make_dit(), torch.device("cpu")), group)
            torch.save(latents(dit), f"{folder}/offloaded_{rank}.pt")
    dist.destroy_process_group()


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    # One process imports the libraries, once, and the others are forked from it.
    set_forkserver_preload(["inspatio.generation.inspatio_world.session", "torch._dynamo", "hypothesis", "pytest"])
    start_processes(work, args=(str(tmp_path),), nprocs=PROCESSES, start_method="forkserver")
    expected, expected_frames = latents(make_dit()), frames(make_dit())
    for size in SIZES:
        for rank in range(PROCESSES):
            got = torch.load(tmp_path / f"{size}_{rank}.pt")
            assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    for rank in range(PROCESSES):
        got_frames = torch.load(tmp_path / f"frames_{rank}.pt", weights_only=False)
        assert np.abs(got_frames.astype(int) - expected_frames).max() <= 1
        got = torch.load(tmp_path / f"offloaded_{rank}.pt")
        assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_heads_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda group: 3)
    monkeypatch.setattr(dist, "get_rank", lambda group: 0)
    with pytest.raises(UsageError, match="3 processes cannot share 4 attention heads"):
        parallelize(make_dit(), Mock(spec=dist.ProcessGroup))


@given(st.integers(1, 64), st.integers(0, 20), st.sampled_from([4, 12, 40]))
def test_processes_per_clip(processes: int, clips: int, heads: int) -> None:
    size = processes_per_clip(processes, clips, heads)
    assert processes % size == 0
    assert heads % size == 0
    assert size == 1 or processes // size >= clips


def test_as_many_processes_as_can_share_the_only_clip() -> None:
    assert processes_per_clip(8, 1, 12) == 4
    assert processes_per_clip(8, 1, 40) == 8
    assert processes_per_clip(8, 3, 40) == 2
    assert processes_per_clip(4, 4, 12) == 1
