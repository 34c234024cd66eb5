"""The generator without a network: the render stays, and its holes are filled from a 3D memory of the scene.

For every block: what the render covers is kept as it is, but for pixels on the outlines of near things, which are taken
apart into their two surfaces (``render/matting.py``). Holes show what the session's memory has of the place: source
frames of other times, and views that the session completed itself, made when a block's cameras see something that
nobody saw (``memory.py``, ``fill.py``). A place that the current source frame looks through is not taken from memory.
Small gaps that remain are filled from the farther side. Where a fill meets the render on the same surface, their
difference is spread into the fill, so that no seam shows.

It needs the depth of the target view, so it always renders for itself, on the CPU; render files are not read. The
memory changes only between blocks, so the frames of a block are filled side by side. There is no random number: the
seed changes nothing. It runs on as many threads as torch uses.

A live session must not stop while a view is completed: it does that on a thread beside, and takes the view into the
memory a fixed number of blocks later, however long it took, so that the same cameras give the same frames. Outlines are
left as they are there: the live display takes the source's own apart by itself, and the holes alone from here.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from inspatio.cameras.cameras import Cameras
from inspatio.generation.base import FrameBlock, Session, check_size
from inspatio.generation.preview.fill import Finish, TargetView, complete_view
from inspatio.generation.preview.inpaint import Completion
from inspatio.generation.preview.memory import MAX_KEYFRAMES, Camera, Keyframe, SceneMemory, View, init_memory
from inspatio.jit import on_pool
from inspatio.render import Renderer, WarpRenderer
from inspatio.render.views import render_separated_scene
from inspatio.scene import Scene

VERSION = 6
LIVE_BLOCK_FRAMES = 2
"""Short blocks follow a person sooner; a block of 12 would be a second late."""
LIVE_COMPLETION_BLOCKS = 10
"""After so many blocks a live session takes up a view that it completes beside: about as long as that takes."""
FIRST_BLOCK_FRAMES, BLOCK_FRAMES = 9, 12
"""The neural generator's blocks, so that a preview shows what it will. Frames depend on them: views are completed
between blocks."""


@dataclass(frozen=True)
class PreviewOptions:
    """``observed``: source frames that the memory starts from; ``completed``: completed views that it holds at most;
    ``gap``: the share of a frame that may be unknown before a view is completed."""

    observed: int = 8
    completed: int = 8
    gap: float = 0.01

    def __post_init__(self) -> None:
        if self.observed < 0 or self.completed < 1 or self.observed + self.completed > MAX_KEYFRAMES:
            raise ValueError(
                f"preview: got observed {self.observed} and completed {self.completed}, "
                f"expected at least 0 and 1, together at most {MAX_KEYFRAMES}"
            )


def describe_preview(size: tuple[int, int], options: PreviewOptions | None = None) -> dict[str, Any]:
    """What a preview depends on besides scene and renderer, as JSON values: version, (height, width), options.

    The seed and the number of threads change nothing.
    """
    return {"name": "preview", "version": VERSION, "size": list(size), **asdict(options or PreviewOptions())}


class PreviewGenerator:
    """See the module. ``size`` is (height, width) of the frames, and must be the scene's, or that turned."""

    def __init__(
        self,
        size: tuple[int, int] = (480, 832),
        renderer: Renderer | None = None,
        options: PreviewOptions | None = None,
        threads: int | None = None,
        live: bool = False,
        finish: Finish = Completion.softened,
    ) -> None:
        """``renderer``: draws live [forward splat on the CPU]; ``threads``: for filling [as many as torch uses];
        ``live``: short blocks, and views are completed beside them; ``finish``: makes the pictures of completed
        views."""
        self.size = size
        self.options = options or PreviewOptions()
        self.threads = threads or torch.get_num_threads()
        self.renderer = renderer or WarpRenderer(threads=self.threads)
        self.live = live
        self.finish = finish

    def start(self, scene: Scene, *, seed: int) -> PreviewSession:
        """Start a session (``base.Generator``); reads a few frames from all over the clip."""
        check_size(scene, self.size)
        return PreviewSession(self, scene)


