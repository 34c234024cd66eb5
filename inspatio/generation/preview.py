"""The generator without a network: the render stays, and its holes are filled from a memory of the scene.

For every block: what the render covers is kept as it is. Holes show what the session's memory in 3D has of the place:
source frames of other times (``observe.py``), and views that the session completed itself (``complete.py``, made
when a block's cameras see something that nobody saw). A place that the current source frame looks through is not taken from
memory. Small gaps that remain are diffused from the farther side. Where a fill meets the render on the same
surface, their difference is spread into the fill, so that no seam shows.

The memory changes only between blocks, so the frames of a block are filled side by side. There is no random number:
the seed changes nothing. Runs on the CPU, on as many threads as torch uses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.generation import memory_loops as loops
from inspatio.generation.base import BLOCK_FRAMES, FIRST_BLOCK_FRAMES, Block, RenderSource
from inspatio.generation.complete import complete
from inspatio.generation.inpaint import diffuse
from inspatio.generation.memory import Camera, SceneMemory, Sight
from inspatio.generation.observe import AGREEMENT, observe
from inspatio.render import WarpRenderer
from inspatio.render.jit import on_threads
from inspatio.render.live import target_intrinsics
from inspatio.scene import Scene
from inspatio.types import Frames, Image, WorldToCamera

VERSION = 1
RING = 2
"""Width in pixels of the covered border along which a fill is compared with the render."""
RING_SMOOTHING = 9
BACKGROUND_POWER = 8
"""How much more a far pixel counts than a near one when a gap between them is filled."""
BACKGROUND_WINDOW = 31


@dataclass(frozen=True)
class PreviewOptions:
    """``observed``: source frames that the memory starts from; ``completed``: completed views that it holds at most;
    ``gap``: the share of a frame that may be unknown before a view is completed."""

    observed: int = 8
    completed: int = 8
    gap: float = 0.001


class PreviewGenerator:
    """See the module. ``size`` is (height, width) of the frames, and must be the scene's."""

    def __init__(
        self, size: tuple[int, int] = (480, 832), options: PreviewOptions | None = None, threads: int | None = None
    ) -> None:
        self.size = size
        self.options = options or PreviewOptions()
        self._threads = threads or torch.get_num_threads()

    def fingerprint(self) -> dict[str, Any]:
        """What its results depend on besides the scene; the seed and the number of threads do not count."""
        return {"name": "preview", "version": VERSION, "size": list(self.size), **asdict(self.options)}

    def start(self, scene: Scene, *, seed: int, renders: RenderSource | None = None) -> PreviewSession:
        """A fresh session; reads a few frames from all over the clip."""
        assert scene.size == self.size, f"a scene of {scene.size}, expected {self.size}"
        return PreviewSession(scene, self.options, renders, self._threads)


class PreviewSession:
    """The running preview of one clip (``generation.base.Session``)."""

    def __init__(self, scene: Scene, options: PreviewOptions, renders: RenderSource | None, threads: int) -> None:
        self._scene = scene
        self._options = options
        self._renders = renders
        self._threads = threads
        self._renderer = WarpRenderer(threads=threads)
        self._intrinsics = target_intrinsics(scene.intrinsics[0], scene.size)
        self._next = 0
        self.memory = SceneMemory(options.observed + options.completed)
        for view in observe(scene, options.observed, threads):
            self.memory.add(view, pinned=True)

    @property
    def frames_needed(self) -> int:
        block = BLOCK_FRAMES if self._next else FIRST_BLOCK_FRAMES
        return min(block, len(self._scene) - self._next)

    def step(self, world_to_camera: WorldToCamera) -> Block:
        assert 0 < len(world_to_camera) <= self.frames_needed, f"{len(world_to_camera)} cameras, expected {self.frames_needed}"
        start = self._next
        views = self._render(start, world_to_camera)
        self._next += len(views)
        self._remember(views)
        results = np.empty((len(views), *self._scene.size, 3), np.uint8)

        def work(worker: int) -> None:
            for i in range(worker, len(views), self._threads):
                results[i] = views[i].filled(self.memory)

        on_threads(work, range(min(self._threads, len(views))))
        return Block(start, torch.from_numpy(results))

    def _render(self, start: int, world_to_camera: WorldToCamera) -> list[_TargetView]:
        """Render, mask and depth of the block's views, and the source depth that they came from."""
        places = list(range(start, start + len(world_to_camera)))
        depth = self._scene.read_depth(places)
        intrinsics, poses = self._scene.intrinsics[places], self._scene.world_to_camera[places]
        frames, masks, target_depth = self._renderer.render_with_depth(
            self._scene.read_frames(places), depth, intrinsics, poses, self._intrinsics, world_to_camera
        )
        if self._renders is not None:
            frames, masks = self._renders.read(start, world_to_camera)
        return [
            _TargetView(
                Camera(self._intrinsics, world_to_camera[i], self._scene.size),
                frames[i],
                masks[i] == 0,
                target_depth[i],
                Camera(intrinsics[i], poses[i], self._scene.size),
                depth[i],
            )
            for i in range(len(places))
        ]

    def _remember(self, views: list[_TargetView]) -> None:
        """Complete the view of the block that the memory knows least of, where that is too little."""
        gaps = np.zeros(len(views))

        def work(worker: int) -> None:
            for i in range(worker, len(views), self._threads):
                gaps[i] = views[i].unknown(self.memory)

        on_threads(work, range(min(self._threads, len(views))))
        worst = int(np.argmax(gaps))
        if gaps[worst] > self._options.gap:
            self.memory.add(complete(self.memory, views[worst].camera, self._threads))


