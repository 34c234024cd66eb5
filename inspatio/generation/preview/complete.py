"""One wider look at a view, in which everything that is still unknown is made up once and for all.

The preview completes a view when its memory has nothing to show for part of it. It does so in a larger frame than
is needed, and also behind the edges of things near the camera, so that what the next camera positions uncover is there
already and stays put as the camera moves.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.generation.preview import memory_loops as loops
from inspatio.generation.preview import patch_loops
from inspatio.generation.preview.inpaint import diffuse
from inspatio.generation.preview.memory import Camera, SceneMemory, View, lift
from inspatio.generation.preview.patches import complete_picture

MARGIN = 0.25
"""How much wider the view is made, on each side, as a share of its height and width."""
REACH = 8
"""How far behind the edge of a near thing the background is continued, in pixels."""
JUMP = 0.10
"""A depth that rises by this share from a pixel to the next is the edge of a near thing."""
STEP = 0.04
"""Depths that differ by less from a pixel to the next are one surface."""


def complete(memory: SceneMemory, camera: Camera, threads: int) -> View:
    """The view from ``camera``, widened and completed; its points are those that the memory does not have."""
    height, width = camera.size
    wide = camera.padded(round(MARGIN * height), round(MARGIN * width))
    everywhere = np.ones(wide.size, np.uint8)
    front = _without_pinholes(memory.look(wide, everywhere, threads=threads).depth)
    label = np.empty(wide.size, np.uint8)
    loops.near_edges(front, np.float32(JUMP), np.float32(STEP), REACH, label)
    # What lies behind the near things: the same look, past their surfaces.
    beyond = np.where(label > 0, front * np.float32(1 + JUMP / 2), np.float32(0))
    sight = memory.look(wide, everywhere, beyond=beyond, threads=threads)
    known = (sight.depth > 0).astype(np.float32)
    if not known.any():
        return View(sight.image, wide, np.zeros((0, 3), np.float32))
    inverse = diffuse(np.divide(1, sight.depth, out=np.zeros_like(sight.depth), where=sight.depth > 0), known)
    made_up = ((known == 0) & (label != 2)).astype(np.uint8)
    depth = np.where(known > 0, sight.depth, 1 / np.maximum(inverse, np.float32(1e-6)))
    state = np.where(known > 0, patch_loops.KNOWN, np.where(made_up > 0, patch_loops.WANTED, patch_loops.IGNORED))
    picture = complete_picture(sight.image, inverse, state.astype(np.uint8))
    return View(picture, wide, lift(wide, depth, made_up))


def _without_pinholes(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unknown pixels that have known ones around them get the farthest of those depths."""
    around = cv2.morphologyEx(depth, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.where(depth > 0, depth, around)
