"""The measure of drift: nothing where nothing drifts, and as much as was put in where something does."""

from __future__ import annotations

import pytest
import torch
from benches import drift
from support.live import FakeGenerator, FakeSession, soft_scene
from support.networks import make_generator
from support.scenes import noise_scene

from inspatio.cameras.cameras import Cameras
from inspatio.generation.base import FrameBlock
from inspatio.scene import Scene


class Drifting(FakeGenerator):
    """Shows the source, each block redder by a tenth of a level than the one before, and (``blur``) softer."""

    def __init__(self, blur: bool = False) -> None:
        super().__init__()
        self.blur = blur

    def start(self, scene: Scene, *, seed: int) -> FakeSession:
        return DriftingSession(self, scene)


class DriftingSession(FakeSession):
    def _generate(self, cameras: Cameras) -> FrameBlock:
        assert isinstance(self._generator, Drifting)
        block, made = self._start // 2, super()._generate(cameras)
        frames = made.frames.float()
        if self._generator.blur:
            mean = frames.mean(dim=(1, 2), keepdim=True)
            frames = mean + (frames - mean) * 0.99**block
        frames[..., 0] += 0.5 * block
        return FrameBlock(made.start, frames.round().clamp(0, 255).to(torch.uint8), made.depth, made.coverage)


def test_nothing_drifts_where_a_session_shows_the_source() -> None:
    found = drift.measure(FakeGenerator(), soft_scene(30), 40)
    assert found["colour_drift"] == 0
    assert found["sharpness"] == 1
    assert set(found["colour_drift_by_tenths"]) == {0}


def test_drift_is_what_was_put_in_and_a_new_session_has_none() -> None:
    """Thirty blocks later the frames are fifteen levels redder, and 0.99 to the 60th as sharp."""
    found = drift.measure(Drifting(blur=True), soft_scene(30), 40)
    assert found["colour_drift"] == pytest.approx(15, abs=0.5)
    assert found["sharpness"] == pytest.approx(0.99**60, abs=0.03)
    assert found["colour_drift_by_tenths"] == sorted(found["colour_drift_by_tenths"])
    assert found["colour_drift_after_anchoring"] == 0
    assert found["sharpness_after_anchoring"] == 1


@pytest.mark.slow
def test_memory_of_a_neural_session_is_flat_over_many_blocks() -> None:
    """Tensors that are held after twenty blocks and after sixty; the session is as long as it was then."""
    scene = noise_scene(30)
    found = drift.measure(make_generator(scene.size), scene, 60)
    assert found["memory_mib_late"]["tensors"] <= 1.05 * found["memory_mib_early"]["tensors"]
    assert found["colour_drift_after_anchoring"] == 0, "X brings back what was there at the start"
