"""Pictures of the live world for README and docs: a script that drives the real page in headless Chromium.

    python scripts/live_pictures.py --out docs [--clip examples/living_room.mp4]

Writes ``live.gif`` (a flight), ``live_page.jpg`` (the whole page with
points in space), ``live_bullet_time.jpg`` (one moment from three places) and ``live_phone.jpg``. Needs the extra
`live`, playwright, and Chromium on the path.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from inspatio.export.contact_sheet import write_gif
from inspatio.types import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
GIF_RATE, GIF_WIDTH, GIF_COLOURS = 8, 480, 128
FLIGHT: tuple[tuple[tuple[str, ...], int], ...] = (
    (("KeyD", "ArrowLeft"), 7),
    (("KeyA", "ArrowRight"), 12),
    (("KeyW", "KeyD"), 4),
)
"""Keys that are held together, and for how many stops. A picture is taken at each stop, when the generator has caught
up, so the flight looks the same however fast the machine is."""
STOP = 0.06
"""How far it is from stop to stop, in foreground depths; the source goes on by two frames."""
PATIENCE = 20.0
"""Seconds that a leg may take on a slow machine."""


class Driver:
    """One open page of the live world, driven by keys."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        self.until(lambda stats: stats["drawn"] > 0)
        page.evaluate("document.getElementById('stage').focus()")
        page.evaluate("document.getElementById('welcome').classList.add('gone')")
        self.foreground = page.evaluate("inspatio.stats().foreground")

    def until(self, found: Callable[[dict[str, Any]], bool], seconds: float = 120) -> None:
        """Wait until the page's own numbers are as wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stats = self.page.evaluate("window.inspatio ? inspatio.stats() : null")
            if stats and found(stats):
                return
            time.sleep(0.1)
        raise TimeoutError("the page did not come to what was expected")

    def rest(self) -> None:
        """Until the camera stands and the generator has nothing to add."""
        self.until(lambda stats: not stats["moving"] and stats["generator"] == "resting")

    def fly(self, keys: tuple[str, ...], far: float) -> None:
        """Hold keys until the camera is ``far`` from where it was, in foreground depths."""
        start = self.stats()["position"]
        for key in keys:
            self.page.keyboard.down(key)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and math.dist(start, self.stats()["position"]) < far * self.foreground:
            time.sleep(0.05)
        for key in keys:
            self.page.keyboard.up(key)

    def stats(self) -> dict[str, Any]:
        return self.page.evaluate("inspatio.stats()")

    def stage(self) -> Image:
        """The picture on the stage, ``h w 3``."""
        return _decoded(self.page.locator("#stage").screenshot(type="png"))

    def flight(self) -> Iterator[Image]:
        """Pictures of the stage at the stops of FLIGHT."""
        for keys, stops in FLIGHT:
            for _ in range(stops):
                self.fly(keys, STOP)
                for _ in range(2):
                    self.page.keyboard.press("Period")
                self.rest()
                size = (GIF_WIDTH, GIF_WIDTH * 480 // 832 // 2 * 2)
                yield np.asarray(cv2.resize(self.stage(), size, interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Drive the live page and write pictures of it.")
    parser.add_argument("--clip", type=Path, default=Path("examples/living_room.mp4"), help="the clip [example]")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for the pictures [docs]")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with serving(options.clip) as url, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1280, "height": 720})
        driver = Driver(page, url)
        driver.rest()
        write_gif(options.out / "live.gif", driver.flight(), GIF_RATE, GIF_COLOURS)
        page.keyboard.press("Home")
        driver.rest()
        stills = []
        for far in (0.0, 0.3, 0.3):
            driver.fly(("KeyD", "ArrowLeft"), far)
            driver.rest()
            stills.append(cv2.resize(driver.stage(), (416, 240), interpolation=cv2.INTER_AREA))
        _write(options.out / "live_bullet_time.jpg", np.concatenate(stills, axis=1))
        page.click("#in3d")
        driver.until(lambda stats: stats["points"] > 0)
        time.sleep(0.5)
        _write(options.out / "live_page.jpg", _decoded(page.screenshot(type="png")))
        page.close()
        phone = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True, device_scale_factor=2)
        driver = Driver(phone.new_page(), url)
        _write(options.out / "live_phone.jpg", _decoded(driver.page.screenshot(type="png"))[::2, ::2])


@contextmanager
def serving(clip: Path) -> Iterator[str]:
    """`inspatio live` with the preview, in a process of its own; gives its address."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "inspatio", "live", str(clip), "--profile", "preview", "--no_browser"]
        command += ["--port", "0", "--work_folder", work]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None, "standard output is a pipe"
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            server.wait(30)


def _decoded(png: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def _write(path: Path, picture: Image) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
