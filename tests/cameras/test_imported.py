"""Paths of other programs in a scene: tied by source cameras or by the first pose, or refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.scenes import noise_scene
from support.true_scene import cameras as true_cameras
from support.true_scene import intrinsics

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats import load_trajectory, read_trajectory
from inspatio.cameras.formats.paths import write_path
from inspatio.cameras.poses import invert
from inspatio.cameras.similarity import Similarity, align_cameras
from inspatio.cameras.trajectory import FlightTrajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError, UsageError
from inspatio.scene import Scene, adapt
from inspatio.types import PathFormat

SIZE = (42, 70)
COUNT = 12
ELSEWHERE = Similarity(
    3.7, Rotation.from_euler("xyz", [20, 130, -40], degrees=True).as_matrix(), np.array([5.0, -2, 9])
)


def scene() -> Scene:
    return replace(noise_scene(COUNT), world_to_camera=true_cameras(COUNT))


def target(count: int = COUNT) -> np.ndarray:
    """A path in the scene's world that is not the source's, and does not start at its first camera."""
    poses = invert(true_cameras(count + 3))[3:]
    poses[:, :3, 3] += [0.3, -0.1, 0]
    return invert(poses)


def write(path: Path, world_to_camera: np.ndarray, kind: PathFormat, focal: float = 1.0) -> Path:
    lens = intrinsics(len(world_to_camera))[:1].repeat(len(world_to_camera), axis=0)
    lens[:, :2, :2] *= np.linspace(1, focal, len(lens))[:, None, None]
    write_path(path, Cameras(lens, world_to_camera), SIZE, kind)
    return path


@pytest.mark.parametrize("kind", ["nerfstudio", "colmap", "tum"])
def test_source_cameras_bring_a_path_from_another_world(tmp_path: Path, kind: PathFormat):
    """Another program's world is turned, moved and 3.7 times larger; its source cameras undo that."""
    name = {"nerfstudio": "camera_path.json", "tum": "path.txt"}.get(kind, "model")
    path = write(tmp_path / name, ELSEWHERE.cameras(target(20)), kind)
    source = write(tmp_path / "transforms.json", ELSEWHERE.cameras(true_cameras(COUNT)), "transforms")
    given = None if kind == "nerfstudio" else source
    _, found = adapt(scene(), read_trajectory(path, source=given).trajectory, Controls())
    assert len(found) == 20, "one frame for each camera"
    assert np.abs(found.world_to_camera - target(20)).max() < 1e-8


def test_source_cameras_of_another_clip_are_refused(tmp_path: Path):
    path = write(tmp_path / "camera_path.json", target(), "nerfstudio")
    write(tmp_path / "transforms.json", true_cameras(COUNT + 1), "transforms")
    with pytest.raises(ClipError, match="13 source cameras, but the clip has 12 frames"):
        adapt(scene(), load_trajectory(path), Controls())
    poses = np.random.default_rng(0).permutation(true_cameras(COUNT))
    write(tmp_path / "transforms.json", poses, "transforms")
    with pytest.raises(ClipError, match="not this clip's"):
        adapt(scene(), load_trajectory(path), Controls())


def test_source_cameras_that_are_held_after_the_clip_still_tie_it(tmp_path: Path):
    """Blender samples all cameras of a file over the longest of them."""
    path = write(tmp_path / "camera_path.json", target(), "nerfstudio")
    own = true_cameras(COUNT)
    write(tmp_path / "transforms.json", np.concatenate([own, np.repeat(own[-1:], 4, axis=0)]), "transforms")
    _, found = adapt(scene(), load_trajectory(path), Controls())
    assert np.allclose(found.world_to_camera, target(), atol=1e-6)
    write(tmp_path / "transforms.json", np.concatenate([own, own[:4]]), "transforms")
    with pytest.raises(ClipError, match=f"has {COUNT + 4} source cameras"):
        adapt(scene(), load_trajectory(path), Controls())


def test_a_colmap_model_of_another_clip_is_refused(tmp_path: Path):
    path = write(tmp_path / "path.txt", target(), "tum")
    other = invert(true_cameras(COUNT))
    other[:, :3, 3] = other[:, :3, 3][:, [1, 2, 0]]
    model = write(tmp_path / "model", invert(other), "colmap")
    with pytest.raises(ClipError, match="not this clip's"):
        adapt(scene(), read_trajectory(path, source=model).trajectory, Controls())


