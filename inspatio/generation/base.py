"""The contract of every generator: start a session on a scene, then step it with cameras, block by block.

    generator = factory.make_generator(...)
    for block in generate(generator, scene, trajectory, seed=7):
        ...                                                   block.frames: t h w c uint8, on the host

:func:`generate` is a scene, a trajectory and a loop; :func:`drive` is the loop, for cameras that are known beforehand.
A viewer steps the session itself, with cameras as they come. A session owns all state of one clip (caches, 3D memory,
random numbers), and its memory does not grow with the clip.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import torch

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.trajectory import Trajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError
from inspatio.scene import Scene, adapt
from inspatio.types import DepthMaps, Masks


class FrameBlock:
    """``t`` new frames of the novel view.

    ``start`` is the place of the first one in the clip. ``frames`` is ``t h w c`` uint8 RGB on the generator's device.
    ``depth`` (``t h w`` float32, z of the target view in the scene's unit, 0 unknown) and ``coverage`` (``t h w``
    uint8, 255 where the source shows the target view, 0 where it was made up) are on the host, None where the
    generator cannot know them; what a GPU drew is downloaded when it is asked for.
    """

    def __init__(
        self,
        start: int,
        frames: torch.Tensor,
        depth: DepthMaps | torch.Tensor | None,
        coverage: Masks | torch.Tensor | None,
    ) -> None:
        """Tensors are ready on the current stream wherever ``frames`` are."""
        self.start = start
        self.frames = frames
        self._depth = depth
        self._coverage = coverage

    def with_frames(self, frames: torch.Tensor) -> FrameBlock:
        """The same block with other frames, or with the same ones elsewhere."""
        return FrameBlock(self.start, frames, self._depth, self._coverage)

    @cached_property
    def depth(self) -> DepthMaps | None:
        """See the class."""
        return self._depth.cpu().numpy() if isinstance(self._depth, torch.Tensor) else self._depth

    @cached_property
    def coverage(self) -> Masks | None:
        """See the class."""
        return self._coverage.cpu().numpy() if isinstance(self._coverage, torch.Tensor) else self._coverage


def check_size(scene: Scene, size: tuple[int, int]) -> None:
    """Check that a scene's frames have the generator's ``size`` (height, width), upright or turned.

    Raises:
        ClipError: they have another one.
    """
    if scene.size not in (size, size[::-1]):
        got, expected = (f"{width}x{height}" for height, width in (scene.size, size))
        raise ClipError(
            f"{scene.clip_id}: got frames of {got}, expected the generator's {expected} or that turned. "
            "Open the scene at the profile's height and width"
        )


class Session(ABC):
    """The running generation of one clip.

    What generators have in common is here: which cameras a step takes and when a session closes. A generator
    implements ``block_frames``, ``set_prompt`` and ``_generate``. The session never ends by itself: beyond the clip's
    end the scene's timeline says what is shown, and the driver decides when to stop.
    """

    def __init__(self) -> None:
        self._start = 0
        self._closed_by: str | None = None

    @property
    def closed(self) -> bool:
        """Whether the session takes no more steps: after a block of fewer cameras, or after a step that failed."""
        return self._closed_by is not None

    @property
    @abstractmethod
    def block_frames(self) -> int:
        """How many cameras the next step takes; the generator's own number."""

    @property
    def settled(self) -> bool:
        """Whether the last cameras again would give the same frames again; False while the session improves them."""
        return True

    @abstractmethod
    def set_prompt(self, text: str) -> None:
        """Describe the scene by another text from the next step on; ignored by generators that read none."""

    def plan(self, cameras: Cameras) -> None:  # noqa: B027  most generators decide nothing beforehand
        """Take note of the cameras of the whole clip, from place 0 on, where they are known before the first step."""

    def step(self, cameras: Cameras) -> FrameBlock:
        """Generate the next block, seen from ``block_frames`` target cameras, or fewer once, which closes the session.

        Raises:
            ValueError: the cameras do not fit, or the session is closed. The session is untouched.
            Exception: any other failure (a frame that cannot be read, no memory) closes the session, because its
                state may be half advanced. Start a new one and replay its cameras.
        """
        needed = self.block_frames
        check_cameras(cameras, needed, self._closed_by)
        self._closed_by = f"the step from frame {self._start} on failed"  # unless it succeeds
        block = self._generate(cameras)
        self._start += len(cameras)
        self._closed_by = None if len(cameras) == needed else "its last block had fewer cameras than block_frames"
        return block

    @abstractmethod
    def _generate(self, cameras: Cameras) -> FrameBlock:
        """The block from place ``self._start`` on; ``cameras`` have been checked."""


