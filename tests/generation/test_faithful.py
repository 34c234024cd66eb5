"""Laws of ``--faithful``: what the source shows is kept, and no seam shows where the generated picture begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from support.networks import make_generator
from support.scenes import (
    ROOM_FRAMES,
    frames_of,
    moments,
    noise_scene,
    orbit,
    psnr,
    room,
    room_intrinsics,
    room_scene,
    sideways,
    targets,
    turned,
)

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.timeline import Timeline
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.generation.base import FrameBlock, Session, drive
from inspatio.generation.faithful import FaithfulGenerator, FaithfulSession, keep_covered
from inspatio.render.matting import render_separated
from inspatio.render.views import render_separated_scene
from inspatio.scene import Scene

SHOWN = 4


class Repainted(Session):
    """What a good network gives: the true views, in slightly other colours."""

    def __init__(self, views: np.ndarray) -> None:
        super().__init__()
        self._views = views
        self.prompt = ""

    @property
    def block_frames(self) -> int:
        return 3

    def set_prompt(self, text: str) -> None:
        self.prompt = text

    def _generate(self, cameras: Cameras) -> FrameBlock:
        views = self._views[self._start : self._start + len(cameras)]
        return FrameBlock(self._start, torch.from_numpy(np.clip(0.9 * views + 20, 0, 255).astype(np.uint8)), None, None)


class RepaintingGenerator:
    def __init__(self, views: np.ndarray) -> None:
        self._views = views

    def start(self, scene: Scene, *, seed: int) -> Repainted:
        return Repainted(self._views)


def true_views(path: Cameras) -> np.ndarray:
    size = room().size
    views = zip(moments()[:SHOWN], path.world_to_camera, strict=True)
    return np.stack([truth.true_view(moment, pose, room_intrinsics(), size) for moment, pose in views])


def test_what_is_covered_stays_and_the_rest_meets_it():
    path = targets(room(), orbit(ROOM_FRAMES, degrees=14))[ROOM_FRAMES - SHOWN :]
    scene = room().select(range(SHOWN))
    views = true_views(path)
    inner = RepaintingGenerator(views)
    blocks = list(drive(FaithfulGenerator(inner, threads=1).start(scene, seed=0), path))
    frames = np.concatenate([block.frames.numpy() for block in blocks])

    places = range(SHOWN)
    source = scene.read_frames(places), scene.read_depth(places), scene.cameras(places)
    render, soft = render_separated(*source, path, threads=1)
    covered = render.masks > 0
    kept = covered.copy()
    for i, edges in enumerate(soft):
        kept[i, edges.rows, edges.columns] = False
    assert 0.02 < 1 - covered.mean() < 0.5, "the orbit must uncover something"
    assert np.array_equal(frames[kept], render.frames[kept])
    assert np.array_equal(
        np.concatenate([block.coverage for block in blocks if block.coverage is not None]), render.masks
    )

    repainted = np.clip(0.9 * views + 20, 0, 255).astype(np.uint8)
    holes = ~covered
    assert psnr(frames[holes], views[holes]) > psnr(repainted[holes], views[holes]) + 5, "colours are matched"
    assert seam(frames, covered) < 0.95 * seam(np.where(covered[..., None], render.frames, repainted), covered)
    # The render itself is not exact at the borders: the truth pasted into the holes shows a seam as well.
    assert seam(frames, covered) < seam(np.where(covered[..., None], render.frames, views), covered)


def test_of_several_views_what_any_of_them_shows_is_kept():
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = 0.0, -0.4, 0.4
    lens, size = room_intrinsics(), room().size
    pictures = np.stack([truth.true_view(0, pose, lens, size) for pose in poses])
    depth = np.stack([truth.true_depth(0, pose, lens, size) for pose in poses])
    path = Cameras.from_poses(sideways(3) @ turned(4, 0, (0.1, 0, 0.3)), lens)
    views = np.stack([truth.true_view(0, pose, lens, size) for pose in path.world_to_camera])
    generator = FaithfulGenerator(RepaintingGenerator(views), threads=1)

    def made(count: int) -> tuple[np.ndarray, np.ndarray]:
        scene = room_scene(pictures[:count], depth[:count], poses[:count])
        still = replace(scene, still=True, timeline=Timeline([0], "hold"))
        (block,) = drive(generator.start(still, seed=0), path)
        assert block.coverage is not None
        render, soft, _, _ = render_separated_scene(still, 0, path, 1)
        assert np.array_equal(block.coverage, render.masks)
        kept = render.masks > 0
        for i, edges in enumerate(soft):
            kept[i, edges.rows, edges.columns] = False
        assert np.array_equal(block.frames.numpy()[kept], render.frames[kept])
        return block.frames.numpy(), block.coverage > 0

    frames, covered = made(3)
    assert covered.mean() > made(1)[1].mean() + 0.02, "the others show what the first does not"
    assert psnr(frames[covered], views[covered]) > 27


def seam(frames: np.ndarray, covered: np.ndarray) -> float:
    """Mean absolute difference across the borders of holes, along rows."""
    across = covered[:, :, 1:] != covered[:, :, :-1]
    return float(np.abs(np.diff(frames.astype(float), axis=2)).mean(axis=-1)[across].mean())


def test_a_prompt_reaches_the_generator():
    inner = Repainted(np.empty(0))
    FaithfulSession(inner, room(), threads=1).set_prompt("a kitchen")
    assert inner.prompt == "a kitchen"


def test_all_covered_is_the_render_and_nothing_covered_the_generated_picture():
    generated, render = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), dtype=np.uint8)
    assert np.array_equal(keep_covered(generated, render, np.ones((12, 16), bool)), render)
    assert np.array_equal(keep_covered(generated, render, np.zeros((12, 16), bool)), generated)


def test_it_wraps_the_networks_block_by_block():
    scene = noise_scene(21)
    path = targets(scene, np.tile(np.eye(4), (21, 1, 1)))
    plain = make_generator(scene.size)
    frames = frames_of(FaithfulGenerator(plain).start(scene, seed=1), path)
    assert not np.array_equal(frames, frames_of(plain.start(scene, seed=1), path))
    worst = np.abs(frames.astype(int) - scene.read_frames(range(21))).max()
    assert worst <= 2, "a camera that stays where the source was sees the source"
