"""The door for programs, through the package's own client: what is asked for comes, in order, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support.live import SECONDS, FakeGenerator, Live, served, soft_scene
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.errors import UserError
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.live.branches import Event
from inspatio.live.client import FrameBatch, RealtimeClient
from inspatio.live.generation import GenerationLoop, replay
from inspatio.live.realtime_protocol import PATH, packed


def url(live: Live) -> str:
    return f"http://localhost:{live.port}/?token={live.token}"


def aside(count: int, step: float = 0.05) -> np.ndarray:
    """World-to-camera poses that go to the right."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = step * np.arange(count)
    return invert(poses)


def rested(live: Live) -> GenerationLoop:
    """The page's own generation, once it has nothing to do."""
    end = time.monotonic() + SECONDS
    while live.world.generation.state != "resting" and time.monotonic() < end:
        time.sleep(0.02)
    return live.world.generation


def frames(batches: list[FrameBatch]) -> np.ndarray:
    return np.concatenate([batch.frames for batch in batches])


def test_poses_give_the_frames_of_the_session_bit_for_bit(tmp_path: Path):
    """A block that is not full is completed, but only what was asked for is sent; pages go on meanwhile."""
    scene = soft_scene(12)
    generator = PreviewGenerator(scene.size, threads=1, live=True)
    poses, sources = aside(5), (0, 3, 6, 6, 5)
    with served(scene, generator, tmp_path) as live, live.page() as page, RealtimeClient(url(live)) as client:
        client.init(seed=0)
        client.send_poses(poses[:2], source_frames=sources[:2], event_id=7)
        client.send_poses(poses[2:], source_frames=sources[2:], event_id=8, final=True)
        batches = list(client.batches(5))
        page.picture(page.pose((0.1, 0.0, 0.0)))
        intrinsics = live.world.intrinsics
    assert [batch.event_id for batch in batches] == [7, 8, 8]
    assert [len(batch.frames) for batch in batches] == [2, 2, 1]
    log = [
        Event(sources[i : i + 2], poses[i : i + 2], None) if i < 4 else Event((5, 5), poses[[4, 4]], None)
        for i in (0, 2, 4)
    ]
    again = [block.frames.numpy() for block in replay(generator, scene, intrinsics, log)]
    assert np.array_equal(frames(batches), np.concatenate(again)[:5])


def test_keys_fly_a_script_and_a_state(tmp_path: Path):
    """One list is one frame; held keys go on until they are let go of. Frames show where the camera has come to."""
    flown: list[Cameras] = []

    class Watching(FakeGenerator):
        def start(self, scene, *, seed):
            session = super().start(scene, seed=seed)
            step = session.step
            session.step = lambda cameras: flown.append(cameras) or step(cameras)
            return session

    with served(soft_scene(12), FakeGenerator(), tmp_path) as live:
        rested(live).generator = Watching()
        with RealtimeClient(url(live)) as client:
            client.init(realtime_output_format="jpeg", size="160x96", guidance_scale=1.0)
            client.send("camera_actions", [["w"], ["w", "d"], [], ["l"]])
            assert [len(batch.frames) for batch in client.batches(4)] == [2, 2]
            client.send("camera_actions", {"mode": "state", "transitions": [{"actions": ["s"], "client_ts_ms": 1.0}]})
            list(client.batches(6))
    poses = np.concatenate([invert(each.world_to_camera) for each in flown])
    z, x = poses[:, 2, 3], poses[:, 0, 3]
    assert 0 < z[0] < z[1] == pytest.approx(z[2])
    assert x[0] == pytest.approx(0, abs=1e-9)
    assert 0 < x[1] == pytest.approx(x[3])
    assert poses[3, 0, 2] > 0, "turned to the right"
    assert (np.diff(z[3:8]) < 0).all(), "s is held"


def test_the_prompt_and_the_limit_of_chunks(tmp_path: Path):
    generator = FakeGenerator()
    with served(soft_scene(4), generator, tmp_path) as live, RealtimeClient(url(live)) as client:
        client.init(prompt="a room", max_chunks=2, realtime_output_format="webp")
        client.send("composite_input", {"input_types": ["prompt", "camera_actions"], "prompt": "at night",
                                        "camera_actions": [["w"]] * 4})  # fmt: skip
        first, second = client.batches(4)
        assert (first.chunk, second.chunk) == (0, 1)
        client.receive()
        with pytest.raises(ConnectionClosed) as end:
            client.receive()
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1000
    assert [stats["chunk_index"] for stats in client.stats] == [0, 1]
    assert generator.sessions[-1].prompts == ["at night"]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"size": "832x480"}, "size"),
        ({"model": "another"}, "model"),
        ({"first_frame": b"png"}, "first_frame"),
        ({"realtime_output_format": "h264"}, "realtime_output_format"),
    ],
)
def test_an_init_that_cannot_be_may_be_repeated(tmp_path: Path, fields: dict, what: str):
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live, RealtimeClient(url(live)) as client:
        client.init(**fields)
        with pytest.raises(UserError, match=what):
            client.receive()
        client.init()
        client.send("camera_actions", [["w"]])
        assert frames(list(client.batches(1))).shape == (1, 96, 160, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91" * 5000,
        packed(type="event", kind="nonsense", payload=1),
        packed(type="event", kind="camera_actions", payload=[["z"]]),
        packed(type="event", kind="camera_actions", payload=[["w"]] * 5000),
        packed(type="event", kind="camera_poses", payload={"world_to_camera": [[1.0] * 16]}),
        packed(type="event", kind="camera_poses", payload={"world_to_camera": [[float("nan")] * 16]}),
        packed(type="event", kind="camera_poses",
               payload={"world_to_camera": [np.eye(4).ravel().tolist()], "source_frames": [1, 2]}),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_event_is_told_and_ten_of_them_are_the_end(tmp_path: Path, data: bytes):
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live, RealtimeClient(url(live)) as client:
        client.init()
        for _ in range(10):
            client._socket.send(data)
            with pytest.raises(UserError, match=r"got|Input|unable"):
                client.receive()
        with pytest.raises(ConnectionClosed) as end:
            client.receive()
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1008


def test_one_program_at_a_time_with_the_token_and_from_no_other_page(tmp_path: Path):
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live:
        address = f"ws://localhost:{live.port}{PATH}"
        for headers in ({}, {"Cookie": live.cookie, "Origin": "http://evil.example"}):
            with pytest.raises(InvalidStatus) as refused:
                connect(address, additional_headers=headers, proxy=None)
            assert refused.value.response.status_code == 403
        with RealtimeClient(url(live)) as first:
            first.init()
            first.send("heartbeat", None)
            with RealtimeClient(url(live)) as second, pytest.raises(ConnectionClosed) as end:
                second.receive()
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 1013


def test_a_generator_that_fails_ends_the_program_and_not_the_page(tmp_path: Path):
    generator = FakeGenerator(lambda block: ValueError("broken") if block == 1 else None)
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live, live.page() as page:
        rested(live).generator = generator
        with RealtimeClient(url(live)) as client:
            client.init()
            client.send("camera_actions", [["w"]] * 4)
            list(client.batches(2))
            client.receive()
            with pytest.raises(UserError, match="broken"):
                client.receive()
        page.picture(page.pose((0.1, 0.0, 0.0)))


def test_poses_stay_near_the_scene(tmp_path: Path):
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live, RealtimeClient(url(live)) as client:
        client.init()
        client.send_poses(aside(2, step=9e5), np.tile(live.world.intrinsics, (2, 1, 1)))
        assert len(frames(list(client.batches(2)))) == 2