class PreviewSession(Session):
    """The running preview of one clip (``base.Session``)."""

    def __init__(self, generator: PreviewGenerator, scene: Scene) -> None:
        super().__init__()
        self._scene = scene
        self._options, self._threads, self._renderer = generator.options, generator.threads, generator.renderer
        self._live, self._finish = generator.live, generator.finish
        self._block = 0
        self._completing: _Completion | None = None
        self._completed_from: Camera | None = None
        self.memory = SceneMemory(self._options.observed + self._options.completed)
        for keyframe in init_memory(scene, self._options.observed, self._threads):
            self.memory.add(keyframe, pinned=True)

    @property
    def block_frames(self) -> int:
        """2 cameras live; else 9 for the first block, 12 for every later one."""
        if self._live:
            return LIVE_BLOCK_FRAMES
        return BLOCK_FRAMES if self._start else FIRST_BLOCK_FRAMES

    @property
    def settled(self) -> bool:
        """False while a view is being completed."""
        return self._completing is None

    def set_prompt(self, text: str) -> None:
        """Accepted without effect: the preview reads no text."""

    def _generate(self, cameras: Cameras) -> FrameBlock:
        if self._completing is not None and self._completing.due == self._block:
            self.memory.add(self._completing.result())
            self._completing = None
        targets, masks = self._render(cameras)
        views = self._remembered(targets)
        gaps = [target.gap(view) for target, view in zip(targets, views, strict=True)]
        worst = int(np.argmax(gaps))
        if gaps[worst] > self._options.gap:
            if self._live:
                self._complete_beside(targets[worst].camera)
            else:
                self.memory.add(complete_view(self.memory, targets[worst].camera, self._threads, self._finish))
                views = self._remembered(targets)
        self._block += 1
        filled = on_pool(lambda i: targets[i].filled(views[i]), len(targets), self._threads)
        frames, depths = (np.stack(each) for each in zip(*filled, strict=True))
        return FrameBlock(self._start, torch.from_numpy(frames), depths, masks)

    def _complete_beside(self, camera: Camera) -> None:
        """Start to complete a view, unless one is being completed or this was the last: it has no more to give."""
        before = self._completed_from
        again = before is not None and np.array_equal(before.world_to_camera, camera.world_to_camera)
        if self._completing is None and not again:
            self._completed_from = camera
            self._completing = _Completion(self.memory, camera, self._block + LIVE_COMPLETION_BLOCKS, self._finish)

    def _render(self, cameras: Cameras) -> tuple[list[TargetView], np.ndarray]:
        """The block's target views with the source depth that they came from, and their masks."""
        size = self._scene.size
        render, edges, source, depth = render_separated_scene(
            self._scene, self._start, cameras, self._threads, whole=self._renderer if self._live else None
        )
        assert render.depth is not None, "depth was asked for"
        targets = [
            TargetView(
                Camera(cameras.intrinsics[i], cameras.world_to_camera[i], size),
                render.frames[i],
                render.masks[i] == 0,
                render.depth[i],
                Camera(source.intrinsics[i], source.world_to_camera[i], size),
                depth[i],
                edges[i],
            )
            for i in range(len(cameras))
        ]
        return targets, render.masks

    def _remembered(self, targets: list[TargetView]) -> list[View]:
        """What the memory has for the holes of the views and their borders."""
        return on_pool(
            lambda i: self.memory.render_view(targets[i].camera, targets[i].holes_and_ring),
            len(targets),
            self._threads,
        )


class _Completion(threading.Thread):
    """A view that is completed beside the session, for its block ``due``. The memory must not change meanwhile."""

    def __init__(self, memory: SceneMemory, camera: Camera, due: int, finish: Finish) -> None:
        super().__init__(name="inspatio-completion", daemon=True)
        self.due = due
        self._memory, self._camera, self._finish = memory, camera, finish
        self._outcome: Keyframe | Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._outcome = complete_view(self._memory, self._camera, threads=1, finish=self._finish)
        except Exception as error:  # noqa: BLE001
            self._outcome = error  # raised where the view is taken up

    def result(self) -> Keyframe:
        """The completed view, once it is there."""
        self.join()
        assert self._outcome is not None, "the thread has ended"
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome
