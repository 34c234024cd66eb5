"""Renders made from a scene as cameras come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.scenes import hills, scene_of, wall

from inspatio.cameras.poses import centred_intrinsics
from inspatio.generation.base import RenderSource
from inspatio.render import WarpRenderer
from inspatio.render.live import LiveRenders, target_intrinsics


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_are_the_whole_and_the_renderers_own(chunk: int) -> None:
    clip = hills(5)
    live: RenderSource = LiveRenders(scene_of(clip), WarpRenderer())
    parts = [live.read(i, clip.target[i : i + chunk]) for i in range(0, 5, chunk)]
    one_camera = target_intrinsics(clip.source_intrinsics[0], clip.frames.shape[1:3])
    expected = replace(clip, target_intrinsics=one_camera).render(WarpRenderer())
    assert_array_equal(np.concatenate([frames for frames, _ in parts]), expected[0])
    assert_array_equal(np.concatenate([masks for _, masks in parts]), expected[1])


def test_a_clip_played_in_another_order() -> None:
    clip = hills(4)
    order = [2, 0, 0, 3, 1, 2]
    again = LiveRenders(scene_of(clip).select(order), WarpRenderer()).read(1, clip.target[[1, 2, 3]])
    picked = clip.part([0, 0, 3])
    intrinsics = target_intrinsics(clip.source_intrinsics[2], clip.frames.shape[1:3])
    expected = replace(picked, target=clip.target[[1, 2, 3]], target_intrinsics=intrinsics).render(WarpRenderer())
    assert_array_equal(again[0], expected[0])


def test_more_frames_than_the_clip_has() -> None:
    clip = hills(3)
    with pytest.raises(AssertionError, match="clip of 3"):
        LiveRenders(scene_of(clip), WarpRenderer()).read(2, clip.target[:2])


@pytest.mark.parametrize("principal", [(15.5, 11.5), (16.0, 12.0), (15.9, 11.2), (7.3, 30.0)])
def test_target_view_is_centred_and_sharp(principal: tuple[float, float]) -> None:
    """Without motion the target view is the source moved by whole pixels, and its centre is within half a pixel."""
    clip = wall(24, 32)
    clip.source_intrinsics[0, :2, 2] = principal
    live = LiveRenders(scene_of(clip), WarpRenderer())
    centre = centred_intrinsics(clip.source_intrinsics[0], (24, 32))
    assert np.abs(live.intrinsics - centre).max() <= 0.5 + 1e-9
    right, down = np.rint(live.intrinsics[:2, 2] - principal).astype(int)
    frames, masks = live.read(0, np.eye(4)[None])
    padded = np.pad(clip.frames[0], ((24, 24), (32, 32), (0, 0)))
    assert_array_equal(frames[0], padded[24 - down : 48 - down, 32 - right : 64 - right])
    assert_array_equal(masks[0] > 0, frames[0].any(-1))
