"""Laws of matting at depth edges: nothing moves, nothing changes; what moves leaves no colour behind."""

from __future__ import annotations

import cv2
import numpy as np
from support.outlines import BLUE, NEAR, RED, SHIFT, SIDE, disc, disc_before_wall
from support.scenes import Clip, hills, psnr, wall

from inspatio.render import WarpRenderer
from inspatio.render.matting import composite, render_separated, separate


def separated(clip: Clip, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The composited frames and the masks."""
    source, target = clip.cameras()
    render, soft = render_separated(clip.frames, clip.depth, source, target, threads)
    for frame, edges in zip(render.frames, soft, strict=True):
        composite(frame, edges)
    return render.frames, render.masks


def test_without_motion_the_frame_comes_back():
    clip = disc_before_wall(grain=6).still()
    frames, masks = separated(clip)
    assert masks.all()
    assert np.abs(frames.astype(int) - clip.frames).max() <= 2, "each part is rounded to a whole level"


def test_a_moved_disc_leaves_none_of_its_colour_on_the_wall():
    clip = disc_before_wall()
    share = disc(shift=SHIFT * SIDE / NEAR)
    truth = share[..., None] * RED + (1 - share[..., None]) * BLUE
    frames, masks = separated(clip)
    source, target = clip.cameras()
    plain = WarpRenderer().render(clip.frames, clip.depth, source, target)
    seen = (masks[0] > 0) & (plain.masks[0] > 0)
    wall_only = seen & (share == 0)

    def red(image: np.ndarray) -> int:
        return int((np.abs(image[0].astype(float) - BLUE).max(axis=-1) > 25)[wall_only].sum())

    assert red(plain.frames) > 20, "the published splat does leave specks"
    assert red(frames) <= 2
    assert psnr(frames[0][seen], truth[seen]) > psnr(plain.frames[0][seen], truth[seen]) + 3


def test_depth_that_is_a_pixel_off_is_put_right_by_the_picture():
    """Estimated depth ends a little beside the picture's edges; the colours say where the disc ends."""
    clip = disc_before_wall()
    late = Clip(**{**clip.__dict__, "depth": np.roll(clip.depth, 1, axis=2)})
    share = disc(shift=SHIFT * SIDE / NEAR)
    truth = share[..., None] * RED + (1 - share[..., None]) * BLUE
    source, target = clip.cameras()
    plain = WarpRenderer().render(late.frames, late.depth, source, target)
    frames, masks = separated(late)
    seen = (masks[0] > 0) & (plain.masks[0] > 0)
    assert psnr(frames[0][seen], truth[seen]) > psnr(plain.frames[0][seen], truth[seen]) + 3


def test_the_two_parts_of_a_pixel_give_it_back():
    clip = disc_before_wall(grain=6)
    parts = separate(clip.frames, clip.depth, threads=1)
    edge = parts.edges[0]
    assert 0 < ((edge.alphas > 0) & (edge.alphas < 1)).sum() < 0.1 * SIDE * SIDE
    alpha = edge.alphas[:, None]
    whole = alpha * edge.colours + (1 - alpha) * parts.frames[0][edge.rows, edge.columns]
    assert np.abs(whole - clip.frames[0][edge.rows, edge.columns]).max() <= 1


def test_a_surface_without_edges_that_moves_by_whole_pixels_is_the_published_splat():
    clip = wall(target=disc_before_wall().target[0])
    source, target = clip.cameras()
    plain = WarpRenderer().render(clip.frames, clip.depth, source, target)
    frames, masks = separated(clip)
    assert np.array_equal(frames, plain.frames)
    assert np.array_equal(masks, plain.masks)


def test_unknown_depth_is_no_edge_and_threads_change_nothing():
    clip = hills()
    one, three = separated(clip), separated(clip, threads=3)
    assert np.array_equal(one[0], three[0])
    assert np.array_equal(one[1], three[1])


def test_the_near_side_of_an_edge_is_as_good_as_the_published_splat():
    """Beside its outline a textured thing is drawn from all its pixels, not from those of one layer alone."""
    clip = disc_before_wall()
    rows, columns = np.mgrid[:SIDE, :SIDE]

    def texture(at: np.ndarray) -> np.ndarray:
        return 40 * np.sin(at[..., 0] / 1.7) * np.cos(at[..., 1] / 2.1)

    def picture(shift: float) -> np.ndarray:
        share = disc(shift)[..., None]
        stripes = texture(np.stack([rows, columns + shift], axis=-1))[..., None]
        return np.clip(share * (RED * 0.7 + stripes) + (1 - share) * BLUE, 0, 255)

    target = clip.target.copy()
    target[..., 0, 3] = -NEAR * 4.5 / SIDE  # the disc moves by 4.5 pixels, between the pixels of the frame
    moved = Clip(
        **{**clip.__dict__, "frames": picture(0)[None].astype(np.uint8), "target": target},
    )
    truth = picture(4.5)
    source, cameras = moved.cameras()
    plain = WarpRenderer().render(moved.frames, moved.depth, source, cameras).frames[0]
    rim = (disc(4.5) == 1) & (cv2.erode((disc(4.5) == 1).astype(np.uint8), np.ones((9, 9))) == 0)
    frames, _ = separated(moved)
    assert psnr(frames[0][rim], truth[rim]) > psnr(plain[rim], truth[rim]) - 0.3
