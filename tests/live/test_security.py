"""Who may come in, what they may send, and what it costs others: the server's list of defences, line by line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.live import FakeGenerator, Live, Page, served
from support.scenes import noise_scene
from websockets.exceptions import ConnectionClosed, InvalidStatus

from inspatio.errors import UsageError
from inspatio.live.app import STATIC
from inspatio.live.connection import Credit, RateLimit
from inspatio.live.hub import MAX_PAGES
from inspatio.live.motion import MAX_DISTANCE
from inspatio.live.server import Address, bind, is_loopback

FRAMES = 12


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with served(noise_scene(FRAMES), FakeGenerator(), tmp_path_factory.mktemp("live")) as live:
        yield live


def status(live: Live, **headers: str) -> int:
    """The HTTP status that a WebSocket is answered with."""
    try:
        with live.open(**headers):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


# Who may come in


def test_only_this_machine_by_default():
    with bind(Address(port=0)) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"
        taken = bound.getsockname()[1]
        with pytest.raises(UsageError, match=str(taken)):
            bind(Address(port=taken))
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.1.2.3", "example.org")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io", ""])
def test_another_host_is_refused(live: Live, host: str):
    assert live.get("/", Host=host).status == 400
    assert live.get("/live", Host=host, Upgrade="websocket", Connection="Upgrade").status == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST", "[::1]"])
def test_names_of_this_machine_are_good(live: Live, host: str):
    assert live.get("/", Host=f"{host}:{live.port}").status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost", "file://"]
)
def test_a_foreign_page_is_refused(live: Live, origin: str):
    assert live.get("/", Origin=origin).status == 403
    assert status(live, Origin=origin) == 403


def test_its_own_page_and_no_page_come_in(live: Live):
    assert status(live) == 101
    assert status(live, Origin=f"http://localhost:{live.port}") == 101


def test_nobody_comes_in_without_the_token(live: Live):
    wrong = live.cookie[:-1] + ("A" if live.cookie[-1] != "A" else "B")
    for cookie in ("", wrong, "inspatio_1=x", live.cookie + "x"):
        assert live.get("/", Cookie=cookie).status == 403
        assert status(live, Cookie=cookie) == 403
    assert live.get(f"/?token={live.token[:-1]}", Cookie="").status == 403
    assert live.get("/main.js?token=" + live.token, Cookie="").status == 403


def test_the_token_becomes_a_cookie(live: Live):
    answer = live.get(f"/?token={live.token}", Cookie="")
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert len(live.token) >= 43, "32 bytes"


def test_every_answer_has_the_headers(live: Live):
    for answer in (live.get("/"), live.get("/nothing"), live.get("/", Cookie=""), live.get("/", Host="evil.example")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not any(name.lower().startswith("access-control") for name in answer.headers)


# What there is to get


def test_the_page_and_nothing_else(live: Live):
    for path in STATIC.iterdir():
        answer = live.get("/" + path.name)
        assert answer.status == 200
        assert answer.body == path.read_bytes()
    assert b"<script>" not in live.get("/").body, "the policy allows no script in the page itself"


@pytest.mark.parametrize(
    "path",
    [
        "/../app.py",
        "/..%2fapp.py",
        "/%2e%2e/app.py",
        "//etc/passwd",
        "/static/main.js",
        "/main.js%00.html",
        "/flights/../../etc/passwd.txt",
        "/flights/%2e%2e%2fx.txt",
        "/clips/..%2f..%2fx.mp4",
        "/results/x.mp4",
        "/" + "a" * 10000,
        "/main.js/",
    ],
)
def test_other_paths_lead_nowhere(live: Live, path: str):
    assert live.get(path).status in (400, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_is_uploaded(live: Live, method: str):
    assert live.get("/", method, **{"Content-Length": "0"}).status == 405


# What pages may send


def closed(page: Page) -> int:
    """The code that the server closes a page with."""
    with pytest.raises(ConnectionClosed) as end:
        page.until(lambda got: False)
    assert end.value.rcvd is not None
    return end.value.rcvd.code


def test_ten_wrong_messages_are_the_end(live: Live):
    with live.page() as page:
        for _ in range(9):
            page.send("nonsense")
        page.send("ping", t=1)
        page.wait("pong")
        page.send("nonsense")
        assert closed(page) == 1008


def test_a_message_that_is_too_long_is_the_end(live: Live):
    with live.page() as page:
        page.socket.send("x" * 70000)
        assert closed(page) == 1009


def test_binary_is_an_error(live: Live):
    with live.page() as page:
        page.socket.send(b"\x00" * 100)
        assert page.wait("error")["code"] == "message"


def test_hello_comes_first(live: Live):
    with live.open() as socket:
        socket.send(json.dumps({"type": "ping", "t": 1}))
        assert json.loads(socket.recv(10))["code"] == "message"


def test_another_version_is_told_to_reload(live: Live):
    with live.open() as socket:
        socket.send(json.dumps({"type": "hello", "version": 99}))
        assert json.loads(socket.recv(10))["code"] == "version"


def test_a_flood_is_cut_off(live: Live):
    with live.page() as page:
        for i in range(400):
            try:
                page.send("ping", t=i)
            except ConnectionClosed:
                break
        assert closed(page) == 1008
    assert [message["code"] for message in page.told if message["type"] == "error"].count("rate") >= 1


def test_the_rate_limit_lets_a_hand_through():
    limit = RateLimit(120, 240, now=0.0)
    assert all(limit.take(i / 100) for i in range(1000))
    assert sum(limit.take(10.0) for _ in range(1000)) <= 240


def test_poses_stay_near_the_scene(live: Live):
    with live.page() as page:
        far = page.picture(page.pose((9e5, 0.0, 0.0)))
        assert np.linalg.norm(far.position) <= MAX_DISTANCE * live.world.foreground * 1.001
        page.picture(page.pose((0.0, 0.0, 0.0)))


def test_an_old_pose_changes_nothing(live: Live):
    with live.page() as page:
        page.seq = 100
        page.picture(page.pose((0.1, 0.0, 0.0)))
        page.seq = 50
        page.pose((0.9, 0.0, 0.0))
        page.seq = 200
        page.send("ping", t=1)
        page.wait("pong")
        assert live.world.camera(time.monotonic())[0, 3] == pytest.approx(0.1)


# What a page costs


def test_credit_grows_with_the_round_trip():
    near, far, silent = Credit(), Credit(), Credit()
    for frame in range(30):
        near.sent(frame, frame * 0.1)
        near.acknowledged(frame, frame * 0.1 + 0.01)
        far.sent(frame, frame * 0.1)
        far.acknowledged(frame, frame * 0.1 + 0.13)
    assert near.size == silent.size == 2
    assert 4 <= far.size <= 6
    for frame in range(30, 33):
        far.sent(frame, 5.0)
        far.acknowledged(frame, 60.0)
    assert far.size == 8
    assert not far.acknowledged(7, 61.0), "a picture that was acknowledged before"


def test_a_page_that_never_draws_gets_two_pictures_and_others_all(live: Live):
    with live.page() as driver, live.page() as silent:
        silent.acknowledges = False
        for i in range(12):
            driver.picture(driver.pose((0.01 * i, 0.0, 0.0)))
            for _ in range(4):
                silent.receive(0.02)
        assert len(silent.pictures) <= 2
        assert len(driver.pictures) >= 12


def test_one_drives_and_a_few_watch(live: Live):
    with live.page() as driver, live.page() as watcher:
        assert driver.welcome["driver"]
        assert not watcher.welcome["driver"]
        watcher.pose((0.3, 0.0, 0.0))
        assert watcher.wait("error")["code"] == "not_driver"
        driver.send("wheel", action="give")
        watcher.wait("status", driver=True)
        watcher.picture(watcher.pose((0.2, 0.0, 0.0)))
        driver.pose((0.3, 0.0, 0.0))
        assert driver.wait("error")["code"] == "not_driver"
        driver.send("wheel", action="take")
        assert driver.wait("error")["code"] == "refused", "somebody is driving"


def test_one_page_too_many_is_sent_away(live: Live):
    pages = [live.open() for _ in range(MAX_PAGES)]
    with live.open() as extra, pytest.raises(ConnectionClosed) as end:
        extra.recv(10)
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1013
    for page in pages:
        page.close()


def test_going_away_is_said(tmp_path: Path):
    with served(noise_scene(3), FakeGenerator(), tmp_path) as live, live.page() as page:
        live.stop()
        assert closed(page) == 1001
    assert [each["retry"] for each in page.told if each["type"] == "bye"] == [True]
