"""Laws of the preview: the render stays, the past stays, places stay, and memory does not grow."""

from __future__ import annotations

import numpy as np
import pytest
from support.scenes import ROOM_FRAMES as FRAMES
from support.scenes import ROOM_SIZE as SIZE
from support.scenes import moments, orbit, psnr, room, room_scene
from support.scenes import room_intrinsics as intrinsics

from inspatio.cameras import poses as cameras
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.generation.base import BLOCK_FRAMES, FIRST_BLOCK_FRAMES
from inspatio.generation.preview.observe import observe
from inspatio.generation.preview.session import PreviewGenerator, PreviewOptions, PreviewSession
from inspatio.render import PointRenderer, WarpRenderer
from inspatio.render.live import LiveRenders
from inspatio.scene import Scene


def start(scene: Scene, *, seed: int = 0, threads: int = 2, renders=None, **options) -> PreviewSession:
    return PreviewGenerator(scene.size, PreviewOptions(**options), threads).start(scene, seed=seed, renders=renders)


def drive(session: PreviewSession, world_to_camera: np.ndarray) -> np.ndarray:
    frames, done = [], 0
    while done < len(world_to_camera) and (needed := session.frames_needed):
        block = session.step(world_to_camera[done : done + needed])
        assert block.start == done
        frames.append(block.frames.numpy())
        done += len(frames[-1])
    return np.concatenate(frames)


def test_blocks_are_nine_then_twelve_then_what_is_left():
    session, cameras_, sizes = start(room()), orbit(FRAMES), []
    while needed := session.frames_needed:
        done = sum(sizes)
        sizes.append(len(session.step(cameras_[done : done + needed]).frames))
    assert sizes == [FIRST_BLOCK_FRAMES, BLOCK_FRAMES, FRAMES - FIRST_BLOCK_FRAMES - BLOCK_FRAMES]


def test_what_the_render_covers_stays():
    renders = LiveRenders(room(), WarpRenderer())
    rendered, masks = renders.read(0, orbit(FRAMES))
    result = drive(start(room()), orbit(FRAMES))
    covered = masks > 0
    assert 0.02 < 1 - covered.mean() < 0.5, "the orbit must uncover something"
    assert np.array_equal(result[covered], rendered[covered])


@pytest.mark.parametrize("renderer", [WarpRenderer(), PointRenderer()])
def test_renders_from_elsewhere_are_kept_as_they_are(renderer):
    renders = LiveRenders(room(), renderer)
    rendered, masks = renders.read(0, orbit(FIRST_BLOCK_FRAMES))
    result = drive(start(room(), renders=renders), orbit(FIRST_BLOCK_FRAMES))
    assert np.array_equal(result[masks > 0], rendered[masks > 0])


def test_it_does_not_matter_who_renders():
    live = drive(start(room()), orbit(FRAMES))
    given = drive(start(room(), renders=LiveRenders(room(), WarpRenderer())), orbit(FRAMES))
    assert np.array_equal(live, given)


def test_neither_seed_nor_threads_nor_an_earlier_session_matter():
    generator = PreviewGenerator(SIZE)
    first = drive(generator.start(room(), seed=1), orbit(FRAMES))
    assert np.array_equal(first, drive(generator.start(room(), seed=2), orbit(FRAMES)))
    assert np.array_equal(first, drive(start(room(), threads=1), orbit(FRAMES)))


def test_new_cameras_never_change_the_past():
    straight, turning = orbit(FRAMES), orbit(FRAMES)
    turning[FIRST_BLOCK_FRAMES:] = orbit(FRAMES, -20.0)[FIRST_BLOCK_FRAMES:]
    ways = [drive(start(room()), path) for path in (straight, turning)]
    assert np.array_equal(ways[0][:FIRST_BLOCK_FRAMES], ways[1][:FIRST_BLOCK_FRAMES])
    assert not np.array_equal(ways[0][-1], ways[1][-1])


def test_a_still_scene_from_a_still_camera_does_not_flicker():
    scene = room().select([0] * FRAMES)
    away = np.tile(orbit(2, 12.0)[-1:], (FRAMES, 1, 1))
    result = drive(start(scene), away)
    assert (LiveRenders(scene, WarpRenderer()).read(0, away[:1])[1] == 0).mean() > 0.05
    assert np.array_equal(result, np.broadcast_to(result[0], result.shape))


