"""What every generator looks like to the rest: start a session on a scene, then step it block by block.

    generator = factory.make_generator(config)
    session = generator.start(scene, seed=7)
    while there are cameras:
        block = session.step(world_to_camera)      # session.frames_needed cameras

The offline stage, the viewer and the benchmarks differ only in where the cameras come from. A session owns all
state of one clip (caches, memory in 3D, random generator) and its memory does not grow with the clip.
Blocks have 9 frames first and 12 ever after (three latent frames; the first latent holds one frame).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from inspatio.scene import Scene
from inspatio.types import Frames, Masks, WorldToCamera

if TYPE_CHECKING:
    import torch

FIRST_BLOCK_FRAMES = 9
BLOCK_FRAMES = 12


@dataclass(frozen=True)
class Block:
    """``t`` new frames of the novel view.

    ``frames`` is ``t h w c`` uint8 RGB (on any device); ``start`` is the index of the first one in the clip.
    """

    start: int
    frames: torch.Tensor


class RenderSource(Protocol):
    """Renders and masks of the target view, in order: the render stage's files, or live from the scene."""

    def read(self, start: int, world_to_camera: WorldToCamera) -> tuple[Frames, Masks]:
        """``t h w c`` uint8 renders and ``t h w`` uint8 masks for frames ``start`` .. ``start + t - 1``."""
        ...


class Session(Protocol):
    """The running generation of one clip."""

    @property
    def frames_needed(self) -> int:
        """How many cameras the next ``step`` takes; 0 when the scene's clip has ended.

        The last block of a clip asks for no more frames than are left.
        """
        ...

    def step(self, world_to_camera: WorldToCamera) -> Block:
        """The next block, seen from ``frames_needed`` target cameras (``t 4 4``)."""
        ...


class Generator(Protocol):
    """A loaded model, or none, that turns scenes into novel views."""

    def fingerprint(self) -> dict[str, Any]:
        """What its results depend on besides the scene: name, version, weights, options (JSON values)."""
        ...

    def start(self, scene: Scene, *, seed: int, renders: RenderSource | None = None) -> Session:
        """A fresh session; ``renders`` are the render stage's files, None renders live from the scene."""
        ...
