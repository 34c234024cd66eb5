"""Laws of the preview: the render stays, the past stays, places stay, and memory does not grow."""

from __future__ import annotations

import time

import numpy as np
import pytest
from support.scenes import (
    ROOM_FRAMES,
    ROOM_SIZE,
    frames_of,
    make_scene,
    moments,
    orbit,
    psnr,
    room,
    room_intrinsics,
    room_scene,
    targets,
)

from inspatio.cameras import poses as cameras
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.generation.base import drive
from inspatio.generation.preview.memory import Camera, Keyframe, SceneMemory, init_memory
from inspatio.generation.preview.session import (
    LIVE_COMPLETION_BLOCKS,
    PreviewGenerator,
    PreviewOptions,
    PreviewSession,
    describe_preview,
)
from inspatio.render import Renderer, WarpRenderer, render_scene
from inspatio.render.matting import render_separated
from inspatio.scene import Scene


def start(scene: Scene, *, renderer: Renderer | None = None, threads: int = 2, **options) -> PreviewSession:
    return PreviewGenerator(scene.size, renderer, PreviewOptions(**options), threads).start(scene, seed=0)


def play(scene: Scene, poses: np.ndarray, **options) -> np.ndarray:
    return frames_of(start(scene, **options), targets(scene, poses))


def test_what_the_render_covers_stays():
    path, places = targets(room(), orbit(ROOM_FRAMES)), range(ROOM_FRAMES)
    frames, depths = room().read_frames(places), room().read_depth(places)
    render, soft = render_separated(frames, depths, room().cameras(places), path, threads=2)
    blocks = list(drive(start(room()), path))
    covered = render.masks > 0
    assert 0.02 < 1 - covered.mean() < 0.5, "the orbit must uncover something"
    stays = covered.copy()
    for i, edges in enumerate(soft):
        stays[i, edges.rows, edges.columns] = False  # the soft rims of near things are laid over it
    assert stays.sum() > 0.8 * covered.sum()
    assert np.array_equal(np.concatenate([block.frames.numpy() for block in blocks])[stays], render.frames[stays])
    assert np.array_equal(
        np.concatenate([block.coverage for block in blocks if block.coverage is not None]), render.masks
    )
    assert render.depth is not None
    depth = np.concatenate([block.depth for block in blocks if block.depth is not None])
    assert np.array_equal(depth[covered], render.depth[covered])
    assert (depth[~covered] > 0).mean() > 0.5, "the memory knows the depth of most holes"


def test_neither_seed_nor_threads_nor_an_earlier_session_matter():
    generator, path = PreviewGenerator(ROOM_SIZE), targets(room(), orbit(ROOM_FRAMES))
    first = frames_of(generator.start(room(), seed=1), path)
    assert np.array_equal(first, frames_of(generator.start(room(), seed=2), path))
    assert np.array_equal(first, play(room(), orbit(ROOM_FRAMES), threads=1))


def test_new_cameras_never_change_the_past():
    kept = start(room()).block_frames
    straight, turning = orbit(ROOM_FRAMES), orbit(ROOM_FRAMES)
    turning[kept:] = orbit(ROOM_FRAMES, -20.0)[kept:]
    ways = [play(room(), path) for path in (straight, turning)]
    assert np.array_equal(ways[0][:kept], ways[1][:kept])
    assert not np.array_equal(ways[0][-1], ways[1][-1])


def test_a_still_scene_from_a_still_camera_does_not_flicker():
    scene = room().select([0] * ROOM_FRAMES)
    away = np.tile(orbit(2, 12.0)[-1:], (ROOM_FRAMES, 1, 1))
    result = play(scene, away)
    assert (render_scene(WarpRenderer(), scene, 0, targets(scene, away[:1])).masks == 0).mean() > 0.05
    assert np.array_equal(result, np.broadcast_to(result[0], result.shape))


def test_what_was_made_up_is_still_there_on_the_way_back():
    scene = room().select([0] * ROOM_FRAMES)
    there_and_back = np.concatenate([orbit(15, 12.0), orbit(15, 12.0)[::-1]])
    result = play(scene, there_and_back)
    for place in (9, 12, 14):
        assert psnr(result[place], result[ROOM_FRAMES - 1 - place]) > 35


