"""Renders made as they are asked for: a scene, a renderer, and cameras that come block by block.

The render stage writes these to files, a generator without such files reads them directly; both get the same frames.
"""

from __future__ import annotations

import numpy as np

from inspatio.cameras.poses import centred_intrinsics
from inspatio.render.renderer import Renderer
from inspatio.scene import Scene
from inspatio.types import Frames, Intrinsics, Masks, WorldToCamera


class LiveRenders:
    """The target view of a scene's clip, as far as the source shows it."""

    def __init__(self, scene: Scene, renderer: Renderer) -> None:
        self.scene = scene
        self.renderer = renderer
        self.intrinsics = target_intrinsics(scene.intrinsics[0], scene.size)
        """``3 3``: the intrinsics of all target cameras."""

    def read(self, start: int, world_to_camera: WorldToCamera) -> tuple[Frames, Masks]:
        """``t h w c`` uint8 renders and ``t h w`` uint8 masks for frames ``start`` .. ``start + t - 1``.

        ``world_to_camera`` (``t 4 4``) are the target cameras of those frames.
        """
        places = np.arange(start, start + len(world_to_camera))
        assert places[-1] < len(self.scene), f"frames {start} .. {places[-1]} of a clip of {len(self.scene)}"
        return self.renderer.render(
            self.scene.read_frames(places.tolist()),
            self.scene.read_depth(places.tolist()),
            self.scene.intrinsics[places],
            self.scene.world_to_camera[places],
            self.intrinsics,
            world_to_camera,
        )


def target_intrinsics(intrinsics: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """``3 3`` intrinsics with the principal point moved by whole pixels to the centre of ``size`` (height, width).

    It ends up within half a pixel of the centre. Half a pixel more or less is seen by nobody, but a view moved by a
    fraction of a pixel is blurred everywhere, even where the camera stands still.
    """
    moved = np.array(intrinsics, np.float64)
    moved[:2, 2] += np.rint(centred_intrinsics(moved, size)[:2, 2] - moved[:2, 2])
    return moved
