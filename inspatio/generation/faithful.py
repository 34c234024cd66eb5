"""Keep what the source shows untouched, and take a generator's picture elsewhere (``--faithful``).

Networks repaint the whole frame: what the source shows comes back a little softer and in slightly other colours. A
:class:`FaithfulGenerator` wraps any generator. Pixels that the render covers are the render's, with its mixed pixels
taken apart (``render/matting.py``); the rest is generated, changed smoothly by what it differs from the render along
the border of the holes, so that no seam shows (a membrane between the borders, as in Pérez et al. 2003,
"Poisson image editing").
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.generation.base import FrameBlock, Generator, Session
from inspatio.generation.preview.fill import LIGHT_CHANGE
from inspatio.generation.preview.inpaint import diffuse
from inspatio.jit import on_pool
from inspatio.render.matting import composite
from inspatio.render.views import render_separated_scene
from inspatio.scene import Scene
from inspatio.types import Image

VERSION = 3
BORDER = 2
"""Width in pixels of the covered border along which the generated picture is matched to the render."""


class FaithfulGenerator:
    """A generator whose results keep what the source shows (``base.Generator``)."""

    def __init__(self, generator: Generator, threads: int | None = None) -> None:
        """``threads``: as many as torch uses."""
        self._generator = generator
        self._threads = threads or torch.get_num_threads()

    def start(self, scene: Scene, *, seed: int) -> FaithfulSession:
        """Start a session (``base.Generator``)."""
        return FaithfulSession(self._generator.start(scene, seed=seed), scene, self._threads)


class FaithfulSession(Session):
    """The running generation of one clip (``base.Session``); blocks are the inner session's."""

    def __init__(self, inner: Session, scene: Scene, threads: int) -> None:
        super().__init__()
        self._inner, self._scene, self._threads = inner, scene, threads

    @property
    def block_frames(self) -> int:
        """The inner session's number."""
        return self._inner.block_frames

    @property
    def settled(self) -> bool:
        """The inner session's."""
        return self._inner.settled

    def set_prompt(self, text: str) -> None:
        """Passed on."""
        self._inner.set_prompt(text)

    def plan(self, cameras: Cameras) -> None:
        """Passed on."""
        self._inner.plan(cameras)

    def _generate(self, cameras: Cameras) -> FrameBlock:
        generated = self._inner.step(cameras).frames.cpu().numpy()
        render, edges, _, _ = render_separated_scene(self._scene, self._start, cameras, self._threads)

        def finish(i: int) -> Image:
            covered = render.masks[i] > 0
            result = keep_covered(generated[i], render.frames[i], covered)
            composite(result, edges[i].within(covered))  # elsewhere the generated picture has its own outlines
            return result

        results = np.stack(on_pool(finish, len(cameras), self._threads))
        return FrameBlock(self._start, torch.from_numpy(results), render.depth, render.masks)


def keep_covered(generated: Image, render: Image, covered: NDArray[np.bool_]) -> Image:
    """The render where it is ``covered`` (``h w``), elsewhere the generated picture, matched along the border.

    All pictures are ``h w 3`` uint8 of one size.
    """
    if not covered.any():
        return generated.copy()
    kernel = np.ones((2 * BORDER + 1, 2 * BORDER + 1), np.uint8)
    border = covered & (cv2.dilate((~covered).astype(np.uint8), kernel) > 0)
    difference = render.astype(np.float32) - generated
    # A large difference is another content, not another light, and must not spread.
    light = np.exp(-((np.abs(difference).max(axis=-1) / LIGHT_CHANGE) ** 2))
    matched = generated + diffuse(difference, np.where(border, light, 0).astype(np.float32))
    result = np.clip(matched + np.float32(0.5), 0, 255).astype(np.uint8)
    result[covered] = render[covered]
    return result
