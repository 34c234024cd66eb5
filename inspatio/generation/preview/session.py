"""The generator without a network: the render stays, and its holes are filled from a memory of the scene.

For every block: what the render covers is kept as it is. Holes show what the session's memory in 3D has of the
place: source frames of other times (``observe.py``), and views that the session completed itself (``complete.py``,
made when a block's cameras see something that nobody saw). A place that the current source frame looks through is
not taken from memory. Small gaps that remain are diffused from the farther side. Where a fill meets the render on
the same surface, their difference is spread into the fill, so that no seam shows.

The memory changes only between blocks, so the frames of a block are filled side by side. There is no random number:
the seed changes nothing. Runs on the CPU, on as many threads as torch uses.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.generation.base import BLOCK_FRAMES, FIRST_BLOCK_FRAMES, Block, RenderSource
from inspatio.generation.preview import memory_loops as loops
from inspatio.generation.preview.complete import complete
from inspatio.generation.preview.inpaint import diffuse
from inspatio.generation.preview.memory import Camera, SceneMemory, Sight
from inspatio.generation.preview.observe import AGREEMENT, observe
from inspatio.render import WarpRenderer
from inspatio.render.live import target_intrinsics
from inspatio.scene import Scene
from inspatio.types import Image, WorldToCamera

Result = TypeVar("Result")

VERSION = 1
RING = 2
"""Width in pixels of the covered border along which a fill is compared with the render."""
RING_SMOOTHING = 5
LIGHT_CHANGE = 24.0
"""Difference of colour (of 255) between memory and render up to which it is taken for a change of light."""
BACKGROUND_POWER = 8
"""How much more a far pixel counts than a near one when a gap between them is filled."""
BACKGROUND_WINDOW = 31
LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class PreviewOptions:
    """``observed``: source frames that the memory starts from; ``completed``: completed views that it holds at most;
    ``gap``: the share of a frame that may be unknown before a view is completed."""

    observed: int = 8
    completed: int = 8
    gap: float = 0.01


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
        count, most = len(world_to_camera), self.frames_needed
        assert 0 < count <= most, f"{count} cameras, expected 1 to {most}"
        start = self._next
        views = self._render(start, world_to_camera)
        self._next += len(views)
        sights = self._look(views)
        gaps = [view.gap(sight) for view, sight in zip(views, sights, strict=True)]
        worst = int(np.argmax(gaps))
        if gaps[worst] > self._options.gap:
            self.memory.add(complete(self.memory, views[worst].camera, self._threads))
            sights = self._look(views)
        results = self._side_by_side(lambda i: views[i].filled(sights[i]), len(views))
        return Block(start, torch.from_numpy(np.stack(results)))

    def _look(self, views: list[_TargetView]) -> list[Sight]:
        """What the memory has for the holes of the views and their borders."""
        return self._side_by_side(lambda i: self.memory.look(views[i].camera, views[i].holes_and_ring), len(views))

    def _side_by_side(self, work: Callable[[int], Result], count: int) -> list[Result]:
        """The results of ``work(0)`` .. ``work(count - 1)``, on as many threads as there are."""
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(work, range(count)))

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

    @cached_property
    def holes_and_ring(self) -> NDArray[np.uint8]:
        """``h w``: 1 in the holes and in the border around them where fills are compared with the render."""
        kernel = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)
        return np.asarray(cv2.dilate(self.holes.astype(np.uint8), kernel), np.uint8)

    def gap(self, sight: Sight) -> float:
        """The share of the frame that neither render nor memory knows."""
        return float((self.holes & ~self._cracks & (sight.depth == 0)).mean())

    def filled(self, sight: Sight) -> Image:
        """The render with its holes filled from what the memory has for them, and the rest from around."""
        if not self.holes.any():
            return self.render
        holes = self.holes.astype(np.uint8)
        ring = (self.holes_and_ring > 0) & ~self.holes
        matrix, vector = self.camera.pixels_to(self.source_camera)
        loops.looks_through(sight.depth, holes, matrix, vector, self.source_depth, np.float32(AGREEMENT))
        known = self.holes & ~self._cracks & (sight.depth > 0)
        fill = np.where(known[..., None], sight.image + self._seam(sight, ring), self.render).astype(np.float32)
        rest = self.holes & ~known
        if rest.any():
            depth = np.where(known, sight.depth, self.depth)
            farthest = cv2.dilate(depth, np.ones((BACKGROUND_WINDOW, BACKGROUND_WINDOW), np.uint8))
            weights = np.maximum((depth / np.maximum(farthest, 1e-6)) ** BACKGROUND_POWER, LEAST_WEIGHT)
            weights = np.where(rest, 0, weights).astype(np.float32)
            # A crack in a surface is mended from that surface, whatever lies beyond it.
            even = cv2.blur((~rest).astype(np.float32), (5, 5))
            mended = cv2.blur(fill * ~rest[..., None], (5, 5)) / np.maximum(even, 1e-6)[..., None]
            spread = diffuse(fill, weights)
            fill = np.where(rest[..., None], np.where((self._cracks & (even > 0))[..., None], mended, spread), fill)
        result = self.render.copy()
        result[self.holes] = np.clip(fill[self.holes] + 0.5, 0, 255).astype(np.uint8)
        return result

    @cached_property
    def _cracks(self) -> NDArray[np.bool_]:
        """Holes no wider than two pixels: a surface that came apart as it was enlarged."""
        closed = cv2.morphologyEx((~self.holes).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        return self.holes & (closed > 0)

    def _seam(self, sight: Sight, ring: NDArray[np.bool_]) -> NDArray[np.float32]:
        """``h w 3``: what the fill must change by to meet the render where both show the same surface."""
        height, width = ring.shape
        same = ring & (np.abs(sight.depth - self.depth) < AGREEMENT * self.depth)
        if not same.any():
            return np.zeros((height, width, 3), np.float32)
        difference = self.render.astype(np.float32) - sight.image
        # Light changes a little; a large difference is a mixture with what stands before, and must not spread.
        distance = np.abs(difference).max(axis=-1)
        weights = np.where(same, np.exp(-((distance / LIGHT_CHANGE) ** 2)), 0).astype(np.float32)
        difference *= weights[..., None]
        # Half the resolution is enough for what is smooth, and takes a quarter of the time.
        half = (max(width // 2, 1), max(height // 2, 1))
        weights, difference = (cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in (weights, difference))
        amount, total = (cv2.blur(image, (RING_SMOOTHING, RING_SMOOTHING)) for image in (weights, difference))
        mean = total / np.maximum(amount, np.float32(1e-6))[..., None]
        spread = diffuse(mean.astype(np.float32), weights)
        return np.asarray(cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