def test_other_frames_show_what_is_hidden():
    """Places that only other frames saw look as they are, and better than made up ones."""
    scene, world_to_camera = room(), np.tile(np.eye(4), (ROOM_FRAMES, 1, 1))
    masks = render_scene(WarpRenderer(), scene, 0, targets(scene, world_to_camera)).masks
    place = ROOM_FRAMES - 1
    holes = masks[place] == 0
    assert holes.mean() > 0.03
    true = truth.true_view(moments()[place], np.eye(4), room_intrinsics(), ROOM_SIZE)
    seen = play(scene, world_to_camera)[place]
    guessed = play(scene.select([place] * ROOM_FRAMES), world_to_camera)[place]
    assert psnr(seen[holes], true[holes]) > 20  # pictures of 160x96 show textures no better
    assert psnr(seen[holes], true[holes]) > psnr(guessed[holes], true[holes]) + 4


def test_things_that_move_leave_no_ghosts():
    """No remembered point is where the ball was, as long as another frame looks through that place."""
    points = np.concatenate([keyframe.points for keyframe in init_memory(room(), 8, threads=1)])
    in_room = points @ truth.WORLD_TO_ROOM[:3, :3].T + truth.WORLD_TO_ROOM[:3, 3]
    for moment in moments()[4:-4]:
        ball = truth._ball(moment)
        assert (np.linalg.norm(in_room - ball[1:4], axis=1) > 0.95 * ball[4]).all()


def remembered(depth: np.ndarray) -> np.ndarray:
    """``h w``: what the memory holds of the first of several pictures by one camera, at the depth that it shows."""
    frames = np.zeros((*depth.shape, 3), np.uint8)
    intrinsics = np.array([[100.0, 0, 40], [0, 100, 25], [0, 0, 1]])
    scene = make_scene(frames, depth, np.tile(np.eye(4), (len(depth), 1, 1)), intrinsics)
    x, y, z = init_memory(scene, len(depth), threads=1)[0].points.T
    held = np.zeros(depth.shape[1:], bool)
    held[np.rint(y / z * 100 + 25).astype(int), np.rint(x / z * 100 + 40).astype(int)] = True
    return held


def test_a_floor_that_is_seen_flat_is_remembered_and_the_outline_of_what_stands_on_it_is_not():
    inverse = np.repeat(np.linspace(0.03, 1, 50)[:, None], 80, axis=1)
    assert remembered(1 / inverse[None]).all()
    inverse[20:40, 30:50] = 1.2
    held = remembered(1 / inverse[None])
    assert not held[17:43, 47:53].any(), "colours beside the outline are mixtures"
    assert held[5:12].all(), "the floor farther away"
    assert held[24:36, 34:46].all(), "the middle of the thing"


def test_depth_that_is_wrong_in_one_frame_loses_no_place():
    depth = np.full((5, 50, 80), 2.0)
    depth[2, 10:30, 20:40] = 4
    assert remembered(depth).all()


def test_a_sky_whose_depth_is_never_the_same_is_remembered():
    depth = np.full((5, 50, 80), 2.0)
    depth[:, :20] = np.random.default_rng(0).uniform(80, 200, (5, 20, 80))
    held = remembered(depth)
    assert held[3:16, 3:-3].all()
    assert held[24:].all()


def test_memory_is_bounded():
    scene = room().select(list(range(ROOM_FRAMES)) * 4)
    session = start(scene, observed=3, completed=2, gap=0.0)
    rng = np.random.default_rng(3)
    angles = rng.uniform(-25, 25, (2, len(scene)))
    frames_of(session, targets(scene, cameras.invert(cameras.orbit(angles[0], angles[1], 2.0))))
    assert len(session.memory.keyframes) == 3 + 2
    wide = 1.5 * 1.5 * ROOM_SIZE[0] * ROOM_SIZE[1]
    points = sum(len(keyframe.points) for keyframe in session.memory.keyframes)
    assert points <= 3 * ROOM_SIZE[0] * ROOM_SIZE[1] + 2 * wide


def keyframe(value: int) -> Keyframe:
    """One point at depth 1, 2, ... straight ahead, with a picture of one colour."""
    camera = Camera(np.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]), np.eye(4), (8, 8))
    return Keyframe(np.full((8, 8, 3), value, np.uint8), camera, np.array([[0, 0, 300 - value]], np.float32))


