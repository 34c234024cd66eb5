"""Tiny training runs: networks in the published layout, shards of random latents, configs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support.networks import TINY, make_dit, seeded

from inspatio.models.worldfm.dit import WorldFM, WorldFMConfig
from inspatio.settings import fill
from inspatio.training.config import TrainConfig
from inspatio.training.loop import Trainer
from inspatio.training.parallel import Processes
from inspatio.training.setup import make_stage
from inspatio.training.shards import Shards, ShardWriter

LATENTS, SIZE = 6, (4, 6)
SAMPLES = 6
CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def write_network(folder: Path, *, base: bool = False, seed: int = 0) -> Path:
    """A tiny transformer as published; ``base``: Wan's, whose patches know no condition."""
    folder.mkdir(parents=True)
    state = seeded(make_dit(), seed).state_dict()
    if base:
        state["patch_embedding.weight"] = state["patch_embedding.weight"][:, :16].contiguous()
    path = folder / "model.safetensors"
    save_file(state, path)
    (folder / "config.json").write_text(json.dumps(asdict(TINY)))
    return path


def write_frame_network(folder: Path) -> Path:
    folder.mkdir(parents=True)
    config = WorldFMConfig(hidden_size=32, depth=2, num_heads=2, camera_encoding="prope")
    path = folder / "model.safetensors"
    save_file(seeded(WorldFM(config)).state_dict(), path)
    (folder / "config.json").write_text(json.dumps(asdict(config)))
    return path


def write_shards(folder: Path, kind: str = "clips", samples: int = SAMPLES) -> Path:
    """Latents in which the target follows from the source, so that there is something to learn."""
    with ShardWriter(folder, {"kind": kind}) as writer:
        for prompt in range(2):
            writer.add_prompt(random(5, TINY.text_dim, seed=prompt))
        for number in range(samples):
            if kind == "clips":
                source = random(LATENTS, 16, *SIZE, seed=number)
                mask = random(LATENTS, 4, *SIZE, seed=100 + number).sign()
                tensors = {"source": source, "target": source.flip(-1), "render": 0.5 * source.flip(-1), "mask": mask}
            else:
                source = random(3, 4, *SIZE, seed=number)
                poses = torch.eye(4).repeat(2, 3, 1, 1)
                poses[1, :, 0, 3] = 0.1 * number
                lens = torch.tensor([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]])
                tensors = {"source": source, "target": source.flip(-1), "render": source.flip(-1), "cameras": poses}
                tensors["intrinsics"] = lens
            writer.add(f"clip{number}", tensors, prompt=1)
    return folder


def write_completed_views(folder: Path, samples: int = 4) -> Path:
    """Views whose right part is to be made up; what patches make of it is darker than the truth by a fixed amount."""
    height, width = 48, 72
    with ShardWriter(folder, {"kind": "completions"}) as writer:
        writer.add_prompt(torch.zeros(1, 1))
        for number in range(samples):
            truth = (130 + 30 * random(height, width, 3, seed=number)).clamp(60, 255).to(torch.uint8)
            state = torch.ones(height, width, dtype=torch.uint8)
            state[:, width // 2 :] = 2
            tensors = {"image": truth.clone(), "patched": truth - 50, "truth": truth, "state": state}
            tensors |= {"guide": 100 * torch.ones_like(state), "measured": (state == 2).to(torch.uint8)}
            writer.add(f"view{number}", tensors)
    return folder


def write_run(folder: Path) -> None:
    """Everything that any stage reads."""
    write_network(folder / "world")
    write_network(folder / "teacher", seed=1)
    write_network(folder / "base", base=True, seed=2)
    write_frame_network(folder / "frame")
    write_shards(folder / "data")
    write_shards(folder / "frames", "frames")
    write_completed_views(folder / "views")


def make_config(folder: Path, stage: str, **changes: Any) -> TrainConfig:
    """A config of a stage on what :func:`write_run` wrote; ``changes`` are blocks or values."""
    of_frames = stage.startswith("worldfm")
    data = "views" if stage == "completion" else "frames" if of_frames else "data"
    network = folder / ("frame" if of_frames else "world") / "model.safetensors"
    values: dict[str, Any] = {
        "stage": stage,
        "steps": 4,
        "batch_size": 2,
        "data": {"folder": str(folder / data), "held_out": 1},
        "network": {
            "initial": "" if stage == "completion" else str(network),
            "teacher": str(network if of_frames else folder / "teacher/model.safetensors"),
            "perceptual_teacher": str(folder / "base/model.safetensors"),
            "wan_path": str(folder),
        },
        "optimizer": {"learning_rate": 1e-3, "fake_learning_rate": 1e-3, "average": 0.9, "average_from": 2},
        "loss": {"fake_updates": 2, "teacher_steps": 3, "steps": [999, 200] if of_frames else [1000, 500]},
        "record": {"save_every": 1000, "evaluate_every": 1000, "log_every": 1},
    }
    for key, change in changes.items():
        values[key] = {**values.get(key, {}), **change} if isinstance(change, dict) else change
    return fill(TrainConfig, values)


def make_trainer(config: TrainConfig, run: Path, processes: Processes | None = None) -> Trainer:
    processes = processes or Processes(config.processes, CPU)
    stage = make_stage(config, processes)
    return Trainer(stage, Shards.open(Path(config.data.folder), stage.kind), run)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Every trained tensor of a run."""
    return {
        f"{role.name}.{name}": value.clone()
        for role in trainer.stage.roles.values()
        for name, value in role.state().items()
    }
