"""The live world: one scene, one camera, one clock, and what two loops and any number of pages do with them.

The display loop draws the camera of now whenever something has changed and a page can take a picture. The generation
loop makes what the source does not show, for the predicted path. Neither waits for the other. Everything that the
driver does goes through the methods here, which may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from inspatio.cameras.poses import invert, unproject
from inspatio.errors import UserError
from inspatio.generation.base import Generator
from inspatio.live import protocol
from inspatio.live.clock import Run, SourceClock
from inspatio.live.compose import Composer
from inspatio.live.display import DisplayLoop, Moment
from inspatio.live.flights import FlightFile, FlightFolder, Recorder
from inspatio.live.generation import GenerationLoop
from inspatio.live.motion import (
    MAX_SPEED,
    MAX_TURN,
    Motion,
    clamped,
    limited,
    pose_matrix,
    position_and_quaternion,
)
from inspatio.live.points import scene_points
from inspatio.live.sources import DEPTH_BYTES, FRAME_BYTES, CachedSource
from inspatio.media import VideoInfo
from inspatio.render import Renderer
from inspatio.scene import Scene
from inspatio.types import CameraToWorld

MAX_BOOKMARKS = 9


@dataclass(frozen=True)
class LiveOptions:
    """What a world is besides its scene and generator.

    ``source_first``: the generator keeps what the source shows (the preview). ``max_turn``: degrees a frame that it
    was trained for. ``reads_prompt``: it reads a text.
    """

    name: str
    source_first: bool
    max_turn: float | None
    reads_prompt: bool


@dataclass(frozen=True, eq=False)
class _Bookmark:
    blocks: int
    pose: protocol.Pose | None
    frame: int


class World:
    """See the module."""

    def __init__(
        self,
        scene: Scene,
        generator: Generator,
        renderer: Renderer,
        options: LiveOptions,
        flights: FlightFolder,
        clips: Path,
        sound: VideoInfo | None = None,
    ) -> None:
        """``clips`` is an existing folder for clips of the last seconds, ``sound`` the video that their sound is of."""
        frames, depth = CachedSource(scene.frames, FRAME_BYTES), CachedSource(scene.depth, DEPTH_BYTES)
        self.scene = replace(scene, frames=frames, depth=depth, timeline=None)
        self.options = options
        self.flights = flights
        self.foreground = self.scene.foreground_depth()
        self.intrinsics = scene.lens
        self.frame_rate = float(scene.frame_rate)
        self._source_poses = invert(scene.world_to_camera)
        self.source_centres = self._source_poses[:, :3, 3]
        self._clips, self._sound = clips, sound
        self._lock = threading.RLock()
        self._moments = 1 if scene.still else len(scene.frames)
        self._clock = SourceClock(self._moments, self.frame_rate)
        self._pose: protocol.Pose | None = None
        self._pose_time = 0.0
        self._seq = 0
        self._input_time = time.monotonic()
        self._layer: protocol.Layer = "result"
        self._recorder: Recorder | None = None
        self._bookmarks: dict[str, _Bookmark] = {}
        composer = Composer(self.scene, frames, depth, renderer, self.intrinsics, source_first=options.source_first)
        self.display = DisplayLoop(scene.size, composer, frames, self.moment, self.next_change)
        self.generation = GenerationLoop(
            generator,
            self.scene,
            self.intrinsics,
            composer,
            self,
            self.display.changed.set,
            self._generator_failed,
            max_turn=options.max_turn,
        )
        self.display.generation = self.generation

    def start(self) -> None:
        """Start both loops."""
        self.display.start()
        self.generation.start()

    def stop(self) -> None:
        """Ask both loops to end and save a flight that is being recorded."""
        self.display.stop()
        self.generation.stop()
        with self._lock:
            if self._recorder is not None:
                self.stop_recording(None)

    # What the driver does

    def fly(self, pose: protocol.Pose) -> None:
        """Move the camera. Poses that are older than one that came before are ignored."""
        with self._lock:
            now = time.monotonic()
            if self._pose is not None and pose.seq <= self._pose.seq:
                return
            self._record(now)
            self._pose, self._pose_time, self._seq = pose, now, pose.seq
            self._record(now)
        self._input()

    def wait_for_poses(self) -> None:
        """A new driver starts to count: accept any number from now on."""
        with self._lock:
            if self._pose is not None:
                self._pose = self._pose.model_copy(update={"seq": -1})

    def set_time(self, message: protocol.Time) -> None:
        """Change the source's time."""
        with self._lock:
            now = time.monotonic()
            self._record(now)
            if message.seek is not None:
                self._clock.seek(now, message.seek)
            if message.step is not None:
                self._clock.step(now, message.step)
            if message.rate is not None:
                self._clock.set_rate(now, message.rate)
        self._input()

    def set_layer(self, layer: protocol.Layer) -> None:
        """Show another layer."""
        self._layer = layer
        self._input()

    def set_prompt(self, text: str) -> None:
        """Describe the scene by another text from the next block on."""
        self.generation.set_prompt(text)
        self._input()

    def restart(self) -> None:
        """Start the generator again from the source."""
        self._bookmarks.clear()
        self.generation.restart()
        self._input()

    def bookmark(self, message: protocol.Bookmark) -> _Bookmark | None:
        """Set a bookmark, or go back to one and branch there; returns where it went back to.

        Raises:
            UserError: there are too many bookmarks, or none of that name.
        """
        with self._lock:
            if message.action == "set":
                if message.name not in self._bookmarks and len(self._bookmarks) >= MAX_BOOKMARKS:
                    raise UserError(f"got a bookmark more than {MAX_BOOKMARKS}, expected that many. Reuse a name.")
                frame = self._clock.frame(time.monotonic())
                self._bookmarks[message.name] = _Bookmark(len(self.generation.log), self._pose, frame)
                return None
            if message.name not in self._bookmarks:
                raise UserError(f"bookmark {message.name!r}: there is none of that name. Set one first.")
            mark = self._bookmarks[message.name]
            self._bookmarks = {name: each for name, each in self._bookmarks.items() if each.blocks <= mark.blocks}
            now = time.monotonic()
            self._record(now)
            self._clock.set_rate(now, 0)
            self._clock.seek(now, mark.frame)
            if mark.pose is not None:
                self._stand(mark.pose.position, mark.pose.quaternion, follow=mark.pose.follow)
        self.generation.go_back(mark.blocks)
        self._input()
        return mark

    def swap_branches(self) -> None:
        """Go to the end of the branch that was left, by replaying it; its bookmarks are gone.

        Raises:
            UserError: there is no other branch.
        """
        last = self.generation.swap_branches()
        if last is None:
            raise UserError("there is no other branch, expected one. Go back to a bookmark and fly another way first.")
        position, quaternion = position_and_quaternion(invert(last.world_to_camera)[-1])
        with self._lock:
            now = time.monotonic()
            self._record(now)
            self._bookmarks.clear()
            self._clock.set_rate(now, 0)
            self._clock.seek(now, last.source_frames[-1])
            self._stand(position, quaternion, follow=False)
        self._input()

    def start_recording(self) -> None:
        """Record the flight from now on.

        Raises:
            UserError: one is being recorded.
        """
        with self._lock:
            if self._recorder is not None:
                raise UserError("a flight is being recorded, expected none. Stop it first.")
            now = time.monotonic()
            self._recorder = Recorder(self.frame_rate, self._clock, now, self.camera(now))
        self._input()

    def stop_recording(self, name: str | None) -> FlightFile:
        """Save the flight that is being recorded.

        Raises:
            UserError: none is being recorded, the name is taken, or the disk is full.
        """
        with self._lock:
            if self._recorder is None:
                raise UserError("no flight is being recorded, expected one. Start it first.")
            self._record(time.monotonic())
            trajectory = self._recorder.trajectory()
            self._recorder = None
        self.display.changed.set()
        return self.flights.save(trajectory, name)

    def pick(self, x: float, y: float) -> tuple[float, float, float] | None:
        """The point in the world under a place (0..1) of the picture shown, None where its depth is unknown."""
        height, width = self.scene.size
        column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
        shown = self.display.shown
        depth = float(shown.depth[row, column])
        if depth <= 0:
            return None
        at, where = (np.array([column]), np.array([row])), np.array([depth])
        a, b, c = unproject(*at, where, self.intrinsics, invert(shown.camera))[0].tolist()
        return a, b, c

    def save_clip(self) -> tuple[str, float]:
        """Write what was shown in the last seconds as a video (``clips.LastSeconds.save``)."""
        return self.display.last_seconds.save(self._clips, self.frame_rate, self._sound, self._runs)

    # What the loops ask

    def camera(self, now: float) -> CameraToWorld:
        """The driver's camera at a moment, kept near the scene."""
        return self._absolute(self._motion().camera_to_world, self._clock.frame(now))

    def moment(self) -> Moment:
        """What is to be shown now; a flight that is being recorded gets it too."""
        with self._lock:
            now = time.monotonic()
            self._record(now)
            return Moment(now, self._seq, self._layer, self._clock.frame(now), self._clock.rate, self.camera(now))

    def next_change(self) -> float | None:
        """Seconds until time alone changes what is to be shown; None where it stands."""
        return self._clock.next_change()

    def idle_seconds(self, now: float) -> float:
        """For how long nobody has steered (``generation.Wanted``)."""
        return now - self._input_time

    def predict(self, now: float, delays: Sequence[float]) -> tuple[int, list[CameraToWorld], list[int]]:
        """The newest pose's number, cameras and source frames some seconds from now (``generation.Wanted``)."""
        with self._lock:
            motion = self._motion()
            since = now - self._pose_time
            sources = [self._clock.frame(now + delay) for delay in delays]
            poses = [motion.after(since + delay) for delay in delays]
            return self._seq, [self._absolute(*each) for each in zip(poses, sources, strict=True)], sources

    def status(self) -> protocol.Status:
        """The numbers of the page's display, for a watcher."""
        running = self.generation.state == "running"
        shown = self.display.shown
        height, width = self.scene.size
        centre = shown.depth[height // 3 : -height // 3, width // 3 : -width // 3]
        known = centre[centre > 0]
        return protocol.Status(
            display_fps=float(self.display.frames_per_second),
            generated_fps=round(self.generation.frames_per_second, 1) if running else 0.0,
            block_ms=round(self.generation.block_seconds * 1000),
            block_frames=self.generation.block_frames,
            lag_ms=round(shown.lag_ms),
            coverage=round(shown.coverage, 3),
            source_frame=self._clock.frame(time.monotonic()),
            rate=self._clock.rate,
            centre_depth=round(float(np.median(known[::64])), 3) if known.size else self.foreground,
            generator=self.generation.state,
            replayed=round(self.generation.replayed, 2),
            recording=len(self._recorder) if self._recorder else 0,
            driver=False,
            pages=0,
            bookmarks=sorted(self._bookmarks),
            branches=1 if self.generation.other is None else 2,
        )

    def state(self) -> protocol.State:
        """Where the camera is, for a page that joins."""
        with self._lock:
            position, quaternion = position_and_quaternion(self._motion().camera_to_world)
            follow = self._pose.follow if self._pose else True
            return protocol.State(
                position=position, quaternion=quaternion, follow=follow, seq=self._seq, layer=self._layer
            )

    @cached_property
    def points(self) -> bytes:
        """Points of the scene for the page's view in space (``points.scene_points``)."""
        return scene_points(self.scene)

    def facts(self) -> protocol.SceneFacts:
        """What pages need to know of the scene."""
        places = [position_and_quaternion(pose) for pose in self._source_poses[: self._moments]]
        return protocol.SceneFacts(
            clip=self.scene.clip_id,
            size=self.scene.size,
            frames=self._moments,
            fps=self.frame_rate,
            foreground=self.foreground,
            focal=float(self.intrinsics[1, 1]),
            scale=self.scene.scale,
            source_path=[position for position, _ in places],
            source_turns=[quaternion for _, quaternion in places],
        )

    # Inside

    def _stand(self, position: protocol.Vector, quaternion: protocol.Quaternion, *, follow: bool) -> None:
        """Put the camera there, without a motion."""
        still = (0.0, 0.0, 0.0)
        self._pose = protocol.Pose(
            type="pose",
            seq=self._seq,
            position=position,
            quaternion=quaternion,
            velocity=still,
            turn=still,
            follow=follow,
        )

    def _motion(self) -> Motion:
        if self._pose is None:
            return Motion(np.eye(4), np.zeros(3), np.zeros(3))
        return Motion(
            pose_matrix(self._pose.position, self._pose.quaternion),
            limited(np.array(self._pose.velocity), MAX_SPEED * self.foreground),
            limited(np.array(self._pose.turn), MAX_TURN),
        )

    def _absolute(self, camera_to_world: CameraToWorld, source_frame: int) -> CameraToWorld:
        if self._pose is None or self._pose.follow:
            camera_to_world = self._source_poses[source_frame] @ camera_to_world
        return clamped(camera_to_world, self.source_centres, self.foreground)

    def _input(self) -> None:
        self._input_time = time.monotonic()
        self.display.changed.set()
        self.generation.poke()

    def _runs(self, start: float, end: float) -> list[Run]:
        with self._lock:
            return self._clock.runs(start, end)

    def _record(self, now: float) -> None:
        if self._recorder is not None:
            self._recorder.moved(now, self.camera(now))

    def _generator_failed(self, reason: str) -> None:
        self.display.changed.set()
        self.display.on_notice(protocol.Notice(level="error", text=f"the generator stopped: {reason}"))
