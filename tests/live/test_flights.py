"""What was flown is what is saved, and what is saved is what is rendered; the event log replays bit for bit."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.spatial.transform import Rotation
from support.clips import write_clip
from support.live import FakeGenerator, served, soft_scene
from support.networks import make_generator, make_worldfm
from support.scenes import noise_scene

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.controls import clip_order
from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.formats.gltf import write_gltf_camera
from inspatio.cameras.formats.matrices import write_matrices
from inspatio.cameras.poses import compose, invert
from inspatio.cameras.trajectory import FlightTrajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError, UsageError, UserError
from inspatio.generation.base import Generator
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.live.branches import MOST_SAMPLES, Samples
from inspatio.live.clock import SourceClock
from inspatio.live.compose import GeneratedFrame
from inspatio.live.flights import FlightFolder, Recorder
from inspatio.live.generation import replay, start_live
from inspatio.pipeline.cli import main, make_parser
from inspatio.pipeline.job import resolve
from inspatio.pipeline.live import make_deterministic, offline_plan
from inspatio.render.splat import pixel_maps
from inspatio.render.splat_torch import draw_in_chunks
from inspatio.scene import adapt


def flown(count: int, seed: int = 0) -> FlightTrajectory:
    rng = np.random.default_rng(seed)
    rotations = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.02, (count, 3)), axis=0)).as_matrix()
    poses = compose(rotations, np.cumsum(rng.normal(0, 0.05, (count, 3)), axis=0))
    return FlightTrajectory(poses, tuple(rng.integers(0, 10, count).tolist()))


@given(some.integers(1, 30), some.integers(0, 1000))
@settings(max_examples=20)
def test_a_saved_flight_is_the_flight(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int):
    flight = flown(count, seed)
    path = tmp_path_factory.mktemp("flight") / "one.txt"
    path.write_text(write_matrices(flight.key_poses, flight.source_frames), encoding="utf-8")
    loaded = load_trajectory(path)
    assert isinstance(loaded, FlightTrajectory)
    assert loaded.source_frames == flight.source_frames
    assert np.abs(loaded.key_poses - flight.key_poses).max() < 1e-12


def test_a_flight_plays_the_clip_as_it_was_flown():
    """Whatever adaptive frames would do; cameras are the flown ones at each place."""
    flight = flown(25)
    scene, cameras = adapt(noise_scene(10), flight, Controls())
    assert flight.source_frames is not None
    assert scene.source_frames(range(len(scene))) == list(flight.source_frames)
    assert np.abs(invert(cameras.world_to_camera) - flight.key_poses).max() < 1e-12


def test_a_flight_of_another_clip_is_refused():
    with pytest.raises(ClipError, match="has 5 frames"):
        clip_order(5, flown(25), Controls())
    with pytest.raises(ClipError, match="freeze"):
        clip_order(10, flown(25), Controls(freeze_repeat=3))


@pytest.mark.parametrize("first", ["-1", "0.5"])
def test_a_source_frame_is_a_whole_number(tmp_path: Path, first: str):
    path = tmp_path / "one.txt"
    path.write_text(f"# camera_to_world unit=scene source_time=frames\n{first} 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n")
    with pytest.raises(UsageError, match="line 2"):
        load_trajectory(path)


def test_the_recorder_samples_at_the_rate_of_the_clip():
    """However often it is told of the camera: straight between what it was told, and the clock's own frames."""
    clock = SourceClock(100, 10.0)
    recorder = Recorder(10.0, clock, 5.0, np.eye(4))
    clock.set_rate(5.0, 1.0)
    for now in (5.04, 5.13, 5.55, 6.0):
        camera = np.eye(4)
        camera[0, 3] = now - 5
        recorder.moved(now, camera)
    flight = recorder.trajectory()
    assert len(recorder) == 11
    assert np.allclose(flight.key_poses[:, 0, 3], np.arange(11) / 10)
    assert flight.source_frames == tuple(range(11))


def test_names_of_flights(tmp_path: Path):
    folder = FlightFolder(tmp_path)
    assert [folder.save(flown(3)).name, folder.save(flown(4)).name] == ["flight-1", "flight-2"]
    folder.rename("flight-1", "over-the-table")
    with pytest.raises(UserError, match="taken"):
        folder.rename("flight-2", "over-the-table")
    with pytest.raises(UserError, match="none of that name"):
        folder.delete("flight-1")
    assert [each.name for each in FlightFolder(tmp_path).all()] == ["flight-2", "over-the-table"]


