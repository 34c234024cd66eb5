"""All pages of one world: who drives, who watches, and what each is told. Runs on the server's event loop only."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from inspatio.errors import UserError
from inspatio.live import protocol
from inspatio.live.connection import GOING_AWAY, POLICY, SILENT_SECONDS, Connection
from inspatio.live.controls import CONTROLS
from inspatio.live.display import Picture
from inspatio.live.encode import codecs
from inspatio.live.jobs import Jobs, RenderPlan
from inspatio.live.protocol import FromPage
from inspatio.live.world import World

MAX_PAGES = 5
"""One driver and four watchers."""
SILENT_DRIVER = 10.0
"""A driver who has not steered for so many seconds loses the wheel to whoever asks."""
RESUME_SECONDS = 30.0
"""For so long after a connection is lost its key gives back the wheel."""
STATUS_SECONDS = 0.2


class Hub:
    """The pages of a world."""

    def __init__(self, world: World, plan: RenderPlan | None) -> None:
        """``plan``: how flights are rendered offline; None: they cannot be."""
        self.world = world
        self.pages: list[Connection] = []
        self.jobs = None if plan is None else Jobs(plan, self._soon(self._flights_changed))
        self._driver: Connection | None = None
        self._steered = 0.0
        self._asked: list[Connection] = []
        self._kept: tuple[str, float] = ("", 0.0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_status = ""
        self._work = ThreadPoolExecutor(1, thread_name_prefix="inspatio-files")
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the world's loops and the status messages."""
        self._loop = asyncio.get_running_loop()
        self.world.display.on_picture = self._soon(self._show)
        self.world.display.on_notice = self._soon(self._tell_all)
        self.world.display.wants_picture = lambda: any(page.takes_pictures for page in list(self.pages))
        self.world.start()
        self._keep(self._tick())

    async def stop(self) -> None:
        """Close all pages, then the world; a flight that is being recorded is saved."""
        for page in list(self.pages):
            page.close(GOING_AWAY, "the server has ended", retry=True)
        for _ in range(20):
            if not self.pages:
                break
            await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        if self.jobs is not None:
            self.jobs.stop()
        self._work.shutdown(wait=False, cancel_futures=True)  # a clip that is being written is not waited for
        self.world.stop()

    @property
    def full(self) -> bool:
        return len(self.pages) >= MAX_PAGES

    async def serve(self, page: Connection) -> None:
        """Serve one page until it is gone."""
        self.pages.append(page)
        try:
            await page.run()
        finally:
            self.pages.remove(page)
            if page in self._asked:
                self._asked.remove(page)
            if page is self._driver:
                self._kept = (page.resume, time.monotonic())
                self._drive(None)

    def handle(self, page: Connection, message: FromPage) -> None:
        """Do what a page asks for.

        Raises:
            UserError: it cannot be done; told to the page.
        """
        if isinstance(message, protocol.DRIVES):
            if page is not self._driver:
                page.tell(protocol.Error(code="not_driver", text="only the driver may do that. Ask for the wheel."))
                return
            self._steered = time.monotonic()
        match message:
            case protocol.Hello():
                self._welcome(page, message)
            case protocol.Pose():
                self.world.fly(message)
            case protocol.Ack():
                self.world.display.changed.set()
            case protocol.UseCodec():
                page.use(message.codec, self.world.scene.size)
                self.world.display.redraw()
            case protocol.Time():
                self.world.set_time(message)
            case protocol.LookAt():
                self.world.set_layer(message.layer)
            case protocol.Prompt():
                self.world.set_prompt(message.text)
            case protocol.Restart():
                self.world.restart()
            case protocol.Bookmark():
                if self.world.bookmark(message) is not None:
                    self._tell_all(protocol.Moved(state=self.world.state()))
            case protocol.SwapBranches():
                self.world.swap_branches()
                self._tell_all(protocol.Moved(state=self.world.state()))
            case protocol.Pick():
                page.tell(protocol.Picked(seq=message.seq, point=self.world.pick(message.x, message.y)))
            case protocol.Record():
                self._record(page, message)
            case protocol.Clip():
                self._in_background(page, self._clip)
            case protocol.Wheel():
                self._wheel(page, message)
            case protocol.Ping():
                page.tell(protocol.Pong(t=message.t))

    def flights(self) -> protocol.Flights:
        """The recorded flights."""
        return protocol.Flights(
            flights=[
                protocol.Flight(
                    name=each.name,
                    frames=each.frames,
                    url=f"flights/{each.name}.txt",
                    gltf=f"flights/{each.name}.gltf",
                )
                for each in self.world.flights.all()
            ]
        )

    # Inside

    def _welcome(self, page: Connection, message: protocol.Hello) -> None:
        if message.version != protocol.VERSION:
            text = f"got protocol {message.version}, expected {protocol.VERSION}. Reload the page."
            page.tell(protocol.Error(code="version", text=text))
            page.close(POLICY, text)
            return
        if page.ready:
            raise UserError("got a second hello, expected one. Connect again.")
        key, since = self._kept
        given = message.resume or ""
        kept = key != "" and time.monotonic() - since < RESUME_SECONDS
        comes_back = kept and secrets.compare_digest(given.encode(), key.encode())
        page.resume = given if comes_back else secrets.token_urlsafe(16)
        if self._driver is None or comes_back:
            self._drive(page)
        world, options = self.world, self.world.options
        page.tell(
            protocol.Welcome(
                resume=page.resume,
                driver=page is self._driver,
                generator=options.name,
                reads_prompt=options.reads_prompt,
                max_turn=None if options.max_turn is None else options.max_turn * world.frame_rate,
                can_render=self.jobs is not None,
                codecs=list(codecs(world.scene.size)),
                scene=world.facts(),
                state=world.state(),
                controls=list(CONTROLS),
            )
        )
        page.tell(self.flights())
        page.ready = True
        world.display.redraw()

    def _drive(self, page: Connection | None) -> None:
        self._driver = page
        self._steered = time.monotonic()
        self._last_status = ""
        self.world.wait_for_poses()

    def _wheel(self, page: Connection, message: protocol.Wheel) -> None:
        if message.action == "give":
            if page is self._driver:
                waiting = self._asked or [each for each in self.pages if each is not page and each.ready]
                if waiting:
                    self._drive(waiting[0])
                    self._asked = self._asked[1:]
            return
        if page is self._driver:
            return
        if self._driver is None or time.monotonic() - self._steered > SILENT_DRIVER:
            self._drive(page)
            return
        if page not in self._asked:
            self._asked.append(page)
        self._driver.tell(
            protocol.Notice(level="info", text="a watcher asks for the wheel; hand it over with the button")
        )
        raise UserError(f"somebody is driving. The wheel is free after {SILENT_DRIVER:g} seconds without steering.")

    def _record(self, page: Connection, message: protocol.Record) -> None:
        world = self.world
        match message.action:
            case "start":
                world.start_recording()
            case "stop":
                self._in_background(page, partial(self._stop_recording, message.name))
            case "delete":
                world.flights.delete(message.name or "")
                self._flight_gone(message.name or "")
            case "rename":
                world.flights.rename(message.name or "", message.to or "")
                self._flight_gone(message.name or "")

    def _flight_gone(self, name: str) -> None:
        if self.jobs is not None:
            self.jobs.forget(name)
        self._flights_changed()

    def _stop_recording(self, name: str | None) -> None:
        self.world.stop_recording(name)
        self._soon(self._flights_changed)()

    def _clip(self) -> None:
        name, seconds = self.world.save_clip()
        self._soon(self._tell_all)(protocol.ClipMade(url=f"clips/{name}", seconds=round(seconds, 2)))

    def _in_background(self, page: Connection, work: Callable[[], None]) -> None:
        """Do something with files off the event loop; what goes wrong is told to the page."""

        async def run() -> None:
            try:
                await asyncio.get_running_loop().run_in_executor(self._work, work)
            except UserError as error:
                page.tell(protocol.Error(code="refused", text=str(error)))

        self._keep(run())

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _soon(self, function: Callable[..., None]) -> Callable[..., None]:
        """The function, to be called from any thread."""

        def call(*given: object) -> None:
            loop = self._loop
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(function, *given)

        return call

    def _show(self, picture: Picture) -> None:
        for page in self.pages:
            if page.ready:
                page.show(picture)

    def _tell_all(self, message: protocol.ToPage) -> None:
        for page in self.pages:
            if page.ready:
                page.tell(message)

    def _flights_changed(self) -> None:
        self._tell_all(self.flights())

    async def _tick(self) -> None:
        """Tell the status while it changes; close pages that do not draw."""
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            now = time.monotonic()
            for page in list(self.pages):
                if page.credit.silent_for(now) > SILENT_SECONDS:
                    page.close(POLICY, "nothing was drawn for too long", retry=True)
            if not self.pages:
                continue
            status = self.world.status().model_copy(update={"pages": len(self.pages)})
            text = status.to_json()
            if text == self._last_status:
                continue
            self._last_status = text
            for page in self.pages:
                if page.ready:
                    page.tell(status.model_copy(update={"driver": page is self._driver}))
