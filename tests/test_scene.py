"""A scene gives frames and depth of its own size, or refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.scenes import ArraySource, noise_scene


def test_frames_or_depth_of_another_size_are_refused() -> None:
    """Compiled loops index both alike without checks: a smaller frame once let them write beyond it."""
    scene = noise_scene(3)
    height, width = scene.size
    small = replace(scene, frames=ArraySource(np.zeros((3, height // 2, width, 3), np.uint8)))
    with pytest.raises(AssertionError, match="frames"):
        small.read_frames([0])
    flat = replace(scene, depth=ArraySource(np.ones((3, height, width // 2), np.float32)))
    with pytest.raises(AssertionError, match="depth"):
        flat.read_depth([0])
