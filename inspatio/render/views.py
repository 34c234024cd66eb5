"""Render scenes: a clip frame by frame, a still scene from all its views; choose the views that a network is shown.

Every view is rendered by itself; at each pixel the nearest known depth wins, and the first view where depths are equal
(InSpatio-World 1.5). Which views cover how much of the target decides the context: in each block of three latent
frames the three views that cover most of it are given to the latents so that they cover most of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, permutations

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.models.wan.autoencoder import frames_of
from inspatio.models.wan.cache import BLOCK_LATENTS
from inspatio.render.matting import NO_EDGES, SoftEdges, render_separated
from inspatio.render.renderer import Renderer
from inspatio.scene import Render, Scene
from inspatio.types import DepthMaps, Frames, Masks


class NearestView:
    """Renders of the same target cameras (``t h w``) from several views, laid over each other: the nearest wins."""

    def __init__(self, first: Render) -> None:
        assert first.depth is not None, "views are told apart by depth"
        self.frames, self.masks, self.depth = first.frames.copy(), first.masks.copy(), first.depth.copy()
        self.winner: NDArray[np.uint16] = np.zeros(first.masks.shape, np.uint16)
        """``t h w``: the number of the view that each pixel shows."""
        self.covered: list[NDArray[np.int64]] = [_count(first.masks)]
        """For each view, how many pixels of each frame (``t``) it covers, be it the nearest or not."""

    def add(self, render: Render) -> None:
        """Lay the next view's render over those before."""
        assert render.depth is not None, "views are told apart by depth"
        known = render.masks > 0
        nearer = known & ((self.masks == 0) | (render.depth < self.depth))
        self.frames[nearer] = render.frames[nearer]
        self.depth[nearer] = render.depth[nearer]
        self.masks[nearer] = 255
        self.winner[nearer] = len(self.covered)
        self.covered.append(_count(render.masks))

    @property
    def render(self) -> Render:
        return Render(self.frames, self.masks, self.depth)


def render_scene(renderer: Renderer, scene: Scene, start: int, cameras: Cameras, *, with_depth: bool = False) -> Render:
    """Render the places of a scene's clip from ``start`` on, one for each target camera.

    A still scene is rendered from all its views, or from its points where it has them.
    """
    if scene.points is not None:
        return scene.points.render(cameras, scene.size)
    if scene.view_count > 1:
        return render_views(renderer, scene, cameras)[0]
    places = range(start, start + len(cameras))
    frames, depth = scene.read_frames(places), scene.read_depth(places)
    return renderer.render(frames, depth, scene.cameras(places), cameras, with_depth=with_depth)


def render_views(renderer: Renderer, scene: Scene, cameras: Cameras) -> tuple[Render, NDArray[np.int64]]:
    """Render all views of a still scene as one: the picture with its depth, and the pixels that each view covers.

    Returns:
        The render, and ``t v``: of how many pixels of each frame each view knows something.
    """
    nearest = None
    for frames, depth, source in _views(scene, len(cameras)):
        render = renderer.render(frames, depth, source, cameras, with_depth=True)
        if nearest is None:
            nearest = NearestView(render)
        else:
            nearest.add(render)
    assert nearest is not None, "a scene has at least one view"
    return nearest.render, np.stack(nearest.covered, axis=1)


