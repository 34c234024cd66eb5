"""The page in a real browser: keys, mouse, touch and gamepad move the picture as they should, and nothing else."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from support.browser import browser
from support.live import SECONDS, FakeGenerator, Live, served, soft_scene
from support.networks import make_generator, make_worldfm
from support.panoramas import box_panorama
from support.scenes import noise_scene

from inspatio.generation.worldfm.still_scene import panorama_scene
from inspatio.live.jobs import RenderPlan

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PIXELS = """() => {
  const stage = document.getElementById("stage");
  const small = Object.assign(document.createElement("canvas"), { width: 160, height: 96 });
  const pen = small.getContext("2d");
  pen.drawImage(stage, 0, 0, 160, 96);
  return [...pen.getImageData(0, 0, 160, 96).data];
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Live]:
    with served(soft_scene(60), FakeGenerator(), tmp_path_factory.mktemp("live")) as live:
        yield live


HALF_ROUND = """() => {
  const stage = document.getElementById("stage");
  const pointer = { pointerId: 1, pointerType: "mouse", clientY: 200, bubbles: true };
  const at = (type, x) => stage.dispatchEvent(new PointerEvent(type, { ...pointer, clientX: x }));
  at("pointerdown", 0);
  for (let i = 1; i <= 20; i++) at("pointermove", i * Math.PI / 0.0022 / 20);
  at("pointerup", 0);
}"""
RENDERING = """
import pathlib, sys, time
result = pathlib.Path(sys.argv[1])
print('generate: one (clip 1 of 1): 5 of 10 frames', file=sys.stderr, flush=True)
time.sleep(0.5)
if (result.parent / 'fails').exists():
    sys.exit('no room')
result.write_text('made')
"""


