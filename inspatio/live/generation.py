"""The generation loop: predict the path, commit source time, step the session, hand the frames to the display.

It runs on a thread of its own and is the only one to touch the session; a program's session (``realtime.py``) takes
turns with it on the generator, block by block. What it feeds to the session (source frames, cameras, prompts) is the
event log: playing the log through the same generator again gives the same
frames, whatever the display did meanwhile. Going back to a bookmark is such a replay, up to the bookmark's block. What
was flown after that block is the *other branch*: its log and some of its frames are kept, to be compared or gone to.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.cameras.timeline import Timeline
from inspatio.errors import ClipError
from inspatio.generation.base import FrameBlock, Generator, Session
from inspatio.live.branches import Branch, Event, Samples
from inspatio.live.compose import Composer, GeneratedFrame
from inspatio.live.motion import slewed
from inspatio.scene import Scene
from inspatio.types import CameraToWorld, Intrinsics

IDLE_SECONDS = 60.0
"""Without input for so long the generator rests; the display goes on."""
FREE_SECONDS = 15 * 60.0
"""Without input for so long the session is freed; its event log is replayed when somebody comes back."""
NICENESS = 19
"""Of a generator on the CPU: a person sees a display that stutters before content that is late."""
RestState: TypeAlias = Literal["starting", "running", "resting", "failed", "replaying", "freed"]
LONGEST_LOG = 100_000
"""Blocks in an event log; beyond it a session is too long to be replayed, and its bookmarks are dropped."""

_log = logging.getLogger(__name__)


def replay(generator: Generator, scene: Scene, intrinsics: Intrinsics, log: Sequence[Event]) -> Iterator[FrameBlock]:
    """Play an event log through a new session; yields its blocks."""
    session, timeline = start_live(generator, scene)
    for event in log:
        yield _feed(session, timeline, event, intrinsics)


def start_live(generator: Generator, scene: Scene, seed: int = 0) -> tuple[Session, Timeline]:
    """A session on a scene whose source time is committed block by block."""
    timeline = Timeline((), later=range(len(scene.frames)))
    return generator.start(replace(scene, timeline=timeline), seed=seed), timeline


def _feed(session: Session, timeline: Timeline, event: Event, intrinsics: Intrinsics) -> FrameBlock:
    if event.prompt is not None:
        session.set_prompt(event.prompt)
    timeline.append(event.source_frames)
    return session.step(Cameras.from_poses(event.world_to_camera, intrinsics))


def _leave_the_cores() -> None:
    """Let this thread, and those that it will start, have what the display and the page leave of the cores (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _reason(error: Exception) -> str:
    """What stopped the generator, in one line."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return f"{reason} Start the live world with a smaller profile."
    return reason


class Wanted(Protocol):
    """What the loop asks of the world before each block."""

    def idle_seconds(self, now: float) -> float:
        """For how long nobody has steered."""
        ...

    def next_change(self) -> float | None:
        """Seconds until time alone changes what is wanted; None where it stands."""
        ...

    def predict(self, now: float, delays: Sequence[float]) -> tuple[int, list[CameraToWorld], list[int]]:
        """The newest pose message, and the cameras and source frames so many seconds from now."""
        ...


class GenerationLoop(threading.Thread):
    """See the module. ``changed`` is called, on this thread, whenever a frame or the state is new."""

    def __init__(
        self,
        generator: Generator,
        scene: Scene,
        intrinsics: Intrinsics,
        composer: Composer,
        wanted: Wanted,
        changed: Callable[[], None],
        failed: Callable[[str], None],
        *,
        max_turn: float | None,
    ) -> None:
        """``max_turn``: degrees a frame that the generator follows; None: any."""
        super().__init__(name="inspatio-generation", daemon=True)
        self.generator, self.turn = generator, threading.Lock()
        self._scene, self._intrinsics = scene, intrinsics
        self._composer, self._wanted, self._changed, self._failed = composer, wanted, changed, failed
        self._max_turn = max_turn
        self._wake = threading.Condition()
        self._work = False
        self._stopping = False
        self._restart: Sequence[Event] | None = ()  # start a new session and replay these events
        self._prompt: str | None = None
        self._session: Session | None = None
        self._timeline: Timeline | None = None
        self._frames: deque[GeneratedFrame] = deque(maxlen=64)
        self._count = 0
        self._samples = Samples()
        self.log: list[Event] = []
        self.other: Branch | None = None
        self.state: RestState = "starting"
        self.replayed = 0.0
        self.block_seconds = 0.2
        self.block_frames = 0
        self.frames_per_second = 0.0

    # What other threads call

    def poke(self) -> None:
        """Something may have changed: look for work."""
        with self._wake:
            self._work = True
            self._wake.notify()

    def stop(self) -> None:
        """End after the block that is being made."""
        self._stopping = True
        self.poke()

    def restart(self) -> None:
        """Start a new session from the source, without branches."""
        self._restart, self.other = (), None
        self.poke()

    def go_back(self, blocks: int) -> None:
        """Leave this branch: start a new session and replay that many blocks of the event log in it."""
        log = tuple(self.log)
        self._leave(log)
        self._restart = log[:blocks]
        self.poke()

    def swap_branches(self) -> Event | None:
        """Replay the other branch and go on at its end; this one becomes the other.

        Returns:
            The last block of the branch gone to; None where there is no other.
        """
        other = self.other
        if other is None:
            return None
        self._leave(tuple(self.log))
        self._restart = other.log
        self.poke()
        return other.log[-1]

    def _leave(self, log: tuple[Event, ...]) -> None:
        whole = self._restart is None and self.state not in ("starting", "replaying")
        if log and whole:
            self.other = Branch(log, tuple(self._samples.frames))

    def set_prompt(self, text: str) -> None:
        """Describe the scene by another text from the next block on."""
        self._prompt = text
        self.poke()

    def newest(self, now: float) -> GeneratedFrame | None:
        """The newest frame that is due."""
        due = [frame for frame in self._frames.copy() if frame.due <= now]
        return due[-1] if due else None

    def next_due(self, now: float) -> float | None:
        """Seconds until another frame is due; None where there is none."""
        return min((frame.due - now for frame in self._frames.copy() if frame.due > now), default=None)

    # The thread

    def run(self) -> None:
        while not self._stopping:
            try:
                worked = self._once()
            except Exception as error:  # noqa: BLE001
                # Whatever a generator raises must not end the picture: it is shown, and a new session can be started.
                _log.exception("the generator failed")
                self._session = None
                self._set_state("failed")
                self._failed(_reason(error))
                worked = False
            if not worked:
                with self._wake:
                    if not self._work and not self._stopping:
                        self._wake.wait(self._rest_seconds())
                    self._work = False

    def _once(self) -> bool:
        """Do what there is to do next; returns whether there may be more."""
        if self._restart is not None:
            log, self._restart = self._restart, None
            self._start(log)
            return True
        now = time.monotonic()
        idle = self._wanted.idle_seconds(now)
        if self._session is None or self._timeline is None:
            if self.state == "freed" and idle < IDLE_SECONDS:
                self._restart = tuple(self.log)
                return True
            return False
        if idle > FREE_SECONDS:
            self._session = None
            self._set_state("freed")
            return False
        if idle > IDLE_SECONDS:
            self._set_state("resting")
            return False
        event, answers = self._next_event(now, self._session)
        if event is None:
            self._set_state("resting")
            return False
        self._set_state("running")
        with self.turn:
            block = _feed(self._session, self._timeline, event, self._intrinsics)
        self._keep(event)
        self._show(block, event, answers, now)
        if block.frames.device.type == "cpu":
            _leave_the_cores()
        return True

    def _rest_seconds(self) -> float | None:
        """How long to wait where nothing else happens: until time changes something, or the session is freed."""
        if self.state != "resting":
            return None
        idle = self._wanted.idle_seconds(time.monotonic())
        free = max(0.0, FREE_SECONDS - idle) + 0.01
        change = self._wanted.next_change() if idle < IDLE_SECONDS else None
        return free if change is None else min(free, change)

    def _start(self, log: Sequence[Event]) -> None:
        self.log, self._samples = [], Samples()
        self._session = None  # before the new one, so that there are never two
        self._set_state("starting")
        with self.turn:
            self._session, self._timeline = start_live(self.generator, self._scene)
        for number, event in enumerate(log):
            if self._stopping or self._restart is not None:
                return
            self.replayed = number / len(log)
            self._set_state("replaying")
            with self.turn:
                block = _feed(self._session, self._timeline, event, self._intrinsics)
            self._keep(event)
            if number == len(log) - 1 or self._samples.wants(number):
                self._show(block, event, 0, None)
        self.poke()

    def _next_event(self, now: float, session: Session) -> tuple[Event | None, int]:
        """The next block for the predicted path; None where the newest frame shows it already.

        Frames that are made one by one have no past that a jump could break: they are for the camera of now.
        """
        count = session.block_frames
        step = self.block_seconds / count
        delays = [0.0] if count == 1 else [self.block_seconds + i * step for i in range(count)]
        answers, cameras, sources = self._wanted.predict(now, delays)
        before = self._frames[-1] if self._frames else None
        last = None if before is None else invert(before.camera.world_to_camera)[0]
        if self._max_turn is not None and last is not None:
            for i, wanted in enumerate(cameras):
                cameras[i] = last = slewed(last, wanted, self._max_turn)
        prompt, self._prompt = self._prompt, None
        poses = invert(np.stack(cameras))
        still = session.settled and prompt is None and bool(self.log)  # a new session has shown nothing yet
        still = still and before is not None and all(number == before.source_frame for number in sources)
        if still and before is not None and np.abs(poses - before.camera.world_to_camera).max() < 1e-9:
            return None, answers
        return Event(tuple(sources), poses, prompt), answers

    def _keep(self, event: Event) -> None:
        self.log.append(event)
        if len(self.log) > LONGEST_LOG:
            raise ClipError(f"the session has {LONGEST_LOG} blocks, expected fewer. Restart the generator.")

    def _show(self, block: FrameBlock, event: Event, answers: int, commanded: float | None) -> None:
        """Hand the frames of a block to the display, each when it is due; ``commanded`` is None in a replay."""
        if block.depth is not None and not np.isfinite(block.depth).all():
            raise ClipError(f"block from frame {block.start} on: got depth that is not finite, expected finite values")
        done = time.monotonic()
        frames = block.frames.cpu().numpy()
        count = len(frames)
        took = 0.0
        if commanded is not None:
            took = done - commanded
            self.block_seconds = 0.7 * self.block_seconds + 0.3 * took if self.block_frames else took
            self.frames_per_second = count / max(self.block_seconds, 1e-3)
        self.block_frames = count
        for i in range(count):
            depth = None if block.depth is None else block.depth[i]
            coverage = None if block.coverage is None else block.coverage[i]
            self._count += 1
            self._frames.append(
                GeneratedFrame(
                    number=self._count,
                    answers=answers,
                    commanded=done if commanded is None else commanded,
                    due=done + i * min(took / count, 0.25),
                    image=frames[i],
                    depth=self._composer.warpable(frames[i], depth, coverage),
                    camera=Cameras.from_poses(event.world_to_camera[i : i + 1], self._intrinsics),
                    source_frame=event.source_frames[i],
                )
            )
        if self._samples.wants(len(self.log) - 1):
            self._samples.add(self._frames[-1])
        while len(self._frames) > count + 2:
            self._frames.popleft()
        self._changed()

    def _set_state(self, state: RestState) -> None:
        if state != self.state or state == "replaying":
            self.state = state
            self._changed()
