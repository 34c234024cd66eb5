"""Training data for the learned completion: views that a preview session would complete, and what is truly there.

    for view in make_completions(seed, (240, 416), renderer): ...

A room of the training family is filmed at the moments that a session's memory starts from, and paths are drawn as the
suite draws its own. Along each, a view is completed where the memory misses more than the preview bears
(``generation/preview``), as a session does at the ends of its blocks; the truth is ray-cast without what moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.suite import KEEP_FRAMES, PATHS, ROOMS, SOURCES, PathKind, SceneKind, SourceKind
from inspatio.evaluation.synthetic_room import textures
from inspatio.evaluation.synthetic_room.random_room import TRAINING_SEEDS
from inspatio.generation.preview.fill import open_view
from inspatio.generation.preview.inpaint import WANTED, Completion, complete_picture
from inspatio.generation.preview.memory import Camera, Keyframe, SceneMemory, init_memory, lift
from inspatio.generation.preview.session import PreviewOptions
from inspatio.scene import target_cameras
from inspatio.training.data.rooms import SOURCE_KINDS, estimated
from inspatio.training.data.views import scene_in_memory
from inspatio.training.shards import ShardWriter
from inspatio.types import Image, Progress

PATHS_PER_ROOM = 3
BLOCK_ENDS = (1, 3, 5, 7)
"""Places of the eight remembered moments at which a session's blocks of 9, 12, 12 and 12 of 45 frames nearly end."""
SCENE_KINDS: tuple[SceneKind, ...] = ("hall", "table", "room", "room", "room", "room", "room", "room")
OTHER_SCENES: dict[SceneKind, SourceKind] = {"hall": "walk_forward", "table": "around"}
"""Scenes besides rooms, with the suite's way of filming them; an eighth of the seeds each."""


@dataclass(frozen=True, eq=False)
class CompletedView:
    """A completed view: what the completion found, and what is truly there."""

    name: str
    completion: Completion
    truth: Image
    measured: np.ndarray
    """``h w`` bool: wanted pixels whose truth is known; what is made up behind near things is hidden in it."""


def make_completions(seed: int, size: tuple[int, int]) -> Iterator[CompletedView]:
    """The views that sessions along some paths through a training room complete; ``size`` is (height, width)."""
    if seed not in TRAINING_SEEDS:
        raise ValueError(f"seed of a training room: got {seed}, expected one of {TRAINING_SEEDS}")
    rng = np.random.default_rng([seed, *b"completions"])
    scene_kind = SCENE_KINDS[rng.integers(len(SCENE_KINDS))]
    room = ROOMS[scene_kind](seed, textures.TRAINING)
    still = replace(room, mover=None)
    source_kind = OTHER_SCENES.get(scene_kind, SOURCE_KINDS[rng.integers(len(SOURCE_KINDS))])
    height, width = size
    focal = width * rng.uniform(0.7, 1.05)
    lens = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    options = PreviewOptions()
    times = np.linspace(0, 1, options.observed)
    poses = SOURCES[source_kind](times, rng)
    views = list(zip(times, poses, strict=True))
    frames = np.stack([room.view(time, pose, lens, size) for time, pose in views])
    depth = np.stack([room.depth(time, pose, lens, size) for time, pose in views])
    if rng.uniform() < 0.5:
        depth = estimated(depth, rng)
    cameras = Cameras(np.tile(lens, (len(times), 1, 1)), poses)
    scene = scene_in_memory(f"room_{seed:06d}", frames, depth, cameras, "metres")
    observed = init_memory(scene, options.observed, threads=1)
    paths: list[PathKind] = sorted(PATHS)
    for number, kind in enumerate(rng.choice(paths, PATHS_PER_ROOM, replace=False)):
        targets = target_cameras(scene, PATHS[kind](rng), KEEP_FRAMES)
        memory = SceneMemory(options.observed + options.completed)
        for keyframe in observed:
            memory.add(keyframe, pinned=True)
        for place in BLOCK_ENDS:
            camera = Camera(targets.intrinsics[place], targets.world_to_camera[place], size)
            if _gap(memory, camera) <= options.gap:
                continue
            view = open_view(memory, camera, threads=1)
            completion = complete_picture(view.image, view.inverse_depth, view.state, threads=1)
            wide = view.camera
            truth = still.view(times[place], wide.world_to_camera, wide.intrinsics, wide.size)
            measured = (view.state == WANTED) & ~view.hidden
            yield CompletedView(f"{scene.clip_id}_{number}{place}", completion, truth, measured)
            made_up = lift(wide, view.depth, (view.state == WANTED).astype(np.uint8))
            memory.add(Keyframe(completion.softened(), wide, made_up))


def _gap(memory: SceneMemory, camera: Camera) -> float:
    """The share of a view that the memory does not know, without cracks."""
    view = memory.render_view(camera, np.ones(camera.size, np.uint8))
    known = cv2.morphologyEx((view.depth > 0).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return float((known == 0).mean())


def write_completions(
    seeds: Sequence[int], size: tuple[int, int], folder: Path, progress: Progress = lambda done, total: None
) -> int:
    """Write the completed views of training rooms as shards; returns how many there are.

    A sample holds uint8 ``image``, ``patched``, ``truth`` (``h w 3``), ``state``, ``guide`` and ``measured`` (``h w``).
    """
    count = 0
    with ShardWriter(folder, {"kind": "completions", "size": list(size)}) as writer:
        writer.add_prompt(torch.zeros(1, 1))  # these samples have no text
        for done, seed in enumerate(seeds, start=1):
            for view in make_completions(seed, size):
                writer.add(view.name, stored(view))
                count += 1
            progress(done, len(seeds))
    return count


def stored(view: CompletedView) -> dict[str, torch.Tensor]:
    """The tensors of a view as they are stored; see :func:`write_completions`."""
    completion = view.completion
    arrays = {
        "image": completion.image,
        "patched": np.clip(completion.patched, 0, 255),
        "guide": completion.guide + 0.5,
        "state": completion.state,
        "truth": view.truth,
        "measured": view.measured,
    }
    return {name: torch.from_numpy(np.ascontiguousarray(each, np.uint8)) for name, each in arrays.items()}