def render_separated_scene(
    scene: Scene, start: int, cameras: Cameras, threads: int, *, whole: Renderer | None = None
) -> tuple[Render, list[SoftEdges], Cameras, DepthMaps]:
    """Render places of a scene's clip as ``matting.render_separated`` does, a still scene from all its views.

    With ``whole`` that renderer draws instead: mixed pixels stay as they are, and there are no soft edges.

    Returns:
        The render, its soft edges, and the source cameras and source depth of each frame; of several views those of the
        one that most of the frame comes from.
    """

    def draw(frames: Frames, depth: DepthMaps, source: Cameras) -> tuple[Render, list[SoftEdges]]:
        if whole is None:
            return render_separated(frames, depth, source, cameras, threads)
        return whole.render(frames, depth, source, cameras, with_depth=True), [NO_EDGES] * len(cameras)

    places = range(start, start + len(cameras))
    if scene.view_count == 1:
        depth, source = scene.read_depth(places), scene.cameras(places)
        return *draw(scene.read_frames(places), depth, source), source, depth
    nearest, outlines = None, []
    for frames, depth, source in _views(scene, len(cameras)):
        render, edges = draw(frames, depth, source)
        outlines.append(edges)
        if nearest is None:
            nearest = NearestView(render)
        else:
            nearest.add(render)
    assert nearest is not None, "a scene has at least one view"
    shown, shares = nearest.winner, []
    for view in range(len(outlines)):
        shares.append(_count((shown == view) & (nearest.masks > 0)))
        outlines[view] = [edges.within(shown[i] == view) for i, edges in enumerate(outlines[view])]
    main = np.argmax(shares, axis=0).tolist()
    joined = [_joined([edges[i] for edges in outlines]) for i in range(len(cameras))]
    sources = Cameras(scene.intrinsics, scene.world_to_camera)[main]
    return nearest.render, joined, sources, scene.depth.read(main)


def context_views(covered: NDArray[np.int64], *, first: bool) -> list[int]:
    """The view that a network is shown beside each frame of a block, one for each latent frame.

    Of the views the three that cover most of the block, those of a lower number where they are equal; of two views the
    better one twice. Of all ways to give them to the latent frames the one that covers most, the first in order where
    several do.

    Args:
        covered: ``t v``, pixels that each view covers of each frame; a block that is not whole counts its last frame
            for those that are missing.
        first: the block begins the clip, where the first latent is one frame alone.
    """
    lengths = [frames_of(1, first=first), *[frames_of(1, first=False)] * (BLOCK_LATENTS - 1)]
    borders = [0, *accumulate(lengths)]
    t, v = covered.shape
    assert 0 < t <= borders[-1], f"coverage of {t} frames, expected 1 to {borders[-1]}"
    whole = covered[np.minimum(np.arange(borders[-1]), t - 1)]
    scores = [whole[start:end].sum(axis=0).tolist() for start, end in pairwise(borders)]
    totals = np.sum(scores, axis=0).tolist()
    ranking = sorted(range(v), key=lambda view: (-totals[view], view))
    best = (ranking * BLOCK_LATENTS)[:BLOCK_LATENTS]
    chosen = min(
        permutations(best), key=lambda views: (-sum(row[view] for row, view in zip(scores, views, strict=True)), views)
    )
    return [view for view, length in zip(chosen, lengths, strict=True) for _ in range(length)][:t]


def block_ends() -> Iterator[int]:
    """The lengths of clips that are whole blocks of a network: 9, 21, 33 .. frames."""
    end = 0
    while True:
        end += frames_of(BLOCK_LATENTS, first=end == 0)
        yield end


def block_starts(count: int) -> Iterator[tuple[int, int]]:
    """(first frame, end) of each block of a clip of ``count`` frames, as networks make them."""
    start = 0
    for end in block_ends():
        yield start, min(end, count)
        if end >= count:
            return
        start = end


def _views(scene: Scene, count: int) -> Iterator[tuple[Frames, DepthMaps, Cameras]]:
    """Each view's picture, depth and camera, ``count`` times: one for each target camera."""
    cameras = Cameras(scene.intrinsics, scene.world_to_camera)
    for view in range(scene.view_count):
        frame, depth = scene.frames.read([view]), scene.depth.read([view])
        yield np.repeat(frame, count, axis=0), np.repeat(depth, count, axis=0), cameras[[view] * count]


def _joined(edges: Sequence[SoftEdges]) -> SoftEdges:
    return SoftEdges(
        np.concatenate([each.rows for each in edges]),
        np.concatenate([each.columns for each in edges]),
        np.concatenate([each.colours for each in edges]),
        np.concatenate([each.alphas for each in edges]),
    )


def _count(masks: Masks | NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many pixels of ``t h w`` are set, for each frame."""
    return (masks > 0).sum(axis=(1, 2))