def check_cameras(cameras: Cameras, block_frames: int, closed_by: str | None) -> None:
    """Refuse what a step cannot take, in the same words for every generator.

    Raises:
        ValueError: not 1 to ``block_frames`` cameras, or the session was closed by what ``closed_by`` says.
    """
    if closed_by:
        raise ValueError(f"the session is closed, because {closed_by}: got a step, expected none. Start a new session")
    if not isinstance(cameras, Cameras):
        raise ValueError(f"got {type(cameras).__name__} for a step, expected Cameras (poses with intrinsics)")
    if not 0 < len(cameras) <= block_frames:
        raise ValueError(
            f"got {len(cameras)} cameras for a step, expected {block_frames} (session.block_frames), "
            "or fewer once for the last block"
        )


class Generator(Protocol):
    """Turns scenes into novel views, with a loaded model or without one."""

    def start(self, scene: Scene, *, seed: int) -> Session:
        """Start a session on a scene; it renders live, or reads ``scene.renders`` where it needs no depth.

        Raises:
            ClipError: the scene's frames have another size than the generator's.
        """
        ...


def generate(
    generator: Generator, scene: Scene, trajectory: Trajectory, seed: int = 0, controls: Controls | None = None
) -> Iterator[FrameBlock]:
    """Generate a scene's clip along a trajectory: blocks in order, their frames on the host.

    Raises:
        ClipError: the scene has no depth to scale the trajectory by, or does not fit the generator.
    """
    adapted, cameras = adapt(scene, trajectory, controls or Controls())
    yield from drive(generator.start(adapted, seed=seed), cameras)


def drive(session: Session, cameras: Cameras) -> Iterator[FrameBlock]:
    """Step a session through cameras that are known beforehand: blocks in order, their frames on the host.

    On a GPU a block's frames travel to the host while the next block is made, so blocks come one step late there.
    """
    session.plan(cameras)
    done, pending = 0, None
    while done < len(cameras):
        block = session.step(cameras[done : done + session.block_frames])
        done += len(block.frames)
        coming = block, Download(block.frames)
        if pending is not None:
            yield _arrived(*pending)
        pending = coming
        if block.frames.device.type == "cpu":
            yield block
            pending = None
    if pending is not None:
        yield _arrived(*pending)


def _arrived(block: FrameBlock, frames: Download) -> FrameBlock:
    """The block with its frames on the host, once they are there."""
    return block.with_frames(frames.wait())


class Download:
    """A tensor on its way to the host: started at once, waited for when it is needed.

    Started before more work is enqueued, the copy does not wait for that work.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        """``tensor`` is ready on the current stream."""
        self._host = tensor
        self._copied: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(tensor.device))

    def is_ready(self) -> bool:
        """Whether :meth:`wait` answers at once."""
        return self._copied is None or self._copied.query()

    def wait(self) -> torch.Tensor:
        """The tensor on the host."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host


def take_arrived(coming: deque[tuple[int, Download]], *, wait: bool) -> Iterator[tuple[int, torch.Tensor]]:
    """Take what is on the host from the front of a queue; waits for all but the latest, or for all."""
    while coming and (wait or len(coming) > 1 or coming[0][1].is_ready()):
        block, download = coming.popleft()
        yield block, download.wait()
