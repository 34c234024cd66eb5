"""Still scenes: all views as one render, against a slow reference, and the choice of the views a network is shown."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support.scenes import hills, make_scene, scene_of

from inspatio.cameras.cameras import Cameras
from inspatio.render import PointRenderer, Renderer, WarpRenderer, render_scene
from inspatio.render.views import context_views, render_separated_scene, render_views
from inspatio.scene import Scene


def slow_splat(frame: np.ndarray, depth: np.ndarray, source: Cameras, target: Cameras) -> list[np.ndarray]:
    """One view in one target camera, pixel by pixel in float64: weighted colour, depth, and weight."""
    height, width = depth.shape
    lens, to_target = (
        np.linalg.inv(source.intrinsics[0]),
        target.world_to_camera[0] @ np.linalg.inv(source.world_to_camera[0]),
    )
    landed = []
    for y, x in np.ndindex(height, width):
        d = float(depth[y, x])
        if not 0 < d < math.inf:
            continue
        point = to_target @ [*(lens @ [x, y, 1]) * d, 1]
        if point[2] > 0:
            u, v, w = target.intrinsics[0] @ point[:3]
            landed.append((u / w, v / w, point[2], frame[y, x].astype(float)))
    sums = np.zeros((height, width, 5))
    most = math.log1p(min(max(z for _, _, z, _ in landed), 1000))
    for u, v, z, colour in landed:
        weight = math.exp(-50 * math.log1p(min(z, 1000)) / most)
        column, row = math.floor(u + 2**-10), math.floor(v + 2**-10)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            right, down = max(u - column, 0), max(v - row, 0)
            right, down = (0 if each < 2**-10 else each for each in (right, down))
            share = (right if dx else 1 - right) * (down if dy else 1 - down)
            if 0 <= column + dx < width and 0 <= row + dy < height:
                sums[row + dy, column + dx] += weight * share * np.array([*colour, z, 1])
    weights = sums[..., 4]
    safe = np.where(weights > 0, weights, 1)
    return [sums[..., :3] / safe[..., None], sums[..., 3] / safe, weights]


def still(scene: Scene) -> Scene:
    return replace(scene, still=True)


def test_all_views_are_splatted_and_the_nearest_wins():
    """Against a reference that goes pixel by pixel; colours may differ by rounding, or where two views are as near."""
    clip = hills(3, 12, 16, seed=4)
    scene, targets = still(scene_of(clip)), clip.cameras()[1][:2]
    render, covered = render_views(WarpRenderer(), scene, targets)
    sources = clip.cameras()[0]
    for t in range(2):
        nearest = np.full((12, 16), np.inf)
        picture = np.zeros((12, 16, 3))
        second = np.full((12, 16), np.inf)
        for view in range(3):
            colour, depth, weight = slow_splat(clip.frames[view], clip.depth[view], sources[[view]], targets[[t]])
            known = weight > 0
            assert covered[t, view] == known.sum()
            closer = known & (depth < nearest)
            second = np.where(closer, nearest, np.where(known, np.minimum(second, depth), second))
            nearest[closer], picture[closer] = depth[closer], colour[closer]
        known = np.isfinite(nearest)
        assert_array_equal(render.masks[t] > 0, known)
        clear = known & (second > nearest * 1.0001)
        assert clear.sum() > 0.95 * known.sum() > 0
        assert render.depth is not None
        np.testing.assert_allclose(render.depth[t][known], nearest[known], rtol=1e-3)
        assert np.abs(render.frames[t].astype(float) - picture)[clear].max() <= 1
        assert not render.frames[t][~known].any()


@pytest.mark.parametrize("renderer", [WarpRenderer(), PointRenderer()])
def test_one_view_is_the_frame_alone(renderer: Renderer):
    clip = hills(1, 20, 30)
    target = Cameras.from_poses(clip.target, clip.target_intrinsics)
    scene = scene_of(clip)
    alone, of_views = render_scene(renderer, scene, 0, target), render_views(renderer, still(scene), target)[0]
    assert_array_equal(alone.frames, of_views.frames)
    assert_array_equal(alone.masks, of_views.masks)


def test_equal_depths_show_the_first_view():
    frames = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (10, 200)])
    lens = np.array([[8.0, 0, 3.5], [0, 8, 3.5], [0, 0, 1]])
    scene = still(make_scene(frames, np.full((2, 8, 8), 2.0), np.tile(np.eye(4), (2, 1, 1)), lens))
    target = Cameras.from_poses(np.eye(4)[None], lens)
    assert (render_scene(WarpRenderer(), scene, 0, target).frames == 10).all()
    render, edges, source, _ = render_separated_scene(scene, 0, target, 1)
    assert (render.frames == 10).all()
    assert len(edges) == len(source) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.booleans(), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_context_views_cover_most(views: int, first: bool, seed: int, frames: int):
    """Against all assignments of the three views with most coverage; of two views the better one comes twice."""
    frames = min(frames, 9) if first else frames
    covered = np.random.default_rng(seed).integers(0, 4, (frames, views))  # few values, so that many are equal
    chosen = context_views(covered, first=first)
    assert len(chosen) == frames
    lengths = (1, 4, 4) if first else (4, 4, 4)
    whole = np.concatenate([covered, np.repeat(covered[-1:], sum(lengths) - frames, axis=0)])
    rows = [part.sum(axis=0) for part in np.split(whole, np.cumsum(lengths)[:-1])]
    order = sorted(range(views), key=lambda view: (-int(whole[:, view].sum()), view))
    pool = {1: [order[0]] * 3, 2: [order[0], order[1], order[0]] if views > 1 else []}.get(views, order[:3])
    best = min(
        set(permutations(pool)), key=lambda each: (-sum(int(r[v]) for r, v in zip(rows, each, strict=True)), each)
    )
    assert chosen == [view for view, length in zip(best, lengths, strict=True) for _ in range(length)][:frames]


def test_the_published_choice_of_four_views():
    """View 3 covers nothing; 0, 1 and 2 each go to the latent that they cover best."""
    covered = np.zeros((12, 4), np.int64)
    covered[:4, 2], covered[4:8, 0], covered[8:, 1] = 9, 9, 9
    assert context_views(covered, first=False) == [2] * 4 + [0] * 4 + [1] * 4