def test_gltf_is_the_same_path_in_its_axes():
    flight = flown(5)
    lens = np.array([[500, 0, 415.5], [0, 500, 239.5], [0, 0, 1.0]])
    cameras = Cameras.from_poses(invert(flight.key_poses), lens)
    document = json.loads(write_gltf_camera(cameras, 24.0, (480, 832)))
    data = base64.b64decode(document["buffers"][0]["uri"].partition(",")[2])

    def read(number: int, width: int) -> np.ndarray:
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        values = np.frombuffer(data, "<f4", accessor["count"] * width, view["byteOffset"])
        return values.reshape(-1, width).astype(np.float64)

    samplers = document["animations"][0]["samplers"]
    assert np.allclose(read(samplers[0]["input"], 1)[:, 0], np.arange(5) / 24)
    rotations = Rotation.from_quat(read(samplers[1]["output"], 4)).as_matrix()
    looks, ups = rotations @ [0, 0, -1], rotations @ [0, 1, 0]
    flip = np.array([1, -1, -1])
    assert np.allclose(looks, flight.key_poses[:, :3, 2] * flip, atol=1e-6)
    assert np.allclose(ups, -flight.key_poses[:, :3, 1] * flip, atol=1e-6)
    assert np.allclose(read(samplers[0]["output"], 3), flight.key_poses[:, :3, 3] * flip, atol=1e-6)


def test_a_recorded_flight_is_what_was_shown(tmp_path: Path):
    """Every picture that was shown while recording lies on the saved path, at the time it says."""
    with served(noise_scene(60), FakeGenerator(), tmp_path) as live, live.page() as page:
        page.picture(page.pose((0.001, 0.0, 0.0)))
        page.send("record", action="start")
        page.wait("status")
        start = time.monotonic()
        page.send("time", rate=1)
        while time.monotonic() - start < 1.0:
            page.picture(page.pose((time.monotonic() - start + 0.01, 0.0, 0.0)))
        page.send("record", action="stop", name="one")
        told = page.until(lambda got: isinstance(got, dict) and got["type"] == "flights" and got["flights"])
        assert told["flights"][0]["name"] == "one"
        text = live.get("/" + told["flights"][0]["url"]).body
        assert live.get("/" + told["flights"][0]["gltf"]).status == 200
    path = tmp_path / "flights" / "one.txt"
    assert path.read_bytes() == text
    flight = load_trajectory(path)
    assert isinstance(flight, FlightTrajectory)
    assert flight.source_frames is not None
    steps = np.diff(flight.source_frames)
    assert len(flight.source_frames) >= 20
    assert set(steps.tolist()) <= {0, 1}
    assert steps.mean() > 0.7, "time ran as filmed"
    positions = flight.key_poses[:, 0, 3]
    assert (np.diff(positions) >= -1e-9).all()
    assert positions[-1] > 0.7


def test_a_flight_that_is_being_recorded_survives_the_end(tmp_path: Path):
    with served(noise_scene(10), FakeGenerator(), tmp_path) as live, live.page() as page:
        page.send("record", action="start")
        page.picture(page.pose((0.1, 0.0, 0.0)))
        live.stop()
        time.sleep(0.1)
    assert [each.name for each in FlightFolder(tmp_path / "flights").all()] == ["flight-1"]


def test_the_event_log_replays_bit_for_bit(tmp_path: Path):
    """A flight with turns, a pause and time running backward, through the preview: the same frames again."""
    generator = PreviewGenerator(soft_scene(12).size, threads=1, live=True)
    made = []
    session_of = generator.start

    def start(scene, *, seed):
        session = session_of(scene, seed=seed)
        step = session.step

        def kept(cameras):
            made.append(step(cameras))
            return made[-1]

        session.step = kept
        return session

    generator.start = start  # pyright: ignore[reportAttributeAccessIssue]
    with served(soft_scene(12), generator, tmp_path) as live, live.page() as page:
        for i, rate in enumerate([1, 0, -1]):
            page.send("time", rate=rate)
            for k in range(4):
                before = len(made)
                page.pose((0.1 * i + 0.02 * k, 0.0, 0.0))
                page.until(lambda got, before=before: len(made) > before)
        log, intrinsics = list(live.world.generation.log), live.world.intrinsics
    live_blocks = made[: len(log)]
    again = list(replay(PreviewGenerator(soft_scene(12).size, threads=1, live=True), soft_scene(12), intrinsics, log))
    assert len(log) >= 12
    assert len(again) == len(log)
    for first, second in zip(live_blocks, again, strict=True):
        assert np.array_equal(first.frames.numpy(), second.frames.numpy())


