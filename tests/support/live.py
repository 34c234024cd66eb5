"""A live world served on loopback for tests, and a plain client of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import torch
from support.clips import drifting
from support.scenes import make_scene
from websockets.sync.client import ClientConnection, connect

from inspatio.cameras.cameras import Cameras
from inspatio.generation.base import FrameBlock, Session
from inspatio.live.flights import FlightFolder
from inspatio.live.hub import Hub
from inspatio.live.jobs import RenderPlan
from inspatio.live.picture_header import CODEC_JPEG, HEADER_SIZE, PictureHeader
from inspatio.live.protocol import VERSION
from inspatio.live.server import Address, LiveServer, bind
from inspatio.live.world import LiveOptions, World
from inspatio.media import VideoInfo
from inspatio.render import WarpRenderer
from inspatio.scene import Scene

SECONDS = 20.0
"""How long a test waits for what must come; machines may be slow."""


def soft_scene(count: int) -> Scene:
    """Smooth pictures with something near in the middle: JPEG keeps them."""
    height, width = size = (96, 160)
    depth = np.full((count, *size), 4.0)
    depth[:, 32:64, 60:100] = 1.5
    intrinsics = np.array([[120.0, 0, (width - 1) / 2], [0, 120.0, (height - 1) / 2], [0, 0, 1]])
    frames = np.stack([drifting()(i, size) for i in range(count)])
    return make_scene(frames, depth, np.tile(np.eye(4), (count, 1, 1)), intrinsics)


class FakeGenerator:
    """Blocks of two frames that show the source at once, with a plane as depth. Fails in the blocks it is told to."""

    def __init__(self, fails: Callable[[int], Exception | None] = lambda block: None) -> None:
        self.fails = fails
        self.sessions: list[FakeSession] = []

    def start(self, scene: Scene, *, seed: int) -> FakeSession:
        self.sessions.append(FakeSession(self, scene))
        return self.sessions[-1]


class FakeSession(Session):
    def __init__(self, generator: FakeGenerator, scene: Scene) -> None:
        super().__init__()
        self._generator, self._scene = generator, scene
        self.sources: list[int] = []
        self.prompts: list[str] = []

    @property
    def block_frames(self) -> int:
        return 2

    def set_prompt(self, text: str) -> None:
        self.prompts.append(text)

    def _generate(self, cameras: Cameras) -> FrameBlock:
        places = range(self._start, self._start + len(cameras))
        error = self._generator.fails(self._start // 2)
        if error is not None:
            raise error
        self.sources += self._scene.source_frames(places)
        depth = np.full((len(cameras), *self._scene.size), 2, np.float32)
        if self._generator.fails is nan_depth:
            depth[0, 0, 0] = np.nan
        return FrameBlock(self._start, torch.from_numpy(self._scene.read_frames(places)), depth, None)


def nan_depth(block: int) -> Exception | None:
    """For ``FakeGenerator.fails``: no exception, but depth that is not a number."""
    return None


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Live:
    """A running world and its address."""

    def __init__(self, world: World, url: str, stop: Callable[[], None]) -> None:
        self.world, self.stop = world, stop
        parts = urlsplit(url)
        self.port = parts.port or 0
        self.token = parse_qs(parts.query)["token"][0]
        self.cookie = f"inspatio_{self.port}={self.token}"

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for a path just as it is spelled; headers may be replaced."""
        connection = HTTPConnection("localhost", self.port, timeout=SECONDS)
        given = {"Host": f"localhost:{self.port}", "Cookie": self.cookie, **headers}
        connection.putrequest(method, path, skip_host=True)
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return answer

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send JSON, or nothing; the status and the JSON that is answered."""
        text = None if body is None else body if isinstance(body, str) else json.dumps(body)
        connection = HTTPConnection("localhost", self.port, timeout=SECONDS)
        given = {"Cookie": self.cookie, "Content-Type": "application/json", **headers}
        connection.request(method, path, text, {name: value for name, value in given.items() if value})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    def open(self, **headers: str) -> ClientConnection:
        given = {"Cookie": self.cookie, **headers}
        return connect(
            f"ws://localhost:{self.port}/live", additional_headers=given, compression=None, proxy=None, close_timeout=1
        )

    @contextmanager
    def page(self, resume: str | None = None, *, reads: bool = True) -> Iterator[Page]:
        socket = self.open()
        try:
            yield Page(socket, resume, reads=reads)
        finally:
            socket.close()


class Page:
    """What a page does: says hello, draws every picture and acknowledges it; keeps everything it was told."""

    def __init__(self, socket: ClientConnection, resume: str | None = None, *, reads: bool = True) -> None:
        self.socket = socket
        self.pictures: list[PictureHeader] = []
        self.told: list[dict[str, Any]] = []
        self.seq = 0
        self.acknowledges = True
        self.send("hello", version=VERSION, **({"resume": resume} if resume else {}))
        if reads:
            self.welcome = self.wait("welcome")

    def send(self, type: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": type, **fields}))

    def pose(self, position: tuple[float, float, float], **fields: Any) -> int:
        self.seq += 1
        still = {"quaternion": (1, 0, 0, 0), "velocity": (0, 0, 0), "turn": (0, 0, 0), "follow": False}
        self.send("pose", seq=self.seq, position=position, **{**still, **fields})
        return self.seq

    def receive(self, timeout: float) -> dict[str, Any] | PictureHeader | None:
        """The next message or picture, None after ``timeout`` seconds."""
        try:
            data = self.socket.recv(timeout)
        except TimeoutError:
            return None
        if isinstance(data, str):
            self.told.append(json.loads(data))
            return self.told[-1]
        header = PictureHeader.unpack(data)
        self.pictures.append(header)
        self.data = data[HEADER_SIZE:]
        begins = b"\xff\xd8" if header.codec == CODEC_JPEG else b"\0\0"
        assert self.data.startswith(begins), "what the header says follows it"
        if self.acknowledges:
            self.send("ack", frame=header.frame, seen=1.0)
        return header

    def until(self, found: Callable[[Any], bool], what: str = "", seconds: float = SECONDS) -> Any:
        """The next message or picture for which ``found`` is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            got = self.receive(0.2)
            if got is not None and found(got):
                return got
        raise AssertionError(f"{what or 'what was expected'} did not come; told: {self.told[-5:]}")

    def wait(self, type: str, **fields: Any) -> dict[str, Any]:
        """The next message of a type with these values."""
        return self.until(
            lambda got: isinstance(got, dict) and got["type"] == type and all(got[k] == v for k, v in fields.items()),
            f"{type} {fields}",
        )

    def picture(self, seq: int) -> PictureHeader:
        """The first picture that shows a pose."""
        return self.until(lambda got: isinstance(got, PictureHeader) and got.seq >= seq, f"picture of pose {seq}")


@contextmanager
def served(
    scene: Scene,
    generator: Any,
    folder: Path,
    plan: RenderPlan | None = None,
    max_session: float | None = None,
    sound: VideoInfo | None = None,
    port: int = 0,
    **options: Any,
) -> Iterator[Live]:
    """A live world in this process, on a free port of loopback."""
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    given = {"name": "fake", "source_first": True, "max_turn": None, "reads_prompt": True, **options}
    flights = FlightFolder(folder / "flights")
    world = World(scene, generator, WarpRenderer(threads=1), LiveOptions(**given), flights, clips, sound)
    address = Address(port=port, browser=False, max_session=max_session)
    server = LiveServer(Hub(world, plan), address, bind(address), clips)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Live(world, server.url, server.stop)
    finally:
        server.stop()
        for each in (thread, world.display, world.generation):
            each.join(SECONDS)  # loops that are still compiling would meet the next test
        assert not thread.is_alive(), "the server ends"
