"""The two loops: the picture follows the camera and time at once, the generator follows when it can."""

from __future__ import annotations

import itertools
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.live import FakeGenerator, nan_depth, served, soft_scene
from support.networks import make_worldfm
from support.outlines import BLUE, NEAR, SHIFT, SIDE, disc, disc_before_wall
from support.panoramas import box_panorama
from support.scenes import Clip, noise_scene, scene_of, wall

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.cameras.timeline import Timeline
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.generation.worldfm.still_scene import panorama_scene
from inspatio.live.compose import Composer, GeneratedFrame, fill_depth
from inspatio.live.display import SETTLED
from inspatio.live.motion import Motion, clamped, slewed
from inspatio.live.picture_header import PictureHeader
from inspatio.live.points import MOST_POINTS
from inspatio.live.sources import CHUNK, CachedSource
from inspatio.render import WarpRenderer

FRAMES = 12


def test_a_picture_shows_the_newest_pose_and_time(tmp_path: Path):
    with served(noise_scene(FRAMES), FakeGenerator(), tmp_path) as live, live.page() as page:
        seq = page.pose((0.05, 0.0, 0.1))
        header = page.picture(seq)
        assert header.position == pytest.approx((0.05, 0.0, 0.1))
        assert header.source_frame == 0
        page.send("time", seek=7)
        assert page.until(lambda got: getattr(got, "source_frame", None) == 7).seq == seq
        page.send("time", rate=1)
        page.until(lambda got: getattr(got, "source_frame", 7) != 7)
        page.send("time", rate=0)
        page.wait("status", rate=0)
        stands = live.world.status().source_frame
        page.pose((0.1, 0.0, 0.0))
        time.sleep(0.2)
        assert live.world.status().source_frame == stands, "time stands while the camera moves"


def test_flying_through_a_panorama_frame_by_frame(tmp_path: Path):
    """The frame model makes one picture a step, for the camera of now; time stands, and the whole room is seen."""
    size = (48, 64)
    scene = panorama_scene(*box_panorama(64), size).scene
    with served(scene, make_worldfm(size), tmp_path) as live, live.page() as page:
        assert live.world.facts().frames == 1
        page.picture(page.pose((0.0, 0.0, 0.1)))
        assert page.picture(page.pose((0.1, 0.0, 0.3))).position == pytest.approx((0.1, 0.0, 0.3))
        log = live.world.generation.log

        def arrived() -> bool:
            return bool(log) and np.allclose(invert(log[-1].world_to_camera)[0, :3, 3], (0.1, 0.0, 0.3), atol=1e-9)

        ends = time.monotonic() + 20
        while not arrived() and time.monotonic() < ends:
            page.receive(0.1)
        assert arrived()
        assert {event.source_frames for event in log} == {(0,)}
        assert live.world.status().coverage > 0.95


def test_a_portrait_photo_is_flown_through_without_end(tmp_path: Path):
    """In the turned frame of a generator of wide ones, with the principal point of the photo's calibration."""
    photo = noise_scene(1, size=(48, 32))
    lens = photo.intrinsics + np.array([[0, 0, 5], [0, 0, -3], [0, 0, 0]])
    scene = replace(photo, intrinsics=lens, calibrated=True, still=True, timeline=Timeline([0], "hold"))
    with served(scene, PreviewGenerator((32, 48), threads=1, live=True), tmp_path) as live, live.page() as page:
        assert live.world.facts().size == (48, 32)
        np.testing.assert_array_equal(live.world.intrinsics, lens[0])
        ends, log = time.monotonic() + 20, live.world.generation.log
        for i in itertools.count():
            page.picture(page.pose((0.01 * (1 + i % 7), 0.0, 0.0)))
            if sum(len(event.source_frames) for event in log) > 20 or time.monotonic() > ends:
                break
        assert sum(len(event.source_frames) for event in log) > 20
        assert {frame for event in log for frame in event.source_frames} == {0}


