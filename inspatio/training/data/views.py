"""What every kind of training data comes down to before it is encoded: a source and a target view with its render."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.errors import UserError
from inspatio.models.wan.autoencoder import frames_of
from inspatio.models.wan.cache import BLOCK_LATENTS
from inspatio.scene import Scene
from inspatio.types import DepthMaps, Frames, Masks, ScaleKind


@dataclass(frozen=True, eq=False)
class Views:
    """``t`` frames ``t h w 3`` of a target view with its render, and of the source, at the same times.

    ``source`` is None where there is no second camera: a real clip whose render was made of itself. ``cameras`` are
    those of source and target, where they are known.
    """

    name: str
    prompt: str
    source: Frames | None
    target: Frames
    render: Frames
    masks: Masks
    cameras: tuple[Cameras, Cameras] | None = None


@dataclass(frozen=True)
class ViewsSource:
    """Where views come from: how many there may be, and one after the other.

    ``clips`` gives them, or the reason (`UserError`) why one of them cannot be used.
    """

    count: int
    clips: Callable[[], Iterator[Views | UserError]]


class _Array:
    """Frames or depth maps in memory (``scene.FrameSource``, ``scene.DepthSource``)."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self._values[list(indices)]


def scene_in_memory(name: str, frames: Frames, depth: DepthMaps, cameras: Cameras, scale: ScaleKind) -> Scene:
    """A scene of frames and depth that are all in memory."""
    return Scene(
        clip_id=name,
        frames=_Array(frames),
        depth=_Array(depth),
        intrinsics=cameras.intrinsics,
        world_to_camera=cameras.world_to_camera,
        size=(frames.shape[1], frames.shape[2]),
        frame_rate=Fraction(24),
        scale=scale,
    )


def whole_blocks(frames: int) -> int:
    """The largest number of frames up to ``frames`` that fills whole blocks (9, 21, 33, ...); 0 where none does."""
    blocks = (frames - frames_of(BLOCK_LATENTS, first=True)) // frames_of(BLOCK_LATENTS, first=False) + 1
    return frames_of(BLOCK_LATENTS * blocks, first=True) if blocks > 0 else 0
