"""``bench.py live``: how soon the live world answers, what it shows, and what it costs.

The server is a process of its own, started by `inspatio live` with the preview. A plain client on loopback acknowledges
every picture at once; where there is a Chromium, the same page runs in it headless, and its own numbers say how long a
key takes to a presented picture. ``live_parts.py`` adds what needs no server: the cost of a generated frame in splats,
what the warp is worth, what a picture costs as JPEG and as H.264, and the render bench of the same run, since machines
differ and are busy. At the end the server is told to end while somebody flies. At most five minutes; ``--soak`` adds
minutes of random flying and reports how the server's memory grows.

``demanded`` holds the figures to what is asked of two quiet cores. Rates and latencies may be worse in the proportion
in which the render bench is below 150 frames/s; ``passed`` says whether all are met.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
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
from benches import live_parts
from benches.measure import Bench
from websockets.sync.client import ClientConnection, connect

from inspatio.live.picture_header import PictureHeader
from inspatio.live.protocol import VERSION

START_SECONDS, PATIENCE, IDLE_SECONDS = 120.0, 60.0, 4.0
PING_SECONDS, POSE_SECONDS = 0.1, 1 / 60
FULL_SPEED = 150.0
"""Frames a second of the render bench from which on rates and latencies are demanded in full."""
AT_MOST_MS = {
    "key_to_presented_ms_median": 80.0,
    "key_to_presented_ms_p95": 150.0,
    "key_to_generated_ms_median": 500.0,
    "key_to_generated_ms_p95": 1000.0,
}
AT_LEAST_PER_SECOND = {
    "moving_pictures_per_second": 24.0,
    "browser_moving_pictures_per_second": 24.0,
    "moving_generated_per_second": 10.0,
}
AT_MOST = {
    "preview_frame_in_splats": 6.0,
    "idle_page_and_server_share_of_a_core": 0.05,
    "soak_grew_mib": 50.0,
    "end_seconds": 2.0,
}
AT_LEAST = {"warp_gain_db": 5.0, "beside_a_silent_page_share": 0.95}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clip", type=Path, default=Path("examples/living_room.mp4"), help="the clip [example]")
    parser.add_argument("--commands", type=int, default=40, help="single key presses that are timed [40]")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the camera moves without a pause [8]")
    parser.add_argument("--soak", type=float, default=0.0, help="minutes of random flying besides [0]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    results = live_parts.measure(options.clip)
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "inspatio", "live", str(options.clip), "--profile", "preview"]
        command += ["--no_browser", "--port", "0", "--work_folder", work]
        started = time.perf_counter()
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None, "standard output is a pipe"
            url = server.stdout.readline().strip()
            client = Client(_open(url))
            client.wait(lambda: bool(client.headers), START_SECONDS)
            results["start_to_first_picture_seconds"] = round(time.perf_counter() - started, 1)
            client.wait(client.rests, START_SECONDS)
            results |= _answers(client, options.commands)
            results |= _idle(client, server.pid)
            before = _resident_mib(server.pid)
            results |= _moving(client, url, options.seconds)
            if options.soak:
                results |= _soak(client, server.pid, options.soak)
            results["server_grew_mib"] = round(_resident_mib(server.pid) - before, 1)
            client.close()
            results |= _in_chromium(url, server.pid, options)
            results |= _end(url, server)
        finally:
            server.kill()
    demanded = demands(results)
    return {
        **results,
        "demanded": demanded,
        "passed": all(demand["met"] for demand in demanded.values()),
        "load_average": round(os.getloadavg()[0], 1),
        "bench_seconds": round(time.perf_counter() - began),
    }


def demands(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is asked of every figure that was measured, and whether it is met."""
    slower = min(1.0, results["render_bench_frames_per_second"] / FULL_SPEED)
    most = AT_MOST | {name: limit / slower for name, limit in AT_MOST_MS.items()}
    least = AT_LEAST | {name: limit * slower for name, limit in AT_LEAST_PER_SECOND.items()}
    found = {
        **{name: ("at_most", limit, lambda got, limit=limit: got <= limit) for name, limit in most.items()},
        **{name: ("at_least", limit, lambda got, limit=limit: got >= limit) for name, limit in least.items()},
    }
    return {
        name: {side: round(limit, 2), "met": meets(results[name])}
        for name, (side, limit, meets) in found.items()
        if results.get(name) is not None
    }