def test_memory_forgets_the_oldest_that_is_not_pinned():
    memory = SceneMemory(2)
    pinned, first, second = keyframe(1), keyframe(2), keyframe(3)
    memory.add(first)
    memory.add(pinned, pinned=True)
    memory.add(second)
    assert memory.keyframes == [pinned, second]


def test_memory_of_pinned_keyframes_alone_is_full():
    memory = SceneMemory(1)
    memory.add(keyframe(1), pinned=True)
    with pytest.raises(ValueError, match="pinned"):
        memory.add(keyframe(2))


def test_every_keyframe_is_told_from_every_other():
    """As many as a memory may hold; one more would need another type for the owner of a point."""
    memory = SceneMemory(256)
    for value in range(256):
        memory.add(keyframe(value))
    view = memory.render_view(keyframe(0).camera, np.ones((8, 8), np.uint8))
    assert (view.image[4, 4] == 255).all()
    assert view.depth[4, 4] == 300 - 255
    with pytest.raises(ValueError, match="256"):
        SceneMemory(257)


@pytest.mark.parametrize("options", [{"completed": 0}, {"observed": 250, "completed": 7}])
def test_options_that_leave_no_room(options: dict[str, int]):
    with pytest.raises(ValueError, match="expected"):
        PreviewOptions(**options)


@pytest.mark.parametrize("count", [1, 2])
def test_very_short_clips(count: int):
    result = play(room().select(range(count)), orbit(count, 8.0))
    assert result.shape == (count, *ROOM_SIZE, 3)


@pytest.mark.parametrize("size", [(16, 16), (16, 64)])
def test_tiny_frames(size):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, *size, 3), dtype=np.uint8)
    scene = room_scene(frames, np.full((3, *size), 2.0), np.tile(np.eye(4), (3, 1, 1)))
    assert play(scene, orbit(3, 20.0)).shape == frames.shape


def test_nothing_known_is_black_and_no_crash():
    scene = room()
    blind = room_scene(scene.read_frames([0, 1]), np.zeros((2, *ROOM_SIZE)), scene.world_to_camera[:2])
    assert not play(blind, orbit(2)).any()


def test_unknown_depth_is_filled_from_around():
    scene = room()
    depth = scene.read_depth(range(ROOM_FRAMES))
    depth[:, 30:50, 60:90] = 0
    patchy = room_scene(scene.read_frames(range(ROOM_FRAMES)), depth, scene.world_to_camera)
    result = play(patchy, np.tile(np.eye(4), (ROOM_FRAMES, 1, 1)))
    true = scene.read_frames([0])[0]
    assert np.abs(result[0, 30:50, 60:90].mean((0, 1)) - true[30:50, 60:90].mean((0, 1))).max() < 40


def test_the_description_names_every_option():
    base = describe_preview(ROOM_SIZE)
    assert base["name"] == "preview"
    assert base != describe_preview(ROOM_SIZE, PreviewOptions(observed=4))
    assert base != describe_preview((240, 416))


def test_a_live_session_takes_up_a_completed_view_at_one_and_the_same_block():
    """However long completing takes: the frames are the same each time, and no block before that is changed."""
    scene = room().select([0] * ROOM_FRAMES)
    away = targets(scene, np.tile(orbit(2, 12.0)[-1:], (2, 1, 1)))

    def fly(slow: bool) -> tuple[list[np.ndarray], PreviewSession]:
        session = PreviewGenerator(scene.size, options=PreviewOptions(observed=1), live=True).start(scene, seed=0)
        frames = []
        while not frames or not session.settled:
            frames.append(session.step(away).frames.numpy())
            if slow:
                time.sleep(0.01)
        frames.append(session.step(away).frames.numpy())
        return frames, session

    (first, session), (again, _) = fly(True), fly(False)
    assert len(first) == LIVE_COMPLETION_BLOCKS + 2
    assert np.array_equal(first, again)
    assert all(np.array_equal(first[0], block) for block in first[:-2])
    assert not np.array_equal(first[0], first[-1]), "the completed view is in the picture"
    assert np.array_equal(first[-2], first[-1])
    assert session.settled, "the same camera is not completed twice"
