"""Re-film a video along a new camera path: an implementation of InSpatio-World.

    scene = inspatio.open_scene("examples/living_room.mp4")
    generator = inspatio.load_generator("preview")
    for block in inspatio.generate(generator, scene, inspatio.load_trajectory("orbit_left")):
        print(block.start, block.frames.shape)

These names load on first use, so that ``import inspatio`` waits for no network library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspatio.api import load_generator, load_trajectory, open_scene
    from inspatio.cameras.controls import Controls
    from inspatio.generation.base import FrameBlock, Generator, Session, drive, generate
    from inspatio.scene import Scene

_HOMES = {
    "open_scene": "inspatio.api",
    "load_generator": "inspatio.api",
    "load_trajectory": "inspatio.api",
    "generate": "inspatio.generation.base",
    "drive": "inspatio.generation.base",
    "FrameBlock": "inspatio.generation.base",
    "Generator": "inspatio.generation.base",
    "Session": "inspatio.generation.base",
    "Controls": "inspatio.cameras.controls",
    "Scene": "inspatio.scene",
}

__all__ = [
    "Controls",
    "FrameBlock",
    "Generator",
    "Scene",
    "Session",
    "drive",
    "generate",
    "load_generator",
    "load_trajectory",
    "open_scene",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'inspatio' has no attribute {name!r}, expected one of {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
