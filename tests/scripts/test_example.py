"""The example: the files in the repository are what the scripts make, and its true views agree with one another."""

from __future__ import annotations

from pathlib import Path

import make_example
import numpy as np
import pytest
from support.paths import EXAMPLES

from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.media import VideoReader
from inspatio.render import WarpRenderer

SMALL = (120, 208)


def small_intrinsics() -> np.ndarray:
    scale = SMALL[0] / truth.SIZE[0]
    return np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]]) @ truth.intrinsics()


def psnr(image: np.ndarray, true: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(np.float64) - true) ** 2)))


def test_geometry_made_again_has_the_same_bytes(tmp_path: Path):
    make_example.make_geometry(tmp_path)
    shipped = EXAMPLES / f"{make_example.CLIP}.geometry"
    names = {file.name for file in shipped.iterdir()}
    assert names == {"cameras.json", "depth.mkv"}
    for name in names:
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes(), name


def test_video_shows_the_scene():
    frame = 50
    with VideoReader(EXAMPLES / f"{make_example.CLIP}.mp4") as video:
        assert len(video) == truth.FRAME_COUNT
        filmed = video.read([frame])[0]
    true = truth.true_view(frame, truth.source_world_to_camera()[frame])
    assert psnr(filmed, true) > 33


def test_examples_are_small():
    assert sum(file.stat().st_size for file in EXAMPLES.rglob("*") if file.is_file()) < 2_000_000


def test_first_camera_is_the_world():
    poses = truth.source_world_to_camera()
    assert np.allclose(poses[0], np.eye(4), atol=1e-12)
    steps = np.linalg.norm(np.diff(np.linalg.inv(poses)[:, :3, 3], axis=0), axis=1)
    assert 0 < steps.max() < 0.02, "a hand's drift, not a jump"


def test_the_same_view_is_the_same_bytes():
    pose = truth.source_world_to_camera()[30]
    once, again = (truth.true_view(10, pose, small_intrinsics(), SMALL) for _ in range(2))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("frame", [0, 60])
def test_depth_carries_one_true_view_to_another(frame: int):
    """What both cameras see has the same colour from both, at the place that depth says."""
    camera, here, there = small_intrinsics(), truth.source_world_to_camera()[0], truth.source_world_to_camera()[-1]
    view, depth = (f(frame, here, camera, SMALL) for f in (truth.true_view, truth.true_depth))
    carried, mask, carried_depth = WarpRenderer().render_with_depth(
        view[None], depth[None], camera[None], here[None], camera, there[None]
    )
    true, true_depth = (f(frame, there, camera, SMALL) for f in (truth.true_view, truth.true_depth))
    both = (mask[0] > 0) & (np.abs(carried_depth[0] - true_depth) < 0.02 * true_depth)
    assert both.mean() > 0.8
    assert psnr(carried[0][both], true[both]) > 28


def test_things_move_and_the_room_does_not():
    pose = truth.source_world_to_camera()[0]
    depths = [truth.true_depth(frame, pose, small_intrinsics(), SMALL) for frame in (0, 48)]
    moved = np.abs(depths[0] - depths[1]) > 1e-6
    assert 0.002 < moved.mean() < 0.05
