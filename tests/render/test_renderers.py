"""What holds for both renderers: chunks, threads, devices, unknown depth, occlusion, and what moves where."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from support.scenes import Clip, hills, turned, wall

from inspatio.render import PointRenderer, Renderer, WarpRenderer

BOTH = pytest.mark.parametrize("kind", [WarpRenderer, PointRenderer])


@BOTH
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunked_equals_whole(kind: type[Renderer], chunk: int) -> None:
    clip = hills(5)
    whole = clip.render(kind(threads=2))
    parts = [clip.part(slice(i, i + chunk)).render(kind(threads=2)) for i in range(0, 5, chunk)]
    for expected, *got in zip(whole, *parts, strict=True):
        assert_array_equal(np.concatenate(got), expected)


@BOTH
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_threads_change_nothing(kind: type[Renderer], threads: int) -> None:
    clip = hills(5)
    for expected, got in zip(clip.render(kind(threads=2)), clip.render(kind(threads=threads)), strict=True):
        assert_array_equal(got, expected)


@BOTH
def test_one_renderer_in_several_threads(kind: type[Renderer]) -> None:
    clips = [hills(4, seed=seed) for seed in range(4)]
    renderer = kind(threads=2)
    alone = [clip.render(renderer) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda clip: clip.render(renderer), clips * 3))
    for expected, got in zip(alone * 3, together, strict=True):
        assert_array_equal(got[0], expected[0])
        assert_array_equal(got[1], expected[1])


@BOTH
def test_render_is_render_with_depth(kind: type[Renderer]) -> None:
    clip = hills(3)
    frames, masks, depth = clip.render(kind())
    again = kind().render(clip.frames, clip.depth, *clip.cameras())
    assert again.depth is None
    assert_array_equal(again.frames, frames)
    assert_array_equal(again.masks, masks)
    assert frames.dtype == masks.dtype == np.uint8
    assert depth.dtype == np.float32
    assert set(np.unique(masks)) == {0, 255}
    assert_array_equal(depth > 0, masks > 0)
    if kind is WarpRenderer:  # the other one's mask and colour are shrunk by different filters
        assert (frames[masks == 0] == 0).all()


@BOTH
def test_inputs_may_be_views_and_read_only(kind: type[Renderer]) -> None:
    clip = hills(3)
    flipped = replace(clip, frames=clip.frames[:, ::-1], depth=clip.depth[:, ::-1].astype(np.float16))
    copied = replace(flipped, frames=flipped.frames.copy(), depth=flipped.depth.astype(np.float32))
    for array in (copied.frames, copied.depth):
        array.flags.writeable = False
    assert_array_equal(flipped.render(kind())[0], copied.render(kind())[0])


@BOTH
def test_one_intrinsics_for_all_frames(kind: type[Renderer]) -> None:
    clip = hills(3)
    one = replace(clip, source_intrinsics=clip.source_intrinsics[0], target_intrinsics=clip.target_intrinsics[0])
    tiled = replace(
        clip,
        source_intrinsics=np.stack([one.source_intrinsics] * 3),
        target_intrinsics=np.stack([one.target_intrinsics] * 3),
    )
    assert_array_equal(one.render(kind())[0], tiled.render(kind())[0])


@BOTH
def test_the_world_does_not_matter(kind: type[Renderer]) -> None:
    """Only the pose of the target camera seen from the source camera does."""
    clip = hills(3)
    moved = turned(70, 20, (3, -2, 5))
    elsewhere = replace(clip, source=clip.source @ moved, target=clip.target @ moved)
    here, there = clip.render(kind()), elsewhere.render(kind())
    assert (here[1] == there[1]).mean() > 0.999
    assert (np.abs(here[0].astype(int) - there[0]).max(-1) <= 1).mean() > 0.99


@BOTH
def test_unknown_depth_is_never_drawn(kind: type[Renderer]) -> None:
    clip = hills(4, unknown=0.3)
    unknown = ~((clip.depth > 0) & np.isfinite(clip.depth))
    painted = clip.frames.copy()
    painted[unknown] = 255 - painted[unknown]
    for expected, got in zip(clip.render(kind()), replace(clip, frames=painted).render(kind()), strict=True):
        assert_array_equal(got, expected)


@BOTH
@pytest.mark.parametrize("depth", [0.0, -3.0, np.nan, np.inf])
def test_nothing_known_is_black(kind: type[Renderer], depth: float) -> None:
    for output in wall(depth=depth, target=turned(5, 5, (0.1, 0, 0))).render(kind()):
        assert not output.any()


@BOTH
@pytest.mark.parametrize("target", [turned(180, 0, (0, 0, 0)), turned(0, 0, (0, 0, 4.5)), turned(0, 0, (1000, 0, 0))])
def test_what_the_target_cannot_see_is_black(kind: type[Renderer], target: np.ndarray) -> None:
    """Behind the camera, in three ways: looking back, having passed through, far aside."""
    for output in wall(target=target).render(kind()):
        assert not output.any()


@BOTH
@pytest.mark.parametrize("depth", [1e-30, 1e30])
def test_extreme_depths(kind: type[Renderer], depth: float) -> None:
    clip = hills(2)
    clip.depth[:, ::3] = depth
    _, masks, target_depth = clip.render(kind())
    assert 0 < masks.mean() < 255
    assert np.isfinite(target_depth).all()


@BOTH
@pytest.mark.parametrize(("right", "down"), [(3, 0), (-5, 0), (0, 4), (2, -3), (40, 0)])
def test_parallax_of_whole_pixels(kind: type[Renderer], right: int, down: int) -> None:
    """A camera that goes left by z / f sees a plane at z move right by one pixel: mask, depth, and colour."""
    clip = wall(depth=4.0, focal=16.0, target=turned(0, 0, (-right / 4, -down / 4, 0)))
    frames, masks, depth = clip.render(kind())
    still_frames, still_masks, still_depth = clip.still().render(kind())
    h, w = masks.shape[1:]
    rows, columns = np.mgrid[:h, :w]
    rows, columns = rows - down, columns - right
    inside = (rows >= 1) & (rows < h - 1) & (columns >= 1) & (columns < w - 1)
    source = (0, rows[inside], columns[inside])
    assert_array_equal(frames[0][inside], still_frames[source])
    assert_array_equal(masks[0][inside], still_masks[source])
    np.testing.assert_allclose(depth[0][inside], still_depth[source], rtol=1e-6)
    outside = (rows < -1) | (rows > h) | (columns < -1) | (columns > w)
    assert not masks[0][outside].any()


@BOTH
def test_the_near_surface_wins(kind: type[Renderer]) -> None:
    """A block before a wall, moved over it by parallax, stays opaque inside."""
    clip = wall(depth=4.0, focal=16.0, target=turned(0, 0, (-1, 0, 0)))
    clip.depth[0, 8:16, 8:16] = 2.0
    clip.frames[0] = 50
    clip.frames[0, 8:16, 8:16] = 200
    frames, masks, depth = clip.render(kind())
    # The wall moves right by 4 pixels, the block by 8: it covers columns 16..23 and leaves 12..15 unseen.
    assert (frames[0, 9:15, 17:23] == 200).all()
    np.testing.assert_allclose(depth[0, 9:15, 17:23], 2, rtol=1e-6)
    assert (masks[0, 9:15, 13:15] == 0).all()
    assert (frames[0, 9:15, 5:11] == 50).all()
    assert (frames[0, 9:15, 26:] == 50).all()


@BOTH
def test_depth_after_a_dolly(kind: type[Renderer]) -> None:
    _, masks, depth = wall(depth=4.0, target=turned(0, 0, (0, 0, 0.5))).render(kind())
    np.testing.assert_allclose(depth[masks > 0], 3.5, rtol=1e-6)


@BOTH
def test_no_colour_is_invented(kind: type[Renderer]) -> None:
    """Every channel stays within what the source has."""
    clip = hills(4, seed=3)
    clip.frames[:] = 90 + clip.frames % 60
    frames, masks, _ = clip.render(kind())
    seen = frames[masks > 0] if kind is WarpRenderer else frames[:, 10:-10, 10:-10][masks[:, 10:-10, 10:-10] > 0]
    assert seen.max() <= 149
    if kind is WarpRenderer:  # at the edge of a hole, the other one shrinks black into the colour
        assert seen.min() >= 90


def with_torch(clip: Clip, kind: type[Renderer]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the renderer does on any device but the CPU, on the CPU."""
    render = kind().render_on_device(torch.tensor(clip.frames), torch.tensor(clip.depth), *clip.cameras())
    return render.frames.numpy(), render.masks.numpy(), render.depth.numpy()


def assert_nearly_equal(got: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """Two backends differ in the rounding of coordinates, which shows where a point lies just between two pixels."""
    assert (got[1] == expected[1]).mean() > 0.9995
    both = (got[1] > 0) & (expected[1] > 0)
    assert (np.abs(got[0].astype(int) - expected[0]).max(-1)[both] <= 1).mean() > 0.999
    assert (np.abs(got[2][both] / expected[2][both] - 1) < 1e-3).mean() > 0.999


@BOTH
def test_torch_agrees_with_the_loops(kind: type[Renderer]) -> None:
    clip = hills(9, 60, 80)
    assert_nearly_equal(with_torch(clip, kind), clip.render(kind("cpu")))


@BOTH
def test_torch_draws_nothing_of_unknown_depth(kind: type[Renderer]) -> None:
    for depth in (0.0, -3.0, np.nan, np.inf):
        assert not any(output.any() for output in with_torch(wall(depth=depth), kind))


@BOTH
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees_with_the_loops(kind: type[Renderer]) -> None:
    clip = hills(9, 60, 80)
    assert_nearly_equal(clip.render(kind("cuda")), clip.render(kind("cpu")))