@pytest.mark.parametrize("make", [make_generator, make_worldfm])
def test_nothing_that_a_session_does_is_refused_where_all_must_be_repeatable(
    make: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
):
    """With --deterministic torch raises at an operation that has no fixed order; the torch splat is among them."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    scene = noise_scene(9)
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, 0, 3] = 0.01 * np.arange(9)
    try:
        make_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        made = []
        for _ in range(2):
            session, timeline = start_live(make(scene.size), scene)
            count = session.block_frames
            timeline.append(range(count))
            made.append(session.step(Cameras.from_poses(poses[:count], scene.lens)).frames)
        assert torch.equal(*made)
        maps = pixel_maps(scene.cameras(range(2)), Cameras.from_poses(poses[3:5], scene.lens))
        pictures, depth = (torch.from_numpy(each) for each in (scene.read_frames([0, 1]), scene.read_depth([0, 1])))
        assert int(draw_in_chunks(pictures, depth, *maps).masks.count_nonzero()) > 0
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_bookmark_is_gone_back_to_by_replaying(tmp_path: Path):
    generator = FakeGenerator()
    with served(noise_scene(30), generator, tmp_path) as live, live.page() as page:
        page.picture(page.pose((0.1, 0.0, 0.0)))
        page.send("time", rate=0, seek=3)
        page.until(lambda got: getattr(got, "generated", 0) > 2)
        page.send("bookmark", action="set", name="1")
        page.wait("status", bookmarks=["1"])
        kept = len(live.world.generation.log)
        page.send("time", rate=1)
        page.picture(page.pose((0.5, 0.0, 0.0)))
        page.until(lambda got: len(live.world.generation.log) > kept + 2)
        page.send("bookmark", action="go", name="1")
        moved = page.wait("moved")
        assert moved["state"]["position"] == [0.1, 0.0, 0.0]
        page.until(lambda got: len(generator.sessions) == 2 and live.world.generation.state != "replaying")
        assert generator.sessions[1].sources[: 2 * kept] == generator.sessions[0].sources[: 2 * kept]
        page.send("bookmark", action="go", name="2")
        assert page.wait("error")["code"] == "refused"


def test_the_branch_that_was_left_is_kept_compared_and_gone_to(tmp_path: Path):
    """Its blocks are replayed to the last one, and the camera stands where that branch ended."""
    generator = FakeGenerator()
    with served(noise_scene(30), generator, tmp_path) as live, live.page() as page:
        page.send("swap")
        assert page.wait("error")["code"] == "refused", "there is no other branch yet"
        page.pose((0.1, 0.0, 0.0))
        page.until(lambda got: getattr(got, "generated", 0) > 1)
        page.send("bookmark", action="set", name="1")
        page.wait("status", bookmarks=["1"])
        page.pose((0.6, 0.0, 0.0))
        page.until(lambda got: getattr(got, "answers", 0) >= page.seq)
        page.wait("status", generator="resting")
        left = list(live.world.generation.log)
        page.send("bookmark", action="go", name="1")
        page.wait("status", branches=2, generator="resting")
        compared = live.world.generation.other
        assert compared is not None
        assert [*compared.log] == left
        near = compared.frame_near(live.world.camera(0.0), 0)
        assert near is not None
        assert near.number in {frame.number for frame in compared.frames}
        page.send("view", layer="branches")
        page.send("swap")
        assert page.wait("moved")["state"]["position"][0] == pytest.approx(0.6)
        page.until(lambda got: len(generator.sessions) == 3 and live.world.generation.state == "resting")
        again = live.world.generation.log
        assert [event.source_frames for event in again[: len(left)]] == [event.source_frames for event in left]
        assert np.array_equal(
            np.concatenate([event.world_to_camera for event in again[: len(left)]]),
            np.concatenate([event.world_to_camera for event in left]),
        )


def test_frames_of_a_branch_are_few_and_spread_over_all_of_it():
    samples, camera = Samples(), Cameras.from_poses(np.eye(4)[None], np.eye(3))
    for block in range(200):
        if samples.wants(block):
            image, depth = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32)
            samples.add(GeneratedFrame(block, 0, 0.0, 0.0, image, depth, camera, 0))
        assert len(samples.frames) <= MOST_SAMPLES
    numbers = np.array([frame.number for frame in samples.frames])
    assert numbers[0] == 0
    assert numbers[-1] > 150
    assert len(set(np.diff(numbers))) == 1


def test_the_offline_render_is_the_flight(here: Path):
    """The command that the page starts: its cameras are the flown ones to 1e-6, its source frames the very ones."""
    clip = write_clip(here / "videos/one.mp4", count=10, size=(96, 160))
    flight = flown(6)
    path = here / "flights" / "f.txt"
    FlightFolder(path.parent).save(flight, "f")
    profile = "{height: 96, width: 160, generator: {backend: preview}, caption: {backend: sidecar}}"
    (here / "small.yaml").write_text(profile)
    words = ["live", str(clip), "--config_path", str(here / "small.yaml"), "--geometry", "plane"]
    words += ["--work_folder", str(here / "work")]
    arguments = make_parser().parse_args(words)
    plan = offline_plan(arguments, resolve(arguments), here / "flights", "one")
    command = plan.command(path, "f")
    assert main(command[2:]) == 0
    assert plan.result("f").is_file()
    cameras = CameraFile.load(plan.result("f").with_suffix(".cameras.json"), "")
    assert np.abs(invert(cameras.world_to_camera) - flight.key_poses).max() < 1e-6
    assert cameras.timeline == flight.source_frames
