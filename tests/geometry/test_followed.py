"""The camera of another clip as a trajectory: scaled by the two foregrounds, and refused where it does not move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support import moving_room
from support.clips import write_clip
from support.scenes import noise_scene
from support.true_scene import cameras as true_cameras
from support.true_scene import intrinsics, write_geometry
from support.true_scene import scene as true_scene

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.paths import write_path
from inspatio.cameras.poses import invert
from inspatio.clip_options import Controls
from inspatio.errors import UsageError
from inspatio.evaluation.synthetic_room import scene as room
from inspatio.factory import make_trajectory
from inspatio.geometry.followed import DEFAULT_REACH
from inspatio.geometry.motion.backend import MotionGeometry
from inspatio.locations import HOME_VARIABLE
from inspatio.scene import FOREGROUND_PERCENTILE, adapt

COUNT = 8


def test_a_followed_clip_is_scaled_by_the_foregrounds(tmp_path: Path):
    """Geometry in another unit gives the same path: distances count in foreground depths."""
    paths = []
    for scale in (1.0, 40.0):
        view = true_scene(COUNT)
        view.depth[:] *= scale
        view.world_to_camera[:, :3, 3] *= scale
        folder = tmp_path / f"{scale:g}"
        folder.mkdir()
        write_clip(folder / "other.mp4", COUNT, (42, 70))
        write_geometry(folder / "other.geometry", view)
        found = make_trajectory(f"follow({folder / 'other.mp4'})")
        assert folder / "other.mp4" in found.files, "it is made again where the clip changes"
        scene, cameras = adapt(noise_scene(5), found.trajectory, Controls())
        assert len(scene) == COUNT
        paths.append(invert(cameras.world_to_camera))
    assert np.allclose(paths[0], paths[1], atol=1e-3)
    moved = np.linalg.norm(invert(true_cameras(COUNT))[:, :3, 3], axis=1)
    ours = np.linalg.norm(paths[0][:, :3, 3], axis=1)
    assert np.allclose(ours / ours.max(), moved / moved.max(), atol=1e-3)
    # The clip's slow zoom comes along, on top of this scene's own focal length.
    zoom = cameras.intrinsics[:, 0, 0] / cameras.intrinsics[0, 0, 0]
    assert np.allclose(zoom, np.linspace(60, 66, COUNT) / 60, atol=1e-6)


def test_a_path_without_depth_is_scaled_to_its_reach_and_that_is_said(tmp_path: Path):
    path = tmp_path / "path.txt"
    write_path(path, Cameras(intrinsics(COUNT), true_cameras(COUNT)), (42, 70), "tum")
    for text, reach in ((f"follow({path})", DEFAULT_REACH), (f"follow({path}, reach=0.7)", 0.7)):
        found = make_trajectory(text)
        poses = found.trajectory.camera_to_world(COUNT, 2.0)
        assert np.linalg.norm(poses[:, :3, 3], axis=1).max() == pytest.approx(2 * reach)
        assert any(f"{reach:g} foreground depths" in note for note in found.notes)


def test_a_followed_clip_without_motion_is_refused(tmp_path: Path):
    view = true_scene(COUNT)
    still = replace(view, world_to_camera=np.tile(np.eye(4), (COUNT, 1, 1)))
    write_clip(tmp_path / "other.mp4", COUNT, (42, 70))
    write_geometry(tmp_path / "other.geometry", still)
    with pytest.raises(UsageError, match="does not move") as raised:
        make_trajectory(f"follow({tmp_path / 'other.mp4'})")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_the_camera_of_a_bare_clip_is_estimated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The synthetic room's truck, found by motion: within a degree, 5 % of its way, and of the foreground's scale."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    pictures = moving_room.pictures()
    path = moving_room.film(tmp_path / "other.mp4", pictures).path
    first = make_trajectory(f"follow({path})")
    monkeypatch.setattr(MotionGeometry, "estimate", lambda *_: pytest.fail("estimated again"))
    again = make_trajectory(f"follow({path})")
    poses = again.trajectory.camera_to_world(len(pictures), 1.0)
    assert np.array_equal(poses, first.trajectory.camera_to_world(len(pictures), 1.0))
    assert (again.files, again.notes) == (first.files, first.notes)
    depth = room.true_depth(0, moving_room.moving()[0], moving_room.INTRINSICS, moving_room.SIZE)
    expected = invert(moving_room.moving() @ invert(moving_room.moving()[:1]))
    expected[:, :3, 3] /= np.percentile(depth[depth > 0], FOREGROUND_PERCENTILE)
    farthest = np.linalg.norm(expected[:, :3, 3], axis=1).max()
    assert np.abs(poses[:, :3, 3] - expected[:, :3, 3]).max() < 0.05 * farthest
    turned = Rotation.from_matrix(poses[:, :3, :3].swapaxes(1, 2) @ expected[:, :3, :3]).magnitude()
    assert np.rad2deg(turned).max() < 1
    monkeypatch.undo()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    standing = moving_room.film(tmp_path / "other.mp4", pictures[:1] * 12).path
    with pytest.raises(UsageError, match="could not be estimated"):
        make_trajectory(f"follow({standing})")


@pytest.mark.slow
def test_a_clip_whose_camera_cannot_be_estimated_is_refused(tmp_path: Path):
    """No geometry beside it, and frames of noise that no camera explains."""
    write_clip(tmp_path / "other.mp4", 12, (48, 64))
    with pytest.raises(UsageError, match="could not be estimated") as raised:
        make_trajectory(f"follow({tmp_path / 'other.mp4'})")
    assert "\n" not in str(raised.value)
