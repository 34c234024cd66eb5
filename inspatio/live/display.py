"""The display loop: draw the camera of now whenever something has changed and a page can take a picture."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspatio.live import picture_header, protocol
from inspatio.live.clips import LastSeconds
from inspatio.live.compose import Composer, GeneratedFrame
from inspatio.live.encode import encode_jpeg
from inspatio.live.generation import GenerationLoop
from inspatio.live.motion import position_and_quaternion
from inspatio.live.picture_header import PictureHeader
from inspatio.live.sources import CachedSource
from inspatio.types import CameraToWorld, Image

MAX_FPS = 30.0
SETTLED = 0.1
"""Seconds without motion of camera and time after which a picture is drawn again with outlines taken apart, which takes
longer."""
CUT_FRAMES = 8
"""A jump in source time that is longer changes the whole picture; time that runs fast is shorter."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn picture: its header, as ``h w 3`` and as JPEG. ``cut``: it does not go on from the one before."""

    header: PictureHeader
    image: Image
    jpeg: bytes
    cut: bool


@dataclass(frozen=True, eq=False)
class Moment:
    """What is to be shown at a moment: the newest pose's number, the layer, the source frame, the camera."""

    time: float
    seq: int
    layer: protocol.Layer
    source_frame: int
    rate: float
    camera: CameraToWorld


@dataclass(frozen=True, eq=False)
class Shown:
    """The last picture: its camera, depth (``h w``, 0 unknown), coverage, and how old its content is."""

    camera: CameraToWorld
    depth: NDArray[np.float32]
    coverage: float
    lag_ms: float


class DisplayLoop(threading.Thread):
    """See the module. Set the callbacks before it starts; they are called on its thread."""

    def __init__(
        self,
        size: tuple[int, int],
        composer: Composer,
        frames: CachedSource,
        moment: Callable[[], Moment],
        next_change: Callable[[], float | None],
    ) -> None:
        """``moment`` says what to show now; ``next_change`` in how many seconds time alone changes that."""
        super().__init__(name="inspatio-display", daemon=True)
        self.generation: GenerationLoop | None = None
        self.wants_picture: Callable[[], bool] = lambda: True
        self.on_picture: Callable[[Picture], None] = lambda picture: None
        self.on_notice: Callable[[protocol.Notice], None] = lambda notice: None
        self.changed = threading.Event()
        self.shown = Shown(np.eye(4), np.zeros(size, np.float32), 1.0, 0.0)
        self._composer, self._frames = composer, frames
        self._moment, self._next_change = moment, next_change
        self._looks: tuple | None = None
        self._place: tuple[bytes, int] = (b"", 0)
        self._moved, self._fine = 0.0, False
        self._last: tuple[protocol.Layer, int] = ("result", 0)
        self._drawn: deque[float] = deque(maxlen=60)
        self.last_seconds = LastSeconds(size)
        self._number = 0
        self._stopping = False

    def stop(self) -> None:
        """End after the picture that is being drawn."""
        self._stopping = True
        self.changed.set()

    def redraw(self) -> None:
        """Draw, though nothing has changed: somebody is new."""
        self._looks = None
        self.changed.set()

    @property
    def frames_per_second(self) -> int:
        """How many pictures were drawn in the last second."""
        now = time.monotonic()
        return sum(now - each < 1 for each in self._drawn.copy())

    def run(self) -> None:
        assert self.generation is not None, "set by the world"
        while not self._stopping:
            waits = [self._next_change(), self.generation.next_due(time.monotonic()), self._settles_in()]
            self.changed.wait(min((each for each in waits if each is not None), default=None))
            self.changed.clear()
            if self._stopping or not self.wants_picture():
                continue
            moment = self._moment()
            generated = self.generation.newest(moment.time)
            place = moment.camera.tobytes(), moment.source_frame
            if moment.rate or place != self._place:
                self._place, self._moved = place, moment.time
            fine = moment.time - self._moved >= SETTLED
            looks = (moment.layer, place, fine, generated and generated.number)
            if looks == self._looks:
                continue
            self._looks, self._fine = looks, fine
            try:
                self._draw(moment, generated, fine=fine, resting=self.generation.state in ("resting", "freed"))
            except Exception as error:  # noqa: BLE001
                # A frame of the source that cannot be read must not end the display of the others.
                _log.exception("a picture could not be drawn")
                self.on_notice(protocol.Notice(level="error", text=f"picture: {error}"[:300]))
            if moment.rate:
                self._frames.read_ahead(moment.source_frame, moment.rate > 0)
            time.sleep(max(0.0, moment.time + 1 / MAX_FPS - time.monotonic()))

    def _settles_in(self) -> float | None:
        """Seconds until what was drawn in motion can be drawn finely; None where it is, or nobody takes a picture."""
        if self._fine or not self.wants_picture():
            return None
        return max(0.0, self._moved + SETTLED - time.monotonic())

    def _draw(self, moment: Moment, generated: GeneratedFrame | None, *, fine: bool, resting: bool) -> None:
        branch = self.generation.other if self.generation is not None and moment.layer == "branches" else None
        other = None if branch is None else branch.frame_near(moment.camera, moment.source_frame)
        composed = self._composer.compose(
            moment.source_frame, moment.camera, generated, moment.layer, other, outlines=fine
        )
        jpeg = encode_jpeg(composed.image)
        # A generator that rests has nothing newer to show, so the content is as new as the picture.
        lag = 0.0 if generated is None or resting else (moment.time - generated.commanded) * 1000
        self._number += 1
        self.shown = Shown(moment.camera, composed.depth, composed.coverage, lag)
        self._drawn.append(moment.time)
        self.last_seconds.add(moment.time, jpeg)
        position, quaternion = position_and_quaternion(moment.camera)
        header = PictureHeader(
            kind=picture_header.KIND_PICTURE,
            codec=picture_header.CODEC_JPEG,
            flags=(picture_header.FLAG_GENERATED | picture_header.FLAG_WARPED) if generated else 0,
            frame=self._number,
            seq=moment.seq,
            generated=generated.number if generated else 0,
            answers=generated.answers if generated else 0,
            source_frame=moment.source_frame,
            coverage=composed.coverage,
            age_ms=lag,
            server_time=moment.time,
            position=position,
            quaternion=quaternion,
        )
        layer, frame = self._last
        cut = layer != moment.layer or abs(frame - moment.source_frame) > CUT_FRAMES
        self._last = moment.layer, moment.source_frame
        self.on_picture(Picture(header, composed.image, jpeg, cut))