class Seen:
    """An open page that keeps what went wrong in it and where it asked."""

    def __init__(self, context: BrowserContext, live: Live) -> None:
        self.context, self.live = context, live
        self.wrong: list[str] = []
        self.hosts: set[str] = set()
        self.page: Page = context.new_page()
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.goto(f"http://localhost:{live.port}/?token={live.token}")
        self.until(lambda stats: stats["driver"] and stats["drawn"] > 0)
        self.page.evaluate("document.getElementById('stage').focus()")

    def stats(self) -> dict[str, Any]:
        return self.page.evaluate("inspatio.stats()")

    def until(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask until what the page tells of itself is as wanted."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            stats = self.page.evaluate("window.inspatio ? inspatio.stats() : null")
            if stats and found(stats):
                return stats
            time.sleep(0.05)
        raise AssertionError(f"the page never came to what was expected: {self.stats()}, {self.wrong}")

    def rests(self) -> dict[str, Any]:
        """When the picture shows where the camera is."""
        return self.until(
            lambda stats: not stats["moving"] and np.allclose(stats["shown"]["position"], stats["position"], atol=2e-3)
        )

    def hold(self, key: str, seconds: float = 0.6) -> None:
        """Hold a key so long, and on a busy machine until the camera has moved."""
        start = camera(self.stats())
        self.page.keyboard.down(key)
        time.sleep(seconds)
        self.until(lambda stats: np.abs(camera(stats) - start).max() > 0.02)
        self.page.keyboard.up(key)

    def picture(self) -> np.ndarray:
        return np.array(self.page.evaluate(PIXELS), np.float32).reshape(96, 160, 4)[..., :3]


@pytest.fixture
def seen(chromium: Browser, live: Live) -> Iterator[Seen]:
    """A page; at the end nothing may have gone wrong in it, and it may have asked nobody else."""
    context = chromium.new_context(viewport={"width": 1100, "height": 640})
    seen = Seen(context, live)
    seen.page.keyboard.press("Home")
    seen.page.keyboard.press("KeyK")
    yield seen
    assert seen.wrong == []
    assert seen.hosts == {f"localhost:{live.port}"}
    context.close()


def camera(stats: dict[str, Any]) -> np.ndarray:
    """The position and the rotation of the page's camera, ``7``."""
    return np.array([*stats["position"], *stats["quaternion"]])


def shift(before: np.ndarray, after: np.ndarray) -> int:
    """How many of 160 columns the far wall has moved to the right: where the two pictures agree best."""
    reach, (a, b) = 20, (image[4:28] for image in (before, after))
    middle = slice(reach, 160 - reach)
    errors = {by: np.abs(np.roll(a, by, axis=1)[:, middle] - b[:, middle]).mean() for by in range(-reach, reach + 1)}
    return min(errors, key=lambda by: errors[by])


def test_d_moves_the_camera_right_and_the_picture_left(seen: Seen):
    """By as much as the pose says: focal length times movement over depth."""
    seen.rests()
    before = seen.picture()
    seen.hold("KeyD", 0.4)
    after = seen.rests()
    moved = after["position"][0]
    assert moved > 0.02
    assert np.allclose(after["position"][1:], 0, atol=1e-6)
    expected = -120.0 * moved / 4.0  # in columns of 160: the wall's depth is 4
    assert shift(before, seen.picture()) == pytest.approx(expected, abs=1.5)


def test_pictures_as_h264_show_the_same_and_move_as_jpeg_does(seen: Seen):
    """Localhost is a secure context; the choice is kept, and JPEG comes back at a click."""
    seen.rests()
    as_jpeg = seen.picture()
    seen.page.click("#codec")
    seen.until(lambda stats: stats["codec"] == "H.264")
    before = seen.picture()
    assert np.abs(before - as_jpeg).mean() < 3
    drawn = seen.stats()["drawn"]
    seen.hold("KeyD", 0.4)
    after = seen.rests()
    assert after["codec"] == "H.264"
    assert after["drawn"] >= drawn + 3
    moving = seen.picture()
    assert shift(before, moving) == pytest.approx(-120.0 * after["position"][0] / 4.0, abs=1.5)
    seen.page.click("#codec")
    seen.until(lambda stats: stats["codec"] == "JPEG")
    assert np.abs(seen.picture() - moving).mean() < 3


@pytest.mark.parametrize(
    ("key", "axis", "sign"), [("KeyW", 2, 1), ("KeyS", 2, -1), ("KeyA", 0, -1), ("KeyE", 1, -1), ("KeyQ", 1, 1)]
)
def test_keys_move(seen: Seen, key: str, axis: int, sign: int):
    seen.rests()
    seen.hold(key, 0.3)
    position = seen.rests()["position"]
    assert sign * position[axis] > 0.01


def test_looking_by_keys_and_mouse(seen: Seen):
    seen.hold("ArrowRight", 0.3)
    by_keys = seen.rests()["quaternion"]
    assert by_keys[2] > 0.01, "turned to the right about the vertical axis"
    box = seen.page.locator("#stage").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    seen.page.mouse.move(x, y)
    seen.page.mouse.down()
    seen.page.mouse.move(x + 80, y, steps=4)
    seen.page.mouse.up()
    assert seen.rests()["quaternion"][2] < by_keys[2] - 0.01, "the picture follows the hand"


def test_orbiting_what_is_under_the_cursor(seen: Seen):
    """The near thing in the middle, 1.5 away: a drag keeps that distance, the wheel changes it, F flies again."""
    seen.rests()
    box = seen.page.locator("#stage").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    seen.page.mouse.move(x, y)
    seen.page.keyboard.press("KeyF")
    seen.until(lambda stats: stats["orbit"])
    seen.rests()

    def distance() -> float:
        return float(np.linalg.norm(np.array(seen.rests()["position"]) - [0, 0, 1.5]))

    assert distance() == pytest.approx(1.5, abs=0.05)
    seen.page.mouse.down()
    seen.page.mouse.move(x + 100, y, steps=4)
    seen.page.mouse.up()
    assert abs(seen.rests()["position"][0]) > 0.1
    assert distance() == pytest.approx(1.5, abs=0.05)
    seen.page.mouse.wheel(0, -100)
    seen.until(lambda stats: math.dist(stats["position"], (0, 0, 1.5)) < 1.4)
    seen.page.keyboard.press("KeyF")
    seen.until(lambda stats: not stats["orbit"])


def test_time_stands_while_the_camera_moves(seen: Seen):
    seen.page.keyboard.press("Space")
    running = seen.until(lambda stats: stats.get("rate") == 1)["shown"]["sourceFrame"]
    seen.until(lambda stats: stats["shown"]["sourceFrame"] != running)
    seen.page.keyboard.press("Space")
    seen.until(lambda stats: stats.get("rate") == 0)
    frame = seen.rests()["shown"]["sourceFrame"]
    seen.hold("KeyD", 0.3)
    after = seen.rests()
    assert after["shown"]["sourceFrame"] == frame
    assert after["shown"]["position"][0] > 0.01
    seen.page.keyboard.press("Comma")
    seen.until(lambda stats: abs(stats["shown"]["sourceFrame"] - frame) == 1)
    seen.page.keyboard.press("KeyJ")
    assert seen.until(lambda stats: stats.get("rate") == -1)


def test_keys_are_let_go_of_when_the_page_loses_them(seen: Seen):
    seen.page.keyboard.down("KeyD")
    time.sleep(0.2)
    seen.page.evaluate("window.dispatchEvent(new Event('blur'))")
    first = seen.rests()["position"]
    time.sleep(0.4)
    assert seen.stats()["position"] == first
    seen.page.keyboard.up("KeyD")


def test_a_stick_under_the_thumb(seen: Seen):
    finger = """([type, x, y]) => document.getElementById("stage").dispatchEvent(new PointerEvent(type,
      { pointerId: 7, pointerType: "touch", clientX: x, clientY: y, bubbles: true }))"""
    box = seen.page.locator("#stage").bounding_box()
    assert box
    x, y = box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"]
    seen.page.evaluate(finger, ["pointerdown", x, y])
    seen.page.evaluate(finger, ["pointermove", x, y - 50])
    time.sleep(0.3)
    seen.page.evaluate(finger, ["pointerup", x, y - 50])
    assert seen.rests()["position"][2] > 0.01, "pushed forward"


def test_a_gamepad(seen: Seen):
    seen.page.evaluate("""() => {
      const button = { pressed: false, value: 0 };
      const pad = { axes: [1, 0, 0, 0], buttons: Array(16).fill(button) };
      navigator.getGamepads = () => (window.pad ? [pad] : []);
      window.pad = true;
      window.dispatchEvent(new Event("gamepadconnected"));
    }""")
    time.sleep(0.4)
    seen.page.evaluate("window.pad = false")
    assert seen.rests()["position"][0] > 0.01


def test_the_scene_in_space(seen: Seen):
    """The points are fetched and drawn by WebGL: more than the background's colour is in the canvas."""
    seen.page.click("#in3d")
    seen.until(lambda stats: stats["points"] > 1000)
    colours = """async () => {
      await new Promise((done) => setTimeout(done, 400));
      const pen = new OffscreenCanvas(60, 45).getContext("2d");
      const shot = await new Promise((done) => requestAnimationFrame(() => {
        window.inspatio.drawSpace();
        pen.drawImage(document.getElementById("space"), 0, 0, 60, 45);
        done(pen.getImageData(0, 0, 60, 45).data);
      }));
      return new Set(Array.from({ length: 2700 }, (_, i) => shot.slice(4 * i, 4 * i + 3).join())).size;
    }"""
    assert seen.page.evaluate(colours) > 20
    seen.page.click("#in3d")
    assert not seen.page.locator("#space").is_visible()


def test_a_neural_generator_is_driven_by_the_same_page(chromium: Browser, tmp_path: Path):
    """Blocks of 9 and 12; the prompt changes from a block on, X starts again at the source, memory stays."""
    scene = noise_scene(30)
    context = chromium.new_context()
    options = {"source_first": False, "max_turn": 0.8, "reads_prompt": True}
    with served(scene, make_generator(scene.size), tmp_path, **options) as live:
        seen, generation = Seen(context, live), live.world.generation
        seen.page.keyboard.press("KeyL")
        seen.until(lambda stats: stats["shown"]["flags"] > 0 and len(generation.log) >= 3)
        held = tensor_bytes()
        assert [len(event.source_frames) for event in generation.log[:3]] == [9, 12, 12]
        box = seen.page.locator("#stage").bounding_box()
        assert box
        seen.page.mouse.move(box["x"] + 200, box["y"] + 100)
        seen.page.mouse.down()
        for i in range(60):  # the mouse turns at once, the model by 0.8 degrees a frame
            seen.page.mouse.move(box["x"] + 200 + (80 if i % 2 else -80), box["y"] + 100)
            if "turning faster" in (seen.page.locator("#badge").text_content() or ""):
                break
            time.sleep(0.05)
        seen.page.mouse.up()
        assert "turning faster" in (seen.page.locator("#badge").text_content() or "")
        turns = np.concatenate([event.world_to_camera[:, :3, :3] for event in list(generation.log)])
        cosines = (np.einsum("nij,nij->n", turns[1:], turns[:-1]) - 1) / 2
        assert np.degrees(np.arccos(np.clip(cosines, -1, 1))).max() < 0.81, "it was never asked for more"
        seen.page.fill("#text", "the same room at night")
        seen.page.press("#text", "Enter")
        seen.until(lambda stats: any(event.prompt == "the same room at night" for event in list(generation.log)))
        seen.until(lambda stats: len(generation.log) >= 6)
        assert tensor_bytes() < 1.3 * held, "a session's memory does not grow with its blocks"
        seen.page.keyboard.press("KeyK")
        seen.until(lambda stats: stats["generator"] == "resting")
        before = len(generation.log)
        seen.page.keyboard.press("KeyX")
        seen.until(lambda stats: 0 < len(generation.log) < before and stats["generator"] == "resting")
    assert seen.wrong == []
    context.close()


def tensor_bytes() -> int:
    """What all tensors that there are hold."""
    gc.collect()
    return sum(each.nbytes for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter))