@dataclass(frozen=True)
class _TargetView:
    """One frame to be made: its camera, what the render has of it, and the source frame it shows."""

    camera: Camera
    render: Image
    holes: NDArray[np.bool_]
    depth: NDArray[np.float32]
    """``h w`` z-depth of the render, 0 in the holes."""
    source_camera: Camera
    source_depth: NDArray[np.float32]

    def unknown(self, memory: SceneMemory) -> float:
        """The share of the frame that neither render nor memory knows."""
        holes = self.holes & ~self._cracks()
        if not holes.any():
            return 0.0
        sight = memory.look(self.camera, holes.astype(np.uint8))
        return float((holes & (sight.depth == 0)).mean())

    def filled(self, memory: SceneMemory) -> Image:
        """The render with its holes filled."""
        if not self.holes.any():
            return self.render
        holes = self.holes.astype(np.uint8)
        ring = (cv2.dilate(holes, np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)) > 0) & ~self.holes
        sight = memory.look(self.camera, (self.holes | ring).astype(np.uint8))
        matrix, vector = self.camera.pixels_to(self.source_camera)
        loops.looks_through(sight.depth, holes, matrix, vector, self.source_depth, np.float32(AGREEMENT))
        cracks = self._cracks()
        known = self.holes & ~cracks & (sight.depth > 0)
        fill = np.where(known[..., None], sight.image + self._seam(sight, ring), self.render).astype(np.float32)
        rest = self.holes & ~known
        if rest.any():
            depth = np.where(known, sight.depth, self.depth)
            farthest = cv2.dilate(depth, np.ones((BACKGROUND_WINDOW, BACKGROUND_WINDOW), np.uint8))
            weights = np.where(rest, 0, (depth / np.maximum(farthest, 1e-6)) ** BACKGROUND_POWER).astype(np.float32)
            # A crack in a surface is mended from that surface, whatever lies beyond it.
            even = cv2.blur((~rest).astype(np.float32), (5, 5))
            mended = cv2.blur(fill * ~rest[..., None], (5, 5)) / np.maximum(even, 1e-6)[..., None]
            spread = diffuse(fill, weights)
            fill = np.where(rest[..., None], np.where((cracks & (even > 0))[..., None], mended, spread), fill)
        result = self.render.copy()
        result[self.holes] = np.clip(fill[self.holes] + 0.5, 0, 255).astype(np.uint8)
        return result

    def _cracks(self) -> NDArray[np.bool_]:
        """Holes no wider than two pixels: a surface that came apart as it was enlarged."""
        closed = cv2.morphologyEx((~self.holes).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        return self.holes & (closed > 0)

    def _seam(self, sight: Sight, ring: NDArray[np.bool_]) -> NDArray[np.float32]:
        """``h w 3``: what the fill must change by to meet the render where both show the same surface."""
        same = ring & (np.abs(sight.depth - self.depth) < AGREEMENT * self.depth)
        weights = same.astype(np.float32)
        difference = (self.render.astype(np.float32) - sight.image) * weights[..., None]
        amount = cv2.blur(weights, (RING_SMOOTHING, RING_SMOOTHING))
        smooth = cv2.blur(difference, (RING_SMOOTHING, RING_SMOOTHING)) / np.maximum(amount, 1e-6)[..., None]
        return diffuse(smooth, weights) if same.any() else np.zeros_like(difference)
