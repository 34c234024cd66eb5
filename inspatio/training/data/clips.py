"""Training data of videos: any folder of clips by double reprojection, and folders of rendered triples as they are.

A single video has no second camera. Rendered to a new view and back to its own, it has holes where the new view saw
nothing, and the smears of two splats elsewhere: a render whose truth is the video itself (TrajectoryCrafter, arXiv
2503.05638). Such a sample has no reference: the source at the same time would be the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from inspatio.api import open_scene
from inspatio.captioning.captions import read_sidecar
from inspatio.errors import ClipError, UserError
from inspatio.evaluation.suite import KEEP_FRAMES, PATHS
from inspatio.media import VideoReader, probe
from inspatio.media.listing import list_sources
from inspatio.render.files import MASK_NAME, RENDER_NAME
from inspatio.render.renderer import Renderer
from inspatio.render.views import render_scene
from inspatio.scene import Scene, target_cameras
from inspatio.training.data.views import Views, ViewsSource, scene_in_memory

SOURCE_NAME, TARGET_NAME, CAPTION_NAME = "source.mp4", "target.mp4", "caption.txt"
TRIPLE = (SOURCE_NAME, TARGET_NAME, RENDER_NAME, MASK_NAME)


def find_views(folder: Path, frames: int, size: tuple[int, int], renderer: Renderer, seed: int) -> ViewsSource:
    """The training views of a folder: of triples where it has them, else of its videos.

    Args:
        folder: ``<name>/source.mp4, target.mp4, render.mp4, mask.mp4`` and perhaps ``caption.txt`` each, or videos.
        frames: of each sample; a video is cut into as many as it holds.
        size: (height, width).
        renderer: what inference renders with.
        seed: of the new views of videos.

    Raises:
        UserError: there is neither.
    """
    triples = sorted(path.parent for path in folder.glob(f"*/{TARGET_NAME}")) if folder.is_dir() else []
    videos = [] if triples else [found.path for found in list_sources(folder).sources if found.kind == "video"]
    if not triples and not videos:
        raise UserError(
            f"{folder}: no clips: got no videos and no folders with {', '.join(TRIPLE)}, expected some. Check the path"
        )

    def all_views() -> Iterator[Views | UserError]:
        for path in triples:
            try:
                yield read_triple(path, frames, size)
            except UserError as error:
                yield error
        for path in videos:
            yield from reprojected(path, frames, size, renderer, seed)

    return ViewsSource(len(triples) + len(videos), all_views)


def read_triple(folder: Path, frames: int, size: tuple[int, int]) -> Views:
    """Read the first frames of a triple.

    Raises:
        ClipError: a video is missing, damaged or too short, or they differ in length.
    """
    missing = [name for name in TRIPLE if not (folder / name).is_file()]
    if missing:
        raise ClipError(f"{folder}: got no {', '.join(missing)}, expected {', '.join(TRIPLE)}. Complete the folder")
    with ExitStack() as stack:
        source, target, render, mask = (stack.enter_context(VideoReader(probe(folder / name), size)) for name in TRIPLE)
        lengths = [len(reader) for reader in (source, target, render, mask)]
        if min(lengths) < frames or len(set(lengths)) > 1:
            raise too_short(folder, min(lengths), frames, "Its four videos must be of one length")
        places = range(frames)
        caption = folder / CAPTION_NAME
        return Views(
            folder.name,
            caption.read_text(encoding="utf-8").strip() if caption.is_file() else "",
            source.read(places),
            target.read(places),
            render.read(places),
            mask.read_masks(places),
        )


def reprojected(
    video: Path, frames: int, size: tuple[int, int], renderer: Renderer, seed: int
) -> Iterator[Views | UserError]:
    """Each part of a video with a render of itself, by a new view and back."""
    try:
        caption = read_sidecar(video)
        scene = open_scene(video, size=size, turn=False, prompt=caption.text if caption else "")
        if len(scene) < frames:
            raise too_short(video, len(scene), frames, "Prepare with fewer --frames")
    except UserError as error:
        yield error
        return
    for start in range(0, len(scene) - frames + 1, frames):
        yield _there_and_back(scene, range(start, start + frames), renderer, seed)


def _there_and_back(scene: Scene, places: range, renderer: Renderer, seed: int) -> Views:
    rng = np.random.default_rng([seed, places.start, *scene.clip_id.encode()])
    frames, depth, cameras = scene.read_frames(places), scene.read_depth(places), scene.cameras(places)
    part = scene_in_memory(scene.clip_id, frames, depth, cameras, scene.scale)
    paths = sorted(PATHS)
    targets = target_cameras(part, PATHS[paths[rng.integers(len(paths))]](rng), KEEP_FRAMES)
    there = render_scene(renderer, part, 0, targets, with_depth=True)
    assert there.depth is not None, "depth was asked for"
    back = renderer.render(there.frames, np.where(there.masks > 0, there.depth, 0), targets, cameras)
    name = f"{scene.clip_id}_{places.start:05d}"
    return Views(name, scene.prompt, None, frames, back.frames, back.masks)


def too_short(path: Path, got: int, wanted: int, advice: str) -> ClipError:
    return ClipError(f"{path}: too short: got {got} frames, expected {wanted}. {advice}")
