"""Laws of resampling: nothing moves, nothing changes; what moves stays sharp; the nearer surface has its pixels."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal
from support.scenes import Clip, hills, psnr, wall

from inspatio.render import WarpRenderer
from inspatio.render.resample import Places, find_places
from inspatio.render.splat import pixel_maps

SIDE = 64
FAR = 6.0


def places_of(clip: Clip) -> Places:
    rotation, translation = pixel_maps(*clip.cameras())
    return find_places(np.asarray(clip.depth[0], np.float32), rotation[0], translation[0])


def sideways(pixels: float, depth: float = FAR) -> np.ndarray:
    """The pose that moves what is at ``depth`` by so many pixels to the left."""
    pose = np.eye(4)
    pose[0, 3] = -pixels * depth / SIDE
    return pose


def test_without_motion_every_pixel_of_known_depth_comes_back():
    clip = hills().still()
    known = (clip.depth[0] > 0) & np.isfinite(clip.depth[0])
    assert 0 < known.mean() < 1, "some depth must be unknown"
    found = places_of(clip)
    assert_array_equal(found.mask > 0, known)
    assert_array_equal(found.look_up(clip.frames[0])[known], clip.frames[0][known])
    assert_array_equal(found.depth, np.where(known, clip.depth[0], 0).astype(np.float32))


def test_it_covers_what_the_published_splat_covers():
    clip = hills()
    splat = WarpRenderer().render(clip.frames, clip.depth, *clip.cameras())
    assert 0.1 < (splat.masks[0] > 0).mean() < 1
    found = places_of(clip)
    assert_array_equal(found.mask, splat.masks[0])
    assert not found.look_up(clip.frames[0])[found.mask == 0].any()


def test_a_texture_that_moves_by_half_a_pixel_stays_sharp():
    rows, columns = np.mgrid[:SIDE, :SIDE]

    def picture(shift: float) -> np.ndarray:
        waves = 128 + 60 * np.sin((columns + shift) / 0.9) * np.cos(rows / 1.1)
        return np.repeat(waves[..., None], 3, axis=-1)

    plain = wall(SIDE, SIDE, FAR, focal=float(SIDE), target=sideways(2.5))
    clip = Clip(**{**plain.__dict__, "frames": (picture(0) + 0.5).astype(np.uint8)[None]})
    inside = (slice(4, -4), slice(4, -8))
    truth = picture(2.5)[inside]
    splat = WarpRenderer().render(clip.frames, clip.depth, *clip.cameras()).frames[0][inside]
    frame = places_of(clip).look_up(clip.frames[0])[inside]
    assert psnr(frame, truth) > psnr(splat, truth) + 6


def test_of_two_surfaces_a_tenth_apart_the_nearer_has_its_pixels():
    """The published splat mixes them, and a mixed place would be one that neither surface is at."""
    plain = wall(SIDE, SIDE, FAR, focal=float(SIDE), target=sideways(40.5))
    depth = np.full((1, SIDE, SIDE), FAR)
    depth[..., 40:] = FAR * 0.9  # moves by 45 pixels, over what moves by 40.5
    frames = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    frames[:, :, 40:] = 200
    clip = Clip(**{**plain.__dict__, "depth": depth, "frames": frames})
    found = places_of(clip)
    near = found.columns[SIDE // 2, :18] > 39.5
    lands = np.arange(18) >= 0  # columns 40 to 62 of the source land on -5 to 17
    assert_array_equal(near, lands)
    assert (found.look_up(clip.frames[0])[SIDE // 2, 1:18] == 200).all()


def test_colours_at_chosen_pixels_are_those_of_the_whole_picture():
    clip = hills()
    found = places_of(clip)
    seen = np.flatnonzero(found.mask)
    whole = found.look_up(clip.frames[0]).reshape(-1, 3)
    for count in (0, 1, 300):
        assert_array_equal(found.look_up_at(clip.frames[0], seen[:count]), whole[seen[:count]])
