"""Offline renders over HTTP: the shape of OpenAI's videos, one after another, with the server's token and limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.live import SECONDS, FakeGenerator, Live, served
from support.scenes import noise_scene

from inspatio.cameras.trajectory import FlightTrajectory
from inspatio.live.jobs import RenderPlan
from inspatio.live.protocol import MAX_MESSAGE

PROGRAM = """
import pathlib, sys, time
result = pathlib.Path(sys.argv[1])
print('generate: one (clip 1 of 1): 5 of 10 frames', file=sys.stderr, flush=True)
while not (result.parent / 'go').exists():
    time.sleep(0.02)
if result.name == 'bad':
    sys.exit('no room')
result.write_text(result.name)
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A world with three flights, whose renders wait for the file `go` and fail for the flight `bad`."""
    program = tmp_path / "render.py"
    program.write_text(PROGRAM, encoding="utf-8")
    plan = RenderPlan(lambda flight, name: [str(program), str(tmp_path / name)], lambda name: tmp_path / name)
    with served(noise_scene(3), FakeGenerator(), tmp_path, plan) as live:
        for name in ("good", "bad", "more"):
            live.world.flights.save(FlightTrajectory(np.tile(np.eye(4), (12, 1, 1)), (0,) * 12), name)
        yield live


def until(live: Live, name: str, status: str, least: int = 0) -> dict[str, Any]:
    end, video = time.monotonic() + SECONDS, {}
    while time.monotonic() < end:
        video = live.ask("GET", f"/v1/videos/{name}")[1]
        if video.get("status") == status and video["progress"] >= least:
            return video
        time.sleep(0.02)
    raise AssertionError(f"{name} never was {status}: {video}")


def test_one_after_another_from_queued_to_its_content(live: Live, tmp_path: Path):
    assert live.ask("GET", "/v1/videos") == (200, {"object": "list", "data": []})
    code, first = live.ask("POST", "/v1/videos", {"flight": "good", "model": "fake", "size": "48x32"})
    assert code == 200
    assert (first["id"], first["object"], first["model"], first["seconds"]) == ("good", "video", "fake", "0.500")
    assert live.ask("POST", "/v1/videos", {"flight": "bad"})[1]["status"] == "queued"
    assert until(live, "good", "in_progress", 60)["error"] is None
    assert live.ask("GET", "/v1/videos/bad")[1]["status"] == "queued"
    assert live.ask("POST", "/v1/videos", {"flight": "good"})[0] == 429, "it is being rendered"
    assert live.ask("GET", "/v1/videos/good/content")[0] == 404
    (tmp_path / "go").touch()
    done = until(live, "good", "completed")
    assert done["progress"] == 100
    assert done["completed_at"] >= done["created_at"] > time.time() - 3600
    content = live.get("/v1/videos/good/content")
    assert (content.status, content.body, content.headers["content-type"]) == (200, b"good", "video/mp4")
    assert until(live, "bad", "failed")["error"]["message"] == "no room"
    assert {each["id"] for each in live.ask("GET", "/v1/videos")[1]["data"]} == {"good", "bad"}


def test_deleting_stops_or_removes(live: Live, tmp_path: Path):
    for name in ("good", "more"):
        live.ask("POST", "/v1/videos", {"flight": name})
    until(live, "good", "in_progress")
    for name in ("more", "good"):
        assert live.ask("DELETE", f"/v1/videos/{name}")[1] == {"id": name, "object": "video.deleted", "deleted": True}
        assert live.ask("GET", f"/v1/videos/{name}")[0] == 404
    (tmp_path / "go").touch()
    end = time.monotonic() + SECONDS
    while live.ask("POST", "/v1/videos", {"flight": "good"})[0] == 429 and time.monotonic() < end:
        time.sleep(0.02)  # the one that was stopped is still ending
    until(live, "good", "completed")
    assert not (tmp_path / "more").exists(), "what waited was never begun"
    live.ask("DELETE", "/v1/videos/good")
    assert not (tmp_path / "good").exists()


def test_a_result_from_before_is_there_until_the_flight_is_newer(live: Live, tmp_path: Path):
    (tmp_path / "good").write_text("before")
    assert live.ask("GET", "/v1/videos/good")[1]["status"] == "completed"
    live.world.flights.delete("good")
    assert live.ask("GET", "/v1/videos/good")[0] == 404


def test_a_flight_that_is_deleted_is_rendered_no_more(live: Live, tmp_path: Path):
    live.ask("POST", "/v1/videos", {"flight": "good"})
    until(live, "good", "in_progress")
    with live.page() as page:
        page.send("record", action="delete", name="good")
        page.wait("flights")
    (tmp_path / "go").touch()
    live.ask("POST", "/v1/videos", {"flight": "more"})
    until(live, "more", "completed")
    assert not (tmp_path / "good").exists()


@pytest.mark.parametrize(
    ("body", "code", "what"),
    [
        ({"flight": "nothing"}, 404, "nothing"),
        ({"flight": "../good"}, 400, "flight"),
        ({}, 400, "flight"),
        ({"flight": "good", "model": "sora-2"}, 400, "model"),
        ({"flight": "good", "size": "1280x720"}, 400, "size"),
        ({"flight": "good", "prompt": "at night"}, 400, "prompt"),
        ({"flight": "good", "seconds": "4"}, 400, "seconds"),
        ("{", 400, "JSON"),
        ("[" * 30000, 400, "JSON"),
        ('{"flight": "' + "x" * MAX_MESSAGE + '"}', 413, "too long"),
    ],
    ids=range(10),
)
def test_what_cannot_be_rendered_is_one_line(live: Live, body: Any, code: int, what: str):
    status, answer = live.ask("POST", "/v1/videos", body)
    assert status == code
    assert what in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    assert live.ask("GET", "/v1/videos")[1]["data"] == []


def test_the_same_token_and_limits(live: Live, monkeypatch: pytest.MonkeyPatch):
    """The token may come as a bearer; without it, from another site, as another type or as one too many: no."""
    monkeypatch.setattr("inspatio.live.jobs.MAX_WAITING", 1)
    bearer = {"Cookie": "", "Authorization": f"Bearer {live.token}"}
    assert live.ask("GET", "/v1/videos", **bearer)[0] == 200
    for headers in (
        {"Cookie": ""},
        {"Cookie": "", "Authorization": f"Bearer {live.token}x"},
        {"Origin": "http://evil.example"},
        {**bearer, "Host": "evil.example"},
    ):
        given = {"Cookie": live.cookie, **headers}
        assert live.get("/v1/videos", **given).status in (400, 403)
    assert live.ask("POST", "/v1/videos", {"flight": "good"}, **{"Content-Type": "text/plain"})[0] == 415
    live.ask("POST", "/v1/videos", {"flight": "good"})
    until(live, "good", "in_progress")
    assert live.ask("POST", "/v1/videos", {"flight": "bad"})[0] == 200
    assert live.ask("POST", "/v1/videos", {"flight": "more"})[0] == 429
