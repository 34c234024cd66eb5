"""What ends, and when: sessions without input, pages that draw nothing, flights, clips, the server itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.clips import write_clip
from support.live import FakeGenerator, Page, served, soft_scene
from support.paths import ROOT
from support.scenes import noise_scene
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.trajectory import FlightTrajectory
from inspatio.errors import UserError
from inspatio.live.clock import SourceClock
from inspatio.live.flights import MAX_SECONDS, FlightFolder, Recorder

COMPILING_SECONDS = 180.0
"""A process that finds no compiled loops in the user's cache makes them first."""


def test_a_session_without_input_rests_and_is_freed_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The display goes on with time; the event log is replayed for whoever steers again."""
    monkeypatch.setattr("inspatio.live.generation.IDLE_SECONDS", 0.5)
    monkeypatch.setattr("inspatio.live.generation.FREE_SECONDS", 1.0)
    generator = FakeGenerator()
    with served(noise_scene(60), generator, tmp_path) as live, live.page() as page:
        page.send("time", rate=1)
        page.picture(page.pose((0.1, 0.0, 0.0)))
        page.wait("status", generator="freed")
        made = list(live.world.generation.log)
        assert made
        shown = page.pictures[-1].source_frame
        page.until(lambda got: getattr(got, "source_frame", shown) != shown)
        assert live.world.generation.log == made
        page.pose((0.2, 0.0, 0.0))
        page.until(lambda got: len(live.world.generation.log) > len(made))
        fed = [frame for event in made for frame in event.source_frames]
        assert generator.sessions[1].sources[: len(fed)] == fed


def test_a_page_that_draws_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inspatio.live.hub.SILENT_SECONDS", 0.5)
    with served(noise_scene(12), FakeGenerator(), tmp_path) as live, live.page() as page:
        page.acknowledges = False
        with pytest.raises(ConnectionClosed) as end:
            page.until(lambda got: False)
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1008
        assert [each["retry"] for each in page.told if each["type"] == "bye"] == [True]


def test_the_wheel_of_a_silent_driver_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inspatio.live.hub.SILENT_DRIVER", 0.0)
    with served(noise_scene(3), FakeGenerator(), tmp_path) as live, live.page() as driver, live.page() as watcher:
        assert driver.welcome["driver"]
        watcher.send("wheel", action="take")
        watcher.wait("status", driver=True)


def test_the_server_ends_after_the_longest_session(tmp_path: Path):
    with served(noise_scene(3), FakeGenerator(), tmp_path, max_session=0.5 / 60) as live, live.page() as page:
        with pytest.raises(ConnectionClosed) as end:
            page.until(lambda got: False)
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1001


def test_no_memory_left_says_what_to_do(tmp_path: Path):
    generator = FakeGenerator(lambda block: MemoryError("no room") if block == 1 else None)
    with served(noise_scene(3), generator, tmp_path) as live, live.page() as page:
        page.send("time", rate=1)
        assert "smaller profile" in page.wait("notice")["text"]


def test_a_flight_ends_after_twenty_minutes():
    clock = SourceClock(100, 0.5)
    recorder = Recorder(0.5, clock, 0.0, np.eye(4))
    recorder.moved(2.0 * MAX_SECONDS, np.eye(4))
    assert recorder.full
    assert len(recorder) == MAX_SECONDS / 2


def test_only_so_many_flights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inspatio.live.flights.MAX_FLIGHTS", 2)
    folder = FlightFolder(tmp_path)
    flight = FlightTrajectory(np.eye(4)[None], (0,))
    folder.save(flight)
    folder.save(flight)
    with pytest.raises(UserError, match="fewer than 2"):
        folder.save(flight)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_kept_of_what_was_shown_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ten pictures are shown, and room for three is given: the clip is shorter than what was shown."""
    with served(soft_scene(3), FakeGenerator(), tmp_path) as live, live.page() as page:
        page.picture(page.pose((0.01, 0.0, 0.0)))
        monkeypatch.setattr("inspatio.live.clips.CLIP_BYTES", 3 * len(page.data))
        shown = [page.picture(page.pose((0.02 * i + 0.02, 0.0, 0.0))).server_time for i in range(10)]
        page.send("clip")
        assert 0 < page.wait("clip")["seconds"] < shown[-1] - shown[0]


def test_terminated_while_it_generates_and_records(tmp_path: Path):
    """The process as a user starts it: its first line is the address; at the end the flight is saved."""
    clip = write_clip(tmp_path / "videos/one.mp4", count=20, size=(96, 160))
    (tmp_path / "small.yaml").write_text(
        "{height: 96, width: 160, generator: {backend: preview}, caption: {backend: sidecar}}"
    )
    words = ["live", str(clip), "--config_path", str(tmp_path / "small.yaml"), "--geometry", "plane", "--port", "0"]
    words += ["--no_browser", "--work_folder", str(tmp_path / "work")]
    command = [sys.executable, "-m", "inspatio", *words]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None, "a pipe"
        address, _, token = server.stdout.readline().strip().partition("/?token=")
        cookie = {"Cookie": f"inspatio_{address.rpartition(':')[2]}={token}"}
        with connect(address.replace("http", "ws") + "/live", additional_headers=cookie, proxy=None) as socket:
            assert isinstance(socket, ClientConnection)
            page = Page(socket)
            page.send("record", action="start")
            page.send("time", rate=1)
            page.until(lambda got: getattr(got, "generated", 0) > 0, seconds=COMPILING_SECONDS)
            for i in range(10):
                page.picture(page.pose((0.02 * i, 0.0, 0.0)))
            server.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as end:
                page.until(lambda got: False)
        said = server.communicate(timeout=COMPILING_SECONDS)[1]
    finally:
        server.kill()
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1001
    assert server.returncode == 0
    assert "Traceback" not in said
    flight = load_trajectory(tmp_path / "work/flights/one/flight-1.txt")
    assert isinstance(flight, FlightTrajectory)
    assert len(flight.key_poses) > 1