def test_nothing_is_drawn_while_nothing_changes(tmp_path: Path):
    with served(noise_scene(FRAMES), FakeGenerator(), tmp_path) as live, live.page() as page:
        page.picture(page.pose((0.05, 0.0, 0.1)))
        while page.receive(0.5) is not None:
            pass
        drawn, blocks = len(page.pictures), len(live.world.generation.log)
        page.receive(0.5)
        assert len(page.pictures) == drawn
        assert len(live.world.generation.log) == blocks
        assert live.world.generation.state == "resting"


def test_the_generator_is_fed_the_time_of_the_person(tmp_path: Path):
    """Paused it gets one frame again and again, backward it gets them backward."""
    generator = FakeGenerator()
    with served(noise_scene(60), generator, tmp_path) as live, live.page() as page:
        for i in range(5):
            page.send("time", rate=0, seek=30)
            page.picture(page.pose((0.01 * i, 0.0, 0.0)))
        page.send("time", rate=-1)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            page.receive(0.05)
    sources = generator.sessions[0].sources
    log = live.world.generation.log
    assert [frame for event in log for frame in event.source_frames] == sources
    assert sources.count(30) >= 3
    backward = sources[max(i for i, frame in enumerate(sources) if frame == 30) + 1 :]
    assert backward
    assert sorted(backward, reverse=True)[0] <= 30
    assert min(backward) < 29


@pytest.mark.parametrize("kind", ["raises", "nan"])
def test_a_generator_that_fails_does_not_end_the_picture(tmp_path: Path, kind: str):
    generator = FakeGenerator(
        nan_depth if kind == "nan" else lambda block: ValueError("broken") if block == 1 else None
    )
    with served(noise_scene(FRAMES), generator, tmp_path) as live, live.page() as page:
        page.pose((0.01, 0.0, 0.0))
        page.send("time", rate=1)
        page.wait("status", generator="failed")
        assert page.picture(page.pose((0.3, 0.0, 0.0))).position[0] == pytest.approx(0.3)
        generator.fails = lambda block: None
        page.send("restart")
        page.until(lambda got: getattr(got, "flags", 0) > 0)
        assert len(generator.sessions) == 2


def test_coming_back_gives_the_wheel_and_the_place(tmp_path: Path):
    with served(noise_scene(FRAMES), FakeGenerator(), tmp_path) as live:
        with live.page() as page:
            page.picture(page.pose((0.25, 0.0, 0.0)))
            key = page.welcome["resume"]
        with live.page() as other:
            assert other.welcome["driver"], "nobody else is there"
            with live.page(resume=key) as page:
                assert page.welcome["driver"]
                assert page.welcome["resume"] == key
                assert page.welcome["state"]["position"] == [0.25, 0.0, 0.0]


def test_layers(tmp_path: Path):
    scene = soft_scene(3)
    with served(scene, FakeGenerator(), tmp_path) as live, live.page() as page:
        shown = {}
        page.picture(page.pose((0.4, 0.0, 0.0), follow=True))
        for layer in ("result", "render", "holes", "depth", "source", "wipe"):
            page.send("view", layer=layer)
            while page.receive(0.3) is not None:
                pass
            image = cv2.imdecode(np.frombuffer(page.data, np.uint8), cv2.IMREAD_COLOR_RGB)
            shown[layer] = np.asarray(image).astype(int)
    black = {layer: float((image.max(-1) < 8).mean()) for layer, image in shown.items()}
    assert black["render"] > black["result"] + 0.02, "the render has holes, the result none"
    assert np.abs(shown["source"] - scene.read_frames([0])[0]).mean() < 6
    half = scene.size[1] // 2
    assert np.abs(shown["wipe"][:, : half - 8] - shown["source"][:, : half - 8]).mean() < 3
    assert np.abs(shown["wipe"][:, half + 8 :] - shown["result"][:, half + 8 :]).mean() < 3
    assert np.abs(shown["holes"] - shown["result"]).mean() > 1