def _end(url: str, server: subprocess.Popen[str]) -> dict[str, Any]:
    """How long the server takes to end while somebody flies and it generates."""
    client = Client(_open(url))
    client.wait(lambda: bool(client.headers), START_SECONDS)
    client.send("time", rate=1)
    _fly(client, 2.0)
    start = time.perf_counter()
    server.terminate()
    code = server.wait(START_SECONDS)
    return {"end_seconds": round(time.perf_counter() - start, 2), "end_exit_code": code}


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
        self.pongs: list[float] = []
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
            elif message["type"] == "pong":
                self.pongs.append(time.perf_counter() - message["t"])
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

    def rests(self) -> bool:
        """Whether the generator has nothing to do."""
        return self.status.get("generator") == "resting"

    def close(self) -> None:
        self._socket.close()


def _answers(client: Client, commands: int) -> dict[str, Any]:
    """Single moves: how long to a picture that shows them, and to one with content generated for them."""
    pictures, generated = [], []
    for i in range(commands):
        seq = client.pose(0.02 * (i % 10 + 1))
        start = time.perf_counter()
        client.wait(lambda seq=seq: client.headers[-1].seq >= seq)
        pictures.append(time.perf_counter() - start)
        client.wait(lambda seq=seq: client.headers[-1].answers >= seq)
        generated.append(time.perf_counter() - start)
        client.wait(client.rests)
    return {**_quantiles("pose_to_picture_ms", pictures), **_quantiles("pose_to_generated_ms", generated)}


def _idle(client: Client, process: int) -> dict[str, Any]:
    used, start = _cpu_seconds(process), time.perf_counter()
    while time.perf_counter() - start < IDLE_SECONDS:
        client.receive(0.2)
    return {"idle_server_share_of_a_core": round((_cpu_seconds(process) - used) / (time.perf_counter() - start), 4)}


def _moving(client: Client, url: str, seconds: float) -> dict[str, Any]:
    """Pictures and generated frames a second in motion, in turns without and beside a page that never reads."""
    alone, beside, made = [], [], []
    for _ in range(2):
        pictures, frames = _fly(client, seconds / 2)
        alone.append(pictures)
        made.append(frames)
        with _open(url) as silent:
            silent.send(json.dumps({"type": "hello", "version": VERSION}))
            beside.append(_fly(client, seconds / 2)[0])
    return {
        "moving_pictures_per_second": round(statistics.mean(alone), 1),
        "moving_generated_per_second": round(statistics.mean(made), 1),
        "beside_a_silent_page_pictures_per_second": round(statistics.mean(beside), 1),
        "beside_a_silent_page_share": round(statistics.mean(beside) / statistics.mean(alone), 3),
        **_quantiles("ping_ms_while_generating", client.pongs),
    }


def _fly(client: Client, seconds: float) -> tuple[float, float]:
    before, start, posed, pinged = len(client.headers), time.perf_counter(), -1.0, 0.0
    while (moved := time.perf_counter() - start) < seconds:
        if moved - posed > POSE_SECONDS:  # as often as a page does; pages that send much more are turned away
            client.pose(0.2 + 0.1 * np.sin(moved), 0.1 * np.cos(moved))
            posed = moved
        if moved - pinged > PING_SECONDS:  # poses and acknowledgements take most of the messages that a page may send
            client.send("ping", t=time.perf_counter())
            pinged = moved
        client.receive(POSE_SECONDS)
    flown = client.headers[before:]
    return len(flown) / seconds, (flown[-1].generated - flown[0].generated) / seconds