def test_a_flight_is_recorded_and_rendered_by_its_buttons(chromium: Browser, tmp_path: Path):
    """The render's progress and its video reach the page, and so does the reason of one that fails."""
    program = tmp_path / "render.py"
    program.write_text(RENDERING, encoding="utf-8")
    plan = RenderPlan(lambda flight, name: [str(program), str(tmp_path / name)], lambda name: tmp_path / name)
    context = chromium.new_context()
    with served(soft_scene(4), FakeGenerator(), tmp_path, plan) as live:
        seen = Seen(context, live)
        seen.page.keyboard.press("KeyR")
        seen.until(lambda stats: stats.get("recording", 0) > 0)
        seen.hold("KeyD", 0.2)
        seen.page.keyboard.press("KeyR")
        flight = seen.page.locator("#flights li")
        flight.get_by_text("flight-1").wait_for()
        flight.get_by_text("render", exact=True).click()
        flight.locator("progress").wait_for()
        video = flight.get_by_text("video", exact=True)
        video.wait_for()
        assert live.get("/" + str(video.get_attribute("href"))).body == b"made"
        (tmp_path / "flight-1").unlink()
        (tmp_path / "fails").touch()
        flight.get_by_text("render", exact=True).click()
        flight.get_by_text("no room").wait_for()
    assert [each for each in seen.wrong if "404" not in each] == []
    context.close()