def test_two_branches_side_by_side():
    made, clip = composer(False), wall()

    def generated(grey: int) -> GeneratedFrame:
        camera = Cameras.from_poses(np.eye(4)[None], clip.source_intrinsics[0])
        image, depth = np.full((24, 32, 3), grey, np.uint8), np.full((24, 32), 4, np.float32)
        return GeneratedFrame(1, 1, 0.0, 0.0, image, depth, camera, 0)

    picture = made.compose(0, np.eye(4), generated(200), "branches", generated(50)).image
    assert (picture[:, :15] == 50).all()
    assert (picture[:, 17:] == 200).all()


def test_points_of_the_scene(tmp_path: Path):
    """What the page unpacks are the source's pixels at their depth."""
    scene = soft_scene(9)
    with served(scene, FakeGenerator(), tmp_path) as live:
        data = live.get("/points.bin").body
    count = (len(data) - 4) // 9
    scale = np.frombuffer(data[:4], "<f4")[0]
    places = np.frombuffer(data[4 : 4 + 6 * count], "<i2").reshape(-1, 3) * scale
    colours = np.frombuffer(data[4 + 6 * count :], np.uint8).reshape(-1, 3)
    assert 1000 < count <= MOST_POINTS
    assert len(colours) == count
    assert set(np.round(places[:, 2], 1)) == {1.5, 4.0}
    first = places[: scene.size[0] * scene.size[1] // 4]
    image = scene.read_frames([0])[0]
    pixels = np.rint(first @ scene.intrinsics[0].T / first[:, 2:])[:, :2].astype(int)
    inside = (pixels >= 0).all(1) & (pixels < [160, 96]).all(1)
    near = np.abs(image[pixels[inside, 1], pixels[inside, 0]].astype(int) - colours[: len(first)][inside])
    assert np.median(near) <= 2


def composer(source_first: bool, clip: Clip | None = None) -> Composer:
    scene = scene_of(clip or wall())
    frames, depth = CachedSource(scene.frames, 10**8), CachedSource(scene.depth, 10**8)
    return Composer(scene, frames, depth, WarpRenderer(threads=1), scene.intrinsics[0], source_first=source_first)


@pytest.mark.parametrize("source_first", [True, False])
def test_the_source_or_the_generator_comes_first(source_first: bool):
    clip = wall()
    made = composer(source_first)
    generated = GeneratedFrame(
        1, 1, 0.0, 0.0, np.full((24, 32, 3), 9, np.uint8), np.full((24, 32), 4, np.float32),
        Cameras.from_poses(np.eye(4)[None], clip.source_intrinsics[0]), 0,
    )  # fmt: skip
    picture = made.compose(0, np.eye(4), generated, "result")
    assert picture.coverage == 1.0
    expected = clip.frames[0] if source_first else generated.image
    assert np.array_equal(picture.image, expected)
    assert np.array_equal(made.compose(0, np.eye(4), None, "result").image, clip.frames[0])


def test_drawing_fills_everything_and_changes_nothing():
    made = composer(True)
    aside = np.eye(4)
    aside[0, 3] = 2.0
    first = made.compose(0, aside, None, "result")
    assert first.coverage < 0.9
    assert (first.image.max(-1) > 0).all()
    made.compose(0, np.eye(4), None, "holes")
    assert np.array_equal(made.compose(0, aside, None, "result").image, first.image)


def test_the_display_takes_outlines_apart():
    """A disc leaves none of its colour on the wall; the layer of what the generator gets is the plain splat."""
    clip = disc_before_wall()
    made, aside = composer(True, clip), np.eye(4)
    aside[0, 3] = SHIFT
    plain = made.compose(0, aside, None, "render").image
    shown = made.compose(0, aside, None, "result").image
    wall_only = (disc(SHIFT * SIDE / NEAR) == 0) & (plain.max(-1) > 0)

    def red(image: np.ndarray) -> int:
        return int((np.abs(image.astype(float) - BLUE).max(-1) > 25)[wall_only].sum())

    assert red(plain) > 20
    assert red(shown) <= 2
    source, camera = clip.cameras()
    assert np.array_equal(plain, WarpRenderer(threads=1).render(clip.frames, clip.depth, source, camera).frames[0])


def test_outlines_are_taken_apart_when_the_camera_rests(tmp_path: Path):
    """While it moves a picture is to be there soon; then the same pose is drawn again."""
    clip = disc_before_wall()
    source, camera = clip.cameras()
    seen = WarpRenderer(threads=1).render(clip.frames, clip.depth, source, camera).masks[0] > 0
    wall_only = (disc(SHIFT * SIDE / NEAR) == 0) & seen
    specks = []
    with served(scene_of(clip), FakeGenerator(), tmp_path) as live, live.page() as page:
        header = page.picture(page.pose((SHIFT, 0.0, 0.0)))
        end = time.monotonic() + 10 * SETTLED
        while time.monotonic() < end or len(specks) < 2:
            if isinstance(header, PictureHeader):
                drawn = cv2.imdecode(np.frombuffer(page.data, np.uint8), cv2.IMREAD_COLOR_RGB)
                specks.append(int((np.asarray(drawn, float)[..., 0] > BLUE[0] + 60)[wall_only].sum()))
            header = page.receive(0.1)
    assert specks[0] > 2 * specks[-1]


def test_outlines_are_left_whole_where_it_is_asked_for():
    """As in motion: what the source shows is then the plain splat, and nothing is laid over it."""
    made, aside = composer(True), np.eye(4)
    aside[0, 3] = 0.5
    plain = made.compose(0, aside, None, "result", outlines=False)
    render = made.compose(0, aside, None, "render")
    seen = render.image.max(-1) > 0
    assert plain.coverage == render.coverage
    assert np.array_equal(plain.image[seen], render.image[seen])


def test_holes_in_depth_become_background():
    depth = np.full((40, 60), 1.0, np.float32)
    depth[:, 30:] = 5.0
    depth[:, 26:34] = 0
    filled = fill_depth(depth)
    assert np.array_equal(filled[depth > 0], depth[depth > 0])
    assert filled[:, 30].min() > 2.5


def test_the_motion_is_predicted_and_limited():
    motion = Motion(np.eye(4), np.array([0.0, 0.0, 2.0]), np.array([0.0, np.pi, 0.0]))
    assert np.allclose(motion.after(0.5)[:3, 3], [0, 0, 1])
    assert np.allclose(motion.after(0.5)[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-9), "turned to the right"
    assert np.allclose(motion.after(60.0), motion.after(1.0))
    turned = slewed(np.eye(4), motion.after(0.5), 0.8)
    assert np.degrees(np.arccos((np.trace(turned[:3, :3]) - 1) / 2)) == pytest.approx(0.8)
    far = np.eye(4)
    far[:3, 3] = [0, 0, 100]
    assert np.allclose(clamped(far, np.zeros((3, 3)), 2.0)[:3, 3], [0, 0, 40])


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux only")
def test_a_generator_on_the_cpu_leaves_the_cores_to_the_display(tmp_path: Path):
    with served(noise_scene(FRAMES), FakeGenerator(), tmp_path) as live, live.page() as page:
        if not page.picture(page.pose((0.1, 0.0, 0.0))).generated:
            page.until(lambda got: getattr(got, "generated", 0) > 0)
        generation, display = (
            os.getpriority(os.PRIO_PROCESS, thread.native_id or 0)
            for thread in (live.world.generation, live.world.display)
        )
    assert generation > display


def test_reading_backward_costs_a_seek_for_a_chunk():
    reads = []

    class Source:
        def __len__(self) -> int:
            return 100

        def read(self, indices) -> np.ndarray:
            reads.append(list(indices))
            return np.array(indices)[:, None]

    cached = CachedSource(Source(), 3 * CHUNK * 8)  # pyright: ignore[reportArgumentType]
    assert [int(cached.one(i)[0]) for i in range(99, -1, -1)] == list(range(99, -1, -1))
    assert len(reads) == -(-100 // CHUNK)
    assert all(read == sorted(read) for read in reads)
    assert cached.read([3, 99, 40]).ravel().tolist() == [3, 99, 40]
    assert sum(chunk.nbytes for chunk in cached._chunks.values()) <= 3 * CHUNK * 8