def _soak(client: Client, process: int, minutes: float) -> dict[str, Any]:
    """Fly at random, with time running to and fro; returns how much the server has grown since the first minute."""
    rng = np.random.default_rng(0)
    end, first = time.perf_counter() + 60 * minutes, None
    while time.perf_counter() < end:
        client.send("time", rate=float(rng.choice([-1, 0, 1, 2])))
        _fly(client, float(rng.uniform(2, 10)))
        if first is None and time.perf_counter() > end - 60 * (minutes - 1):
            first = _resident_mib(process)
    client.send("time", rate=0)
    grown = None if first is None else round(_resident_mib(process) - first, 1)
    return {"soak_minutes": minutes, "soak_grew_mib": grown}


def _in_chromium(url: str, server: int, options: argparse.Namespace) -> dict[str, Any]:
    """The page's own numbers: key to presented picture, drawn pictures a second, CPU of page and server at rest."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        return {"browser": "not measured: no Chromium on the path"}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1100, "height": 640})
        page.goto(url)
        _wait_for(page, lambda stats: stats["driver"] and stats["drawn"] > 0 and stats["generator"] == "resting")
        page.evaluate("document.getElementById('stage').focus()")
        for i in range(options.commands):
            page.keyboard.down("KeyD" if i % 2 else "KeyA")
            time.sleep(0.15)
            page.keyboard.up("KeyD" if i % 2 else "KeyA")
            _wait_for(page, lambda stats: not stats["moving"] and stats["generator"] == "resting")
        stats = page.evaluate("inspatio.stats()")
        drawn, start = stats["drawn"], time.perf_counter()
        while time.perf_counter() - start < options.seconds:
            for key in ("KeyA", "KeyD"):
                page.keyboard.down(key)
                time.sleep(1)
                page.keyboard.up(key)
        moving = (page.evaluate("inspatio.stats().drawn") - drawn) / (time.perf_counter() - start)
        _wait_for(page, lambda stats: not stats["moving"] and stats["generator"] == "resting")
        time.sleep(1)
        processes = [server, *_descendants(os.getpid(), without=server)]
        used, start = sum(map(_cpu_seconds, processes)), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        idle = (sum(map(_cpu_seconds, processes)) - used) / (time.perf_counter() - start)
        chromium.close()
    names = {"p50": "median", "p95": "p95"}
    return {
        **{f"key_to_presented_ms_{name}": stats["latency"][key] for key, name in names.items()},
        **{f"key_to_generated_ms_{name}": stats["generated_latency"][key] for key, name in names.items()},
        "browser_moving_pictures_per_second": round(moving, 1),
        "idle_page_and_server_share_of_a_core": round(idle, 4),
    }


def _wait_for(page: Any, found: Callable[[dict[str, Any]], bool]) -> None:
    end = time.perf_counter() + START_SECONDS
    while time.perf_counter() < end:
        stats = page.evaluate("window.inspatio ? inspatio.stats() : null")
        if stats and found(stats):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the page did not come to rest within {START_SECONDS:g} seconds")


def _quantiles(name: str, seconds: list[float]) -> dict[str, float]:
    middle, high = statistics.median(seconds), float(np.quantile(seconds, 0.95))
    return {f"{name}_median": round(1000 * middle, 1), f"{name}_p95": round(1000 * high, 1)}


def _descendants(process: int, without: int) -> list[int]:
    """The processes that a process has started, and those that they have (Linux)."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="utf-8").split()):
            if child != without:
                found += [child, *_descendants(child, without)]
    return found


def _resident_mib(process: int) -> float:
    """Memory that a process holds now (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu_seconds(process: int) -> float:
    """User and system time of a process (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


BENCH = Bench(add_arguments, run)