def test_a_phone(chromium: Browser, live: Live):
    context = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True, device_scale_factor=2)
    seen = Seen(context, live)
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    stage = seen.page.locator("#stage").bounding_box()
    assert width <= 390
    assert stage
    assert stage["width"] > 300
    assert seen.page.locator(".fingers").is_visible(), "hints for fingers, not for keys"
    assert not seen.page.locator(".keyboard").is_visible()
    assert seen.wrong == []
    context.close()


def test_the_page_says_that_the_server_has_gone_and_that_another_one_came(chromium: Browser, tmp_path: Path):
    """The same server takes the page back; one that was started again has another token, and the page says so."""
    context = chromium.new_context()
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live:
        seen = Seen(context, live)
        seen.page.evaluate("inspatio.stats().connected")
        port = live.port
    seen.until(lambda stats: not stats["connected"])
    message = seen.page.locator("#message")
    assert "lost" in (message.text_content() or "")
    with served(soft_scene(4), FakeGenerator(), tmp_path, port=port) as live:
        message.filter(has_text="started again").wait_for(timeout=1000 * SECONDS)
        seen.page.goto(f"http://localhost:{port}/?token={live.token}")
        seen.until(lambda stats: stats["connected"] and stats["driver"] and stats["drawn"] > 0)
    context.close()


@pytest.mark.parametrize("kind", ["picture", "panorama"])
def test_a_picture_and_a_panorama_in_the_page(chromium: Browser, tmp_path: Path, kind: str):
    """Both are places and not moments: the camera moves, time stands, and a panorama is seen all round."""
    size = (48, 64)
    scene = panorama_scene(*box_panorama(64), size).scene if kind == "panorama" else replace(soft_scene(1), still=True)
    generator = make_worldfm(size) if kind == "panorama" else FakeGenerator()
    context = chromium.new_context()
    with served(scene, generator, tmp_path) as live:
        seen = Seen(context, live)
        seen.page.keyboard.press("Space")
        before = seen.picture()
        if kind == "panorama":
            seen.page.evaluate(HALF_ROUND)
        seen.hold("KeyD", 0.3)
        after = seen.rests()
        assert after["source_frame"] == 0
        assert seen.page.locator("#frame").text_content() == "0 of 0 · 0.00 s"
        assert np.abs(seen.picture() - before).mean() > 1
        if kind == "panorama":
            assert abs(after["quaternion"][2]) > 0.9, "turned half round"
            assert after["coverage"] > 0.95
        seen.until(lambda stats: stats["generator"] == "resting" and stats["shown"]["flags"] > 0)
    assert seen.wrong == []
    context.close()