@pytest.mark.parametrize("turns_only", [False, True])
def test_cameras_on_a_line_or_at_a_point_can_be_aligned(turns_only: bool):
    poses = invert(true_cameras(COUNT))
    poses[:, :3, 3] = 0 if turns_only else np.linspace([0, 0, 0], [1, 0, 2], COUNT)
    moved = invert(ELSEWHERE.cameras(invert(poses)))
    found = align_cameras(moved, poses)
    assert np.allclose(found.rotation, ELSEWHERE.rotation.T)
    assert np.allclose(found.points(moved[:, :3, 3]), poses[:, :3, 3], atol=1e-9)


def test_without_source_cameras_the_first_pose_is_the_first_source_camera_and_that_is_said(tmp_path: Path):
    path = write(tmp_path / "path.txt", target(), "tum")
    found = read_trajectory(path)
    _, cameras = adapt(scene(), found.trajectory, Controls())
    assert np.allclose(cameras.world_to_camera[0], np.eye(4))
    assert np.allclose(cameras.world_to_camera, target() @ invert(target()[:1]))
    assert any("first pose is the first source camera" in note for note in found.notes)


def test_a_cameras_file_of_this_project_is_shown_as_it_is(tmp_path: Path):
    """Poses, focal lengths and source frames of an earlier result, exactly."""
    order = [0, 5, 5, 3]
    one = scene()
    lens = one.intrinsics[:4].copy()
    lens[:, :2, :2] *= np.array([1, 1.5, 2, 2])[:, None, None]
    path = tmp_path / "cameras.json"
    write_path(path, Cameras(lens, target(4)), one.size, "inspatio", Fraction(25), order)
    played, found = adapt(one, load_trajectory(path), Controls())
    assert played.source_frames(range(4)) == order
    assert np.allclose(found.world_to_camera, target(4), atol=1e-12)
    assert np.allclose(found.intrinsics[:, 0, 0], lens[:, 0, 0])


def test_a_focal_length_that_changes_along_a_path_is_kept(tmp_path: Path):
    path = write(tmp_path / "path.chan", target(), "chan", focal=1.8)
    _, found = adapt(scene(), load_trajectory(path), Controls())
    assert np.allclose(found.intrinsics[:, 1, 1] / found.intrinsics[0, 1, 1], np.linspace(1, 1.8, COUNT))
    path = write(tmp_path / "path.chan", target(), "chan", focal=0.01)
    with pytest.raises(UsageError, match="focal length changes"):
        load_trajectory(path)


def test_nerfstudio_render_times_choose_source_frames(tmp_path: Path):
    path = tmp_path / "camera_path.json"
    write_path(
        path, Cameras(intrinsics(4), target(4)), SIZE, "nerfstudio", Fraction(25), [0, 10, 10, 4], clip_frames=11
    )
    found = load_trajectory(path)
    assert found.order(21) == [0, 20, 20, 8]


def test_a_path_without_motion_is_refused(tmp_path: Path):
    for count in (1, 5):
        path = write(tmp_path / "path.chan", np.repeat(target()[:1], count, axis=0), "chan")
        with pytest.raises(UsageError, match="without motion"):
            load_trajectory(path)


def test_matrices_without_a_direction_show_both_readings(tmp_path: Path):
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, 2, 3] = np.arange(4)
    path = tmp_path / "poses.txt"
    path.write_text("\n".join(" ".join(map(str, pose.ravel())) for pose in poses))
    with pytest.raises(UsageError, match=r"KITTI's\) it ends 0 right, -?0 up, 3 ahead.* -3 ahead") as raised:
        load_trajectory(path)
    assert "\n" not in str(raised.value)
    assert load_trajectory(path, "world_to_camera").camera_to_world(4, 1.0)[-1, 2, 3] == pytest.approx(-3)


def test_the_target_of_a_1_5_scene_folder_is_world_to_camera(tmp_path: Path):
    path = write(tmp_path / "target_tcw.txt", target(), "tcw")
    found = load_trajectory(path)
    assert isinstance(found, FlightTrajectory)
    assert np.allclose(found.key_poses, invert(target() @ invert(target()[:1])))


def test_three_lines_of_eight_keyframes_are_keyframes(tmp_path: Path):
    path = tmp_path / "path.txt"
    path.write_text("0 1 2 3 4 5 6 7\n0 0 0 0 0 0 0 0\n1 1 1 1 1 1 1 1\n")
    assert load_trajectory(path).total_angle == 7
