"""The forward splat alone: where nothing moves, nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support.scenes import hills, turned, wall

from inspatio.render import WarpRenderer, splat_loops, splat_torch
from inspatio.render.splat import pixel_maps


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-3, 1e3),
    focal=st.floats(5, 5000),
    principal=st.tuples(st.floats(-100, 200), st.floats(-100, 200)),
    place=st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50)),
    yaw=st.floats(-180, 180),
)
def test_zero_motion_is_the_identity(
    seed: int,
    scale: float,
    focal: float,
    principal: tuple[float, float],
    place: tuple[float, float, float],
    yaw: float,
) -> None:
    """Bit for bit, whatever the intrinsics, the depth and the common pose; unknown depth is a hole of its pixel."""
    clip = hills(1, 20, 30, seed=seed)
    clip.source_intrinsics[:, 0, 0], clip.source_intrinsics[:, 1, 1] = focal, 0.7 * focal
    clip.source_intrinsics[:, :2, 2] = principal
    clip.source[:] = turned(yaw, yaw / 3, place)
    clip = replace(clip, depth=(clip.depth * np.float32(scale))).still()
    known = (clip.depth > 0) & np.isfinite(clip.depth)
    frames, masks, depth = clip.render(WarpRenderer())
    assert_array_equal(masks > 0, known)
    assert_array_equal(frames, np.where(known[..., None], clip.frames, 0))
    np.testing.assert_allclose(depth[known], clip.depth[known], rtol=1e-5)


def test_zero_motion_is_the_identity_at_full_size() -> None:
    """At 832x480 with steep depth edges, and poses that went through single precision."""
    rng = np.random.default_rng(5)
    clip = wall(480, 832, focal=691.3, depth=1.0)
    clip.depth[:] = rng.choice([0.5, 1, 4, 100], clip.depth.shape)
    pose = turned(31, 7, (0.3, -0.2, 0.5)).astype(np.float32).astype(np.float64)[None]
    again = np.linalg.inv(np.linalg.inv(pose).astype(np.float32).astype(np.float64))
    frames, masks, _ = replace(clip, source=pose, target=again).render(WarpRenderer())
    assert_array_equal(frames, clip.frames)
    assert (masks == 255).all()


def test_torch_zero_motion_is_the_identity() -> None:
    clip = hills(2, unknown=0).still()
    render = WarpRenderer().render_on_device(torch.tensor(clip.frames), torch.tensor(clip.depth), *clip.cameras())
    frames, masks = render.frames.numpy(), render.masks.numpy()
    assert_array_equal(frames, clip.frames)
    assert (masks == 255).all()


@pytest.mark.parametrize(("shift", "left"), [(0.25, 0.75), (0.5, 0.5), (0.75, 0.25)])
def test_colour_is_shared_bilinearly(shift: float, left: float) -> None:
    """One white column on black, moved right by a part of a pixel."""
    clip = wall(depth=4.0, focal=16.0, target=turned(0, 0, (-shift / 4, 0, 0)))
    clip.frames[:] = 0
    clip.frames[:, :, 10] = 200
    frames, masks, _ = clip.render(WarpRenderer())
    assert (frames[0, :, 10] == round(200 * left)).all()
    assert (frames[0, :, 11] == round(200 * (1 - left))).all()
    assert not frames[0, :, 12:].any()
    assert masks.all()


def test_nearer_splats_outweigh_by_the_published_law() -> None:
    """A pixel that two surfaces share takes their colours in the ratio of exp(-50 log(1 + z) / max log(1 + z))."""
    clip = wall(1, 2, focal=1.0)
    clip.depth[0, 0] = [2.0, 2.2]
    clip.frames[0, 0] = [[250] * 3, [50] * 3]
    # Seen from so far aside that both pixels land on the first column.
    clip = replace(clip, source_intrinsics=np.array([[[1e-9, 0, 0], [0, 1, 0], [0, 0, 1.0]]]))
    clip.source_intrinsics[0, 0, 0] = 1.0
    target = np.array([[[1e-6, 0, 0], [0, 1, 0], [0, 0, 1.0]]])
    frames, _, depth = replace(clip, target_intrinsics=target).render(WarpRenderer())
    weights = np.exp(-50 * np.log(1 + np.array([2.0, 2.2])) / np.log(3.2))
    share = weights[0] / weights.sum()
    assert abs(frames[0, 0, 0, 0] - (250 * share + 50 * (1 - share))) <= 1
    assert depth[0, 0, 0] == pytest.approx(2.0 * share + 2.2 * (1 - share), rel=1e-3)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("off", [-(2.0**-9), -(2.0**-11), 0.0, 2.0**-11, 2.0**-9])
def test_splats_just_beyond_the_edge_stay_inside_the_sums(sign: int, off: float) -> None:
    """Moved by a pixel and next to nothing; around the sums lies -0.0, which even adding nothing would make 0.0."""
    clip = wall(depth=4.0, focal=16.0, target=turned(0, 0, [sign * (1 + off) / 4] * 2 + [0]))
    rotation, translation = pixel_maps(*clip.cameras())
    h, w = clip.depth.shape[1:]
    sizes = (h + 2) * (w + 2) * splat_loops.CHANNELS, (h + 2) * (w + 2)
    around = [np.full(size + 2000, -0.0, np.float32) for size in sizes]
    splat_loops.splat(clip.frames[0], clip.depth[0], rotation[0], translation[0], *(a[1000:-1000] for a in around))
    for array in around:
        assert np.signbit(array[:1000]).all()
        assert np.signbit(array[-1000:]).all()
    splat_torch.splat(*(torch.tensor(a) for a in (clip.frames, clip.depth, rotation, translation)))