def test_what_was_made_up_is_still_there_on_the_way_back():
    scene = room().select([0] * FRAMES)
    there_and_back = np.concatenate([orbit(15, 12.0), orbit(15, 12.0)[::-1]])
    result = drive(start(scene), there_and_back)
    for place in (9, 12, 14):
        assert psnr(result[place], result[FRAMES - 1 - place]) > 35


def test_other_frames_show_what_is_hidden():
    """Places that only other frames saw look as they are, and better than made up ones."""
    scene, world_to_camera = room(), np.tile(np.eye(4), (FRAMES, 1, 1))
    masks = LiveRenders(scene, WarpRenderer()).read(0, world_to_camera)[1]
    place = FRAMES - 1
    holes = masks[place] == 0
    assert holes.mean() > 0.03
    true = truth.true_view(moments()[place], np.eye(4), intrinsics(), SIZE)
    seen = drive(start(scene), world_to_camera)[place]
    guessed = drive(start(scene.select([place] * FRAMES)), world_to_camera)[place]
    assert psnr(seen[holes], true[holes]) > 20  # pictures of 160x96 show textures no better
    assert psnr(seen[holes], true[holes]) > psnr(guessed[holes], true[holes]) + 4


def test_things_that_move_leave_no_ghosts():
    """No remembered point is where the ball was, as long as another frame looks through that place."""
    points = np.concatenate([view.points for view in observe(room(), 8, threads=1)])
    in_room = points @ truth.WORLD_TO_ROOM[:3, :3].T + truth.WORLD_TO_ROOM[:3, 3]
    for moment in moments()[4:-4]:
        ball = truth._ball(moment)
        assert (np.linalg.norm(in_room - ball[1:4], axis=1) > 0.95 * ball[4]).all()


def test_memory_is_bounded():
    scene = room().select(list(range(FRAMES)) * 4)
    session = start(scene, observed=3, completed=2, gap=0.0)
    rng = np.random.default_rng(3)
    angles = rng.uniform(-25, 25, (2, len(scene)))
    drive(session, cameras.invert(cameras.orbit(angles[0], angles[1], 2.0)))
    assert len(session.memory.views) == 3 + 2
    wide = 1.5 * 1.5 * SIZE[0] * SIZE[1]
    assert session.memory.point_count <= 3 * SIZE[0] * SIZE[1] + 2 * wide


@pytest.mark.parametrize("count", [1, 2])
def test_very_short_clips(count: int):
    result = drive(start(room().select(range(count))), orbit(count, 8.0))
    assert result.shape == (count, *SIZE, 3)


@pytest.mark.parametrize("size", [(16, 16), (16, 64)])
def test_tiny_frames(size):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, *size, 3), dtype=np.uint8)
    scene = room_scene(frames, np.full((3, *size), 2.0), np.tile(np.eye(4), (3, 1, 1)))
    assert drive(start(scene), orbit(3, 20.0)).shape == frames.shape


def test_nothing_known_is_black_and_no_crash():
    scene = room()
    blind = room_scene(scene.read_frames([0, 1]), np.zeros((2, *SIZE)), scene.world_to_camera[:2])
    assert not drive(start(blind), orbit(2)).any()


def test_unknown_depth_is_filled_from_around():
    scene = room()
    depth = scene.read_depth(range(FRAMES))
    depth[:, 30:50, 60:90] = 0
    patchy = room_scene(scene.read_frames(range(FRAMES)), depth, scene.world_to_camera)
    result = drive(start(patchy), np.tile(np.eye(4), (FRAMES, 1, 1)))
    true = scene.read_frames([0])[0]
    assert np.abs(result[0, 30:50, 60:90].mean((0, 1)) - true[30:50, 60:90].mean((0, 1))).max() < 40


def test_the_fingerprint_names_every_option():
    base = PreviewGenerator().fingerprint()
    assert base["name"] == "preview"
    assert base != PreviewGenerator(options=PreviewOptions(observed=4)).fingerprint()
    assert base != PreviewGenerator((240, 416)).fingerprint()


def test_sizes_must_agree():
    with pytest.raises(AssertionError, match="expected"):
        PreviewGenerator((480, 832)).start(room(), seed=0)
