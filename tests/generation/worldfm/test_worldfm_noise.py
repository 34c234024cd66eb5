"""The noise of WorldFM's frames: normal and independent in each frame, and attached to surfaces across frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.scenes import noise_scene, sideways, targets

from inspatio.cameras.cameras import Cameras
from inspatio.config import FrameNoise
from inspatio.generation.worldfm.noise import NoiseSource, visible_voxels

SIZE = (256, 256)
FOCAL = 200.0
LENS = np.array([[FOCAL, 0, 127.5], [0, FOCAL, 127.5], [0, 0, 1]])


def wall(distance: float = 3.0) -> np.ndarray:
    """``1 h w`` depth of a wall that stands square to a camera that does not turn."""
    return np.full((1, *SIZE), distance, np.float32)


def moved(x: float = 0.0) -> Cameras:
    pose = np.eye(4)[None]
    pose[:, 0, 3] = -x
    return Cameras.from_poses(pose, LENS)


def draw(kind: FrameNoise, cameras: Cameras, place: int = 0, step: int = 0, seed: int = 3) -> np.ndarray:
    return NoiseSource(kind, seed, SIZE).draw(step, [place], wall(), cameras)[0].numpy()


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """The share of latent cells with the same numbers."""
    return float((a == b).all(axis=0).mean())


def test_points_are_normal_and_independent() -> None:
    """The four moments, no two cells of one frame with the same numbers, and no correlation of neighbours."""
    field = draw("points", moved())
    assert abs(field.mean()) < 0.06
    assert abs(field.std() - 1) < 0.05
    assert abs((field**4).mean() - 3) < 0.5
    assert len(np.unique(field)) == field.size
    across = (field[:, :, 1:] * field[:, :, :-1]).mean(), (field[:, 1:] * field[:, :-1]).mean()
    assert max(map(abs, across)) < 0.06
    channels = np.corrcoef(field.reshape(4, -1)) - np.eye(4)
    assert np.abs(channels).max() < 0.12


def test_points_go_with_the_surface_and_not_with_the_screen() -> None:
    """A wall that moves by one cell in the picture takes its noise along; a fixed field stays on the screen."""
    one_cell = 8 * 3.0 / FOCAL
    before, after = draw("points", moved()), draw("points", moved(one_cell))
    assert agreement(before[:, :, 1:], after[:, :, :-1]) > 0.95
    assert agreement(before, after) < 0.05
    assert agreement(draw("fixed", moved()), draw("fixed", moved(one_cell))) == 1.0
    assert agreement(draw("fresh", moved(), place=0), draw("fresh", moved(), place=1)) == 0.0


def test_points_change_little_by_little() -> None:
    """A quarter of a cell's motion keeps most cells' noise: less change than a fixed field relative to the surface."""
    assert agreement(draw("points", moved()), draw("points", moved(0.25 * 8 * 3.0 / FOCAL))) > 0.6


@pytest.mark.parametrize("kind", ["points", "fixed", "fresh"])
def test_steps_and_seeds_have_noise_of_their_own_and_places_can_be_drawn_again(kind: FrameNoise) -> None:
    field = draw(kind, moved())
    assert np.array_equal(field, draw(kind, moved()))
    assert agreement(field, draw(kind, moved(), step=1)) == 0.0
    assert agreement(field, draw(kind, moved(), seed=4)) == 0.0


def test_a_view_without_depth_has_the_fixed_field() -> None:
    source = NoiseSource("points", 3, SIZE)
    for unknown in (0.0, np.nan, np.inf, -1.0):
        drawn = source.draw(0, [5], wall(unknown), moved())
        assert torch.equal(drawn, NoiseSource("fixed", 3, SIZE).draw(0, [5], wall(), moved()))


def test_a_voxel_belongs_to_one_cell() -> None:
    """Else two cells would share numbers. On a scene of noise, where every pixel has a depth of its own."""
    scene = noise_scene(1, size=(64, 96))
    camera = targets(scene, sideways(3))[2:]
    voxels = visible_voxels(scene.read_depth([0])[0], camera.intrinsics[0], camera.world_to_camera[0])
    seen = voxels[voxels != 0]
    assert len(seen) > 0.9 * voxels.size
    assert len(np.unique(seen)) == len(seen)
