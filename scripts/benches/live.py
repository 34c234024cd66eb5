"""``bench.py live``: how soon the live world answers, as a plain client on loopback sees it.

The server is a process of its own, started by `inspatio live` with the preview. The client acknowledges every picture
at once, so decoding and painting in a browser come on top (`inspatio.stats()` of the page tells those). Beside the
figures stands what one exact splat with depth takes on one thread in the same run, while the server rests: machines
differ, and are busy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from benches.measure import Bench, median_seconds
from websockets.sync.client import ClientConnection, connect

from inspatio.cameras.cameras import Cameras
from inspatio.live.protocol import VERSION, PictureHeader
from inspatio.render import WarpRenderer

SIZE = (480, 832)
START_SECONDS, PATIENCE = 120.0, 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clip", type=Path, default=Path("examples/living_room.mp4"), help="the clip [example]")
    parser.add_argument("--commands", type=int, default=20, help="single key presses that are timed [20]")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the camera moves without a pause [8]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "inspatio", "live", str(options.clip), "--profile", "preview"]
        command += ["--no_browser", "--port", "0", "--work_folder", work]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None, "standard output is a pipe"
            socket = _open(server.stdout.readline().strip())
            results = _measure(Client(socket), server.pid, options)
            socket.close()
            return results
        finally:
            server.terminate()
            server.wait(10)


def _open(url: str) -> ClientConnection:
    port, token = urlsplit(url).port, url.rpartition("=")[2]
    cookie = {"Cookie": f"inspatio_{port}={token}"}
    return connect(f"ws://localhost:{port}/live", additional_headers=cookie, compression=None, proxy=None)


class Client:
    """Sends poses and acknowledges pictures."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.seq = 0
        self.headers: list[PictureHeader] = []
        self.status: dict[str, Any] = {}
        self.send("hello", version=VERSION)

    def send(self, type: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": type, **fields}))

    def pose(self, right: float, speed: float = 0.0) -> int:
        self.seq += 1
        fields = {"position": [right, 0, 0], "quaternion": [1, 0, 0, 0], "velocity": [speed, 0, 0], "turn": [0, 0, 0]}
        self.send("pose", seq=self.seq, follow=True, **fields)
        return self.seq

    def receive(self, timeout: float) -> None:
        """Take one message, if one comes in time."""
        try:
            data = self._socket.recv(timeout)
        except TimeoutError:
            return
        if isinstance(data, str):
            message = json.loads(data)
            if message["type"] == "status":
                self.status = message
            return
        self.headers.append(PictureHeader.unpack(data))
        self.send("ack", frame=self.headers[-1].frame, seen=0.0)

    def wait(self, found: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Receive until something is so; returns how long that took."""
        start = time.perf_counter()
        while not found():
            self.receive(0.05)
            if time.perf_counter() - start > seconds:
                raise TimeoutError(f"the live world did not answer within {seconds:g} seconds")
        return time.perf_counter() - start

    def rest(self) -> None:
        """Until the generator has nothing to do."""
        self.wait(lambda: self.status.get("generator") == "resting")


def _measure(client: Client, process: int, options: argparse.Namespace) -> dict[str, Any]:
    client.wait(lambda: client.status.get("generator") == "resting", START_SECONDS)
    pictures, generated = [], []
    for i in range(options.commands):
        seq = client.pose(0.02 * (i % 10 + 1))
        start = time.perf_counter()
        client.wait(lambda seq=seq: client.headers[-1].seq >= seq)
        pictures.append(time.perf_counter() - start)
        client.wait(lambda seq=seq: client.headers[-1].answers >= seq)
        generated.append(time.perf_counter() - start)
        client.rest()
    splat = _splat_seconds()
    used, start = _cpu_seconds(process), time.perf_counter()
    while time.perf_counter() - start < 3:
        client.receive(0.2)
    idle = (_cpu_seconds(process) - used) / (time.perf_counter() - start)
    before, start = len(client.headers), time.perf_counter()
    while (moved := time.perf_counter() - start) < options.seconds:
        client.pose(0.2 + 0.1 * np.sin(moved), 0.1 * np.cos(moved))
        client.receive(1 / 60)
    moving = client.headers[before:]
    return {
        "picture_ms_median": _ms(statistics.median(pictures)),
        "picture_ms_p95": _ms(float(np.quantile(pictures, 0.95))),
        "generated_ms_median": _ms(statistics.median(generated)),
        "generated_ms_p95": _ms(float(np.quantile(generated, 0.95))),
        "moving_pictures_per_second": round(len(moving) / options.seconds, 1),
        "moving_generated_per_second": round((moving[-1].generated - moving[0].generated) / options.seconds, 1),
        "idle_share_of_a_core": round(idle, 3),
        "splat_ms_one_thread": _ms(splat),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _splat_seconds() -> float:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    depth = np.full((1, *SIZE), 3, np.float32)
    intrinsics = np.array([[700.0, 0, 415.5], [0, 700, 239.5], [0, 0, 1]])
    source = Cameras.from_poses(np.eye(4)[None], intrinsics)
    moved = np.eye(4)[None].copy()
    moved[0, 0, 3] = 0.1
    renderer = WarpRenderer(threads=1)
    target = Cameras.from_poses(moved, intrinsics)
    return median_seconds(lambda: renderer.render(frames, depth, source, target, with_depth=True), repeats=20)


def _cpu_seconds(process: int) -> float:
    """User and system time of a process (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


BENCH = Bench(add_arguments, run)
