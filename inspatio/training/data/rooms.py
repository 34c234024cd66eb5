"""Synthetic training clips, each a function of its seed: source, target, depth and pose, with the errors of real ones.

    views = make_views(seed, frames=21, size=(240, 416), renderer=renderer)

Rooms, source cameras and target paths are drawn as the held-out suite draws its own, from other seeds and from the
training family of textures, which shares neither pattern nor palette with the suite's. Things move in two of three
rooms. The light changes: each room has colours and a contrast of its own, and brightness drifts over the clip. The
render is made of depth with the errors of estimated depth: a smooth factor over the picture that changes slowly, and
outlines that are off by a pixel.
"""

from __future__ import annotations

import cv2
import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.suite import KEEP_FRAMES, PATHS, SOURCES, PathKind, SourceKind
from inspatio.evaluation.synthetic_room import textures
from inspatio.evaluation.synthetic_room.random_room import TRAINING_SEEDS, make_room
from inspatio.render.renderer import Renderer
from inspatio.render.views import render_scene
from inspatio.scene import target_cameras
from inspatio.training.data.views import Views, scene_in_memory
from inspatio.types import DepthMaps, Frames

SOURCE_KINDS: tuple[SourceKind, ...] = ("handheld", "walk", "arc")
"""Those of the suite that film a room; the others are for scenes of their own."""
DEPTH_ERROR = 0.03
"""Standard deviation of the factor on depth: as Depth Anything 3 and motion are off by on the example (3 %)."""
PROMPT = "A room with furniture."


def make_views(seed: int, frames: int, size: tuple[int, int], renderer: Renderer, *, true_depth: bool = False) -> Views:
    """Ray-cast a room from a moving source camera and from a target path, and render the one into the other.

    Args:
        seed: 0 to 899 999; the room, its light and its cameras follow from it.
        frames: of the clip.
        size: (height, width).
        renderer: what inference renders with.
        true_depth: leave the errors of depth out.
    """
    if seed not in TRAINING_SEEDS:
        raise ValueError(f"seed of a training room: got {seed}, expected one of {TRAINING_SEEDS}")
    rng = np.random.default_rng([seed, *b"training"])
    room = make_room(seed, textures.TRAINING)
    height, width = size
    focal = width * rng.uniform(0.7, 1.05)
    lens = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    times = np.linspace(0, 1, frames)
    source_kind: SourceKind = SOURCE_KINDS[rng.integers(len(SOURCE_KINDS))]
    paths: list[PathKind] = sorted(PATHS)
    path = PATHS[paths[rng.integers(len(paths))]](rng)
    source_poses = SOURCES[source_kind](times, rng)
    light = _light(rng, frames)

    def film(poses: np.ndarray, intrinsics: np.ndarray) -> Frames:
        views = [room.view(time, pose, k, size) for time, pose, k in zip(times, poses, intrinsics, strict=True)]
        return _lit(np.stack(views), light)

    source_cameras = Cameras(np.tile(lens, (frames, 1, 1)), source_poses)
    source = film(source_poses, source_cameras.intrinsics)
    views = zip(times, source_poses, strict=True)
    depth = np.stack([room.depth(time, pose, lens, size) for time, pose in views])
    scene = scene_in_memory(f"room_{seed:06d}", source, depth, source_cameras, "metres")
    targets = target_cameras(scene, path, KEEP_FRAMES)
    target = film(targets.world_to_camera, targets.intrinsics)
    seen = depth if true_depth else estimated(depth, rng)
    render = render_scene(renderer, scene_in_memory(scene.clip_id, source, seen, source_cameras, "metres"), 0, targets)
    return Views(scene.clip_id, PROMPT, source, target, render.frames, render.masks, (source_cameras, targets))


def estimated(depth: DepthMaps, rng: np.random.Generator) -> DepthMaps:
    """True depth ``t h w`` with the errors of an estimate: a smooth factor that changes slowly, and soft outlines."""
    frames, height, width = depth.shape
    coarse = rng.normal(size=(2, 4, 6)).astype(np.float32)
    first, last = (cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC) for each in coarse)
    shares = np.linspace(0, 1, frames, dtype=np.float32)[:, None, None]
    factor = np.exp(DEPTH_ERROR * ((1 - shares) * first + shares * last))
    # A median over a pixel's neighbours moves outlines, as estimators do, without inventing depths between surfaces.
    moved = np.stack([cv2.medianBlur(frame, 3) for frame in depth.astype(np.float32)])
    return (moved * factor).astype(np.float32)


def _light(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, float]:
    """A clip's light: gain of each colour in each frame ``t 3``, and contrast."""
    colours = rng.uniform(0.75, 1.1, 3)
    drift = 1 + rng.uniform(-0.12, 0.12) * np.linspace(0, 1, frames)
    return drift[:, None] * colours, float(rng.uniform(0.85, 1.2))


def _lit(frames: Frames, light: tuple[np.ndarray, float]) -> Frames:
    gains, contrast = light
    levels = (frames / np.float32(255)) ** np.float32(contrast) * gains[:, None, None].astype(np.float32)
    return np.clip(levels * 255 + 0.5, 0, 255).astype(np.uint8)
