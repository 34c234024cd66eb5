"""Fill the holes of a rendered view from the session's memory.

:class:`TargetView` fills one frame: with what the memory shows of its holes, adjusted along their borders to the
render, and what remains smoothly from the farther side. :func:`complete_view` makes up what even the memory does not
know: in a larger frame than needed, and also behind the edges of near things, so that what the next camera positions
uncover is there already and stays put as the camera moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.generation.preview import fill_loops as loops
from inspatio.generation.preview.inpaint import IGNORED, KNOWN, WANTED, Completion, complete_picture, diffuse
from inspatio.generation.preview.memory import AGREEMENT, Camera, Keyframe, SceneMemory, View, lift
from inspatio.jit import compiled
from inspatio.render.matting import SoftEdges, composite
from inspatio.types import Image

Finish = Callable[[Completion], Image]
"""Makes the completed picture of what was made up."""

RING = 2
"""Width in pixels of the covered border along which a fill is compared with the render."""
RING_SMOOTHING = 5
LIGHT_CHANGE = 24.0
"""Difference of colour (of 255) between memory and render up to which it is taken for a change of light."""
BACKGROUND_POWER = 8
"""How much more a far pixel counts than a near one when a gap between them is filled."""
BACKGROUND_WINDOW = 31
LEAST_WEIGHT = 1e-3
MARGIN = 0.25
"""How much wider the view is made, on each side, as a share of its height and width."""
REACH = 8
"""How far behind the edge of a near thing the background is continued, in pixels."""
JUMP = 0.10
"""A depth that rises by this share from a pixel to the next is the edge of a near thing."""
STEP = 0.04
"""Depths that differ by less from a pixel to the next are one surface."""


@dataclass(frozen=True)
class TargetView:
    """One frame to be made: its camera, what the render has of it, and the source frame it shows."""

    camera: Camera
    render: Image
    holes: NDArray[np.bool_]
    depth: NDArray[np.float32]
    """``h w`` z-depth of the render, 0 in the holes."""
    source_camera: Camera
    source_depth: NDArray[np.float32]
    edges: SoftEdges
    """What the edges of near things cover in part; laid over the filled frame."""

    @cached_property
    def holes_and_ring(self) -> NDArray[np.uint8]:
        """``h w``: 1 in the holes and in the border around them where fills are compared with the render."""
        kernel = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)
        return np.asarray(cv2.dilate(self.holes.astype(np.uint8), kernel), np.uint8)

    def gap(self, view: View) -> float:
        """The share of the frame that neither render nor memory knows."""
        return float((self.holes & ~self._cracks & (view.depth == 0)).mean())

    def filled(self, view: View) -> tuple[Image, NDArray[np.float32]]:
        """Fill the holes from what the memory has for them, and the rest from around: image, and ``h w`` z-depth.

        ``view`` is changed: it loses what the current source frame looks through.
        """
        result = self.render.copy()
        if not self.holes.any():
            composite(result, self.edges)
            return result, self.depth
        matrix, vector = self.camera.pixels_to(self.source_camera)
        holes = self.holes.astype(np.uint8)
        looks_through(view.depth, holes, matrix, vector, self.source_depth, np.float32(AGREEMENT))
        fill, depth = np.empty(self.render.shape, np.float32), np.empty(self.holes.shape, np.float32)
        cracks, rest = self._cracks, np.empty(self.holes.shape, np.uint8)
        loops.take_known(
            self.render,
            self.holes,
            cracks,
            self.depth,
            view.image,
            view.depth,
            self._seam(view),
            fill,
            depth,
            rest,
        )
        if loops.fill_cracks(rest, fill):
            farthest = cv2.dilate(depth, np.ones((BACKGROUND_WINDOW, BACKGROUND_WINDOW), np.uint8))
            weights = np.maximum((depth / np.maximum(farthest, 1e-6)) ** BACKGROUND_POWER, LEAST_WEIGHT)
            weights[rest > 0] = 0
            cv2.copyTo(diffuse(fill, weights.astype(np.float32)), (rest == loops.WIDE).astype(np.uint8), fill)
        loops.round_holes(self.holes, fill, result)
        composite(result, self.edges)
        return result, depth

    @cached_property
    def _cracks(self) -> NDArray[np.bool_]:
        """Holes no wider than two pixels: a surface that came apart as it was enlarged."""
        closed = cv2.morphologyEx((~self.holes).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        return self.holes & (closed > 0)

    def _seam(self, view: View) -> NDArray[np.float32]:
        """``h w 3``: what the fill must change by to meet the render where both show the same surface."""
        height, width = self.holes.shape
        weights, difference = np.zeros((height, width), np.float32), np.zeros((height, width, 3), np.float32)
        # Light changes a little; a large difference is a mixture with what stands before, and must not spread.
        light = np.exp(-((np.arange(256, dtype=np.float32) / LIGHT_CHANGE) ** 2))
        if not loops.seam_differences(
            self.render,
            self.holes,
            self.holes_and_ring,
            self.depth,
            view.image,
            view.depth,
            np.float32(AGREEMENT),
            light,
            weights,
            difference,
        ):
            return difference
        # Half the resolution is enough for what is smooth, and takes a quarter of the time.
        half = (max(width // 2, 1), max(height // 2, 1))
        weights, difference = (cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in (weights, difference))
        amount, mean = (cv2.blur(image, (RING_SMOOTHING, RING_SMOOTHING)) for image in (weights, difference))
        loops.divide(mean, amount)
        spread = diffuse(mean, weights)
        return np.asarray(cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True, eq=False)
class OpenView:
    """A view with a margin as the memory knows it, past the edges of near things: what is to be completed."""

    camera: Camera
    image: Image
    depth: NDArray[np.float32]
    """``h w`` z-depth, also of what is to be made up."""
    inverse_depth: NDArray[np.float32]
    state: NDArray[np.uint8]
    """``h w``: KNOWN, WANTED or IGNORED (``inpaint.py``)."""
    hidden: NDArray[np.bool_]
    """``h w``: something near stands before it."""


def complete_view(memory: SceneMemory, camera: Camera, threads: int, finish: Finish = Completion.softened) -> Keyframe:
    """Render a view with a margin, make up its unknown parts once, and return them as a keyframe to remember.

    Its points are those that the memory does not have yet. ``finish`` makes the picture of what was completed.
    """
    view = open_view(memory, camera, threads)
    if not (view.state == KNOWN).any():
        return Keyframe(view.image, view.camera, np.zeros((0, 3), np.float32))
    picture = finish(complete_picture(view.image, view.inverse_depth, view.state, threads))
    return Keyframe(picture, view.camera, lift(view.camera, view.depth, (view.state == WANTED).astype(np.uint8)))


def open_view(memory: SceneMemory, camera: Camera, threads: int) -> OpenView:
    """Render what the memory knows of a view with a margin, and say what of it is to be made up."""
    height, width = camera.size
    wide = camera.padded(round(MARGIN * height), round(MARGIN * width))
    everywhere = np.ones(wide.size, np.uint8)
    front = _without_pinholes(memory.render_view(wide, everywhere, threads=threads).depth)
    label = np.empty(wide.size, np.uint8)
    near_edges(front, np.float32(JUMP), np.float32(STEP), REACH, label)
    # What lies behind the near things: the same view, past their surfaces.
    beyond = np.where(label > 0, front * np.float32(1 + JUMP / 2), np.float32(0))
    view = memory.render_view(wide, everywhere, beyond=beyond, threads=threads)
    known = (view.depth > 0).astype(np.float32)
    inverse = diffuse(np.divide(1, view.depth, out=np.zeros_like(view.depth), where=view.depth > 0), known)
    depth = np.where(known > 0, view.depth, 1 / np.maximum(inverse, np.float32(1e-6)))
    state = np.where(known > 0, KNOWN, np.where(label != 2, WANTED, IGNORED))
    return OpenView(wide, view.image, depth, inverse, state.astype(np.uint8), front > 0)


def _without_pinholes(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unknown pixels that have known ones around them get the farthest of those depths."""
    around = cv2.morphologyEx(depth, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.where(depth > 0, depth, around)


@compiled
def near_edges(depth, jump, step, reach, label):
    """Mark what stands before something farther: 1 within ``reach`` pixels of the edge, 2 within twice that, else 0.

    An edge is where depth rises by the factor ``1 + jump`` from a pixel to its neighbour; the mark then spreads over
    the near surface, from pixel to pixel whose depths differ by less than ``step``. Unknown depth (0) is neither.
    """
    height, width = depth.shape
    queue = np.empty((height * width, 2), np.int32)
    distance = np.full((height, width), -1, np.int32)
    head, tail = 0, 0
    for y in range(height):
        for x in range(width):
            label[y, x] = 0
            d = depth[y, x]
            if d == 0:
                continue
            far = np.float32(0)
            for k in range(4):
                i, j = y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)
                if 0 <= i < height and 0 <= j < width:
                    far = max(far, depth[i, j])
            if far > d * (1 + jump):
                queue[tail, 0], queue[tail, 1] = y, x
                tail += 1
                distance[y, x] = 0
    while head < tail:
        y, x = queue[head]
        head += 1
        label[y, x] = 1 if distance[y, x] < reach else 2
        if distance[y, x] >= 2 * reach:
            continue
        for k in range(4):
            i, j = y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)
            if not (0 <= i < height and 0 <= j < width) or distance[i, j] >= 0 or depth[i, j] == 0:
                continue
            if abs(depth[i, j] - depth[y, x]) < step * depth[y, x]:
                distance[i, j] = distance[y, x] + 1
                queue[tail, 0], queue[tail, 1] = i, j
                tail += 1


@compiled
def looks_through(view_depth, where, matrix, vector, source_depth, tolerance):
    """Drop (depth 0) what the current source frame looks through: it has moved away, or never was there."""
    height, width = source_depth.shape
    for row in range(view_depth.shape[0]):
        for column in range(view_depth.shape[1]):
            d = view_depth[row, column]
            if d == 0 or where[row, column] == 0:
                continue
            w = (matrix[2, 0] * column + matrix[2, 1] * row + matrix[2, 2]) * d + vector[2]
            if w <= 0:
                continue
            x = int(np.rint(((matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]) * d + vector[0]) / w))
            y = int(np.rint(((matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]) * d + vector[1]) / w))
            if not (1 <= x < width - 1 and 1 <= y < height - 1):
                continue
            nearest = np.float32(np.inf)
            for i in range(-1, 2):
                for j in range(-1, 2):
                    nearest = min(nearest, source_depth[y + i, x + j])
            if nearest > w * (1 + tolerance):
                view_depth[row, column] = 0
