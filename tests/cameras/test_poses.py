from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.spatial.transform import Rotation
from support.paths import GOLDEN

from inspatio.cameras import poses as cameras

RENDER_GOLDEN = GOLDEN / "render.safetensors"

angles = st.floats(-85, 85)
radii = st.floats(0.01, 100)


def random_poses(count: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(count, 3))
    return poses


def golden_cameras() -> np.ndarray:
    pitch, yaw = [0.0, 6.0, -4.0, 0.0], [0.0, -8.0, 10.0, 0.0]
    return np.concatenate([cameras.orbit(pitch[:3], yaw[:3], 2.0), cameras.dolly([0.6])])


def test_golden_orbit_and_dolly():
    np.testing.assert_allclose(golden_cameras(), load_file(RENDER_GOLDEN)["orbit_c2w"], rtol=0, atol=1e-6)


def test_golden_rotation_only():
    expected = load_file(RENDER_GOLDEN)["rotation_only_c2w"]
    np.testing.assert_allclose(cameras.rotation_only(golden_cameras()), expected, rtol=0, atol=1e-6)


def test_golden_relative_to_source():
    golden = load_file(RENDER_GOLDEN)
    np.testing.assert_allclose(golden["source_c2w"] @ golden_cameras(), golden["relative_c2w"], rtol=0, atol=1e-6)


@given(angles, angles, radii)
def test_orbit_looks_at_its_centre_from_its_radius(pitch, yaw, radius):
    (pose,) = cameras.orbit([pitch], [yaw], [radius])
    to_target = np.array([0, 0, radius]) - pose[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(to_target), radius, rtol=1e-9)
    np.testing.assert_allclose(pose[:3, 2], to_target / radius, atol=1e-9)
    cameras.check_rigid(pose, "orbit", tolerance=1e-12)


@given(st.floats(0.1, 85), radii)
def test_positive_pitch_is_up_and_positive_yaw_is_left(angle, radius):
    up, left = cameras.orbit([angle, 0], [0, angle], radius)[:, :3, 3]
    assert up[1] < 0  # y points down
    assert up[0] == 0
    assert left[0] < 0  # x points right
    assert left[1] == 0


@given(radii)
def test_zero_angles_are_the_identity(radius):
    np.testing.assert_array_equal(cameras.orbit([0.0], [0.0], [radius])[0], np.eye(4))


def test_dolly_moves_forward():
    pose = cameras.dolly([1.5])[0]
    np.testing.assert_array_equal(pose[:3, 3], [0, 0, 1.5])
    np.testing.assert_array_equal(pose[:3, :3], np.eye(3))


def test_invert_is_the_matrix_inverse():
    poses = random_poses(7)
    np.testing.assert_allclose(cameras.invert(poses), np.linalg.inv(poses), atol=1e-12)
    np.testing.assert_allclose(cameras.invert(cameras.invert(poses)), poses, atol=1e-12)


def test_relative_to_first_puts_the_first_at_the_origin_and_keeps_relative_motion():
    poses = random_poses(5)
    moved = cameras.relative_to_first(poses)
    np.testing.assert_array_equal(moved[0], np.eye(4))
    for i in range(4):
        between = poses[i + 1] @ np.linalg.inv(poses[i])
        np.testing.assert_allclose(moved[i + 1] @ np.linalg.inv(moved[i]), between, atol=1e-12)
    np.testing.assert_allclose(cameras.relative_to_first(moved), moved, atol=1e-12)


def test_orthonormalised_repairs_rounding_and_keeps_translation():
    exact = random_poses(6)
    rounded = np.asarray(np.round(exact, 4), np.float64)
    repaired = cameras.orthonormalised(rounded)
    cameras.check_rigid(repaired, "repaired", tolerance=1e-12)
    np.testing.assert_allclose(repaired, exact, atol=2e-4)
    np.testing.assert_array_equal(repaired[:, :3, 3], rounded[:, :3, 3])


def test_nearest_rotation_is_never_a_mirror_image():
    mirrored = random_poses(6)[:, :3, :3] * [1, 1, -1]
    found = cameras.nearest_rotation(mirrored)
    np.testing.assert_allclose(np.linalg.det(found), 1)
    np.testing.assert_allclose(found @ np.swapaxes(found, -1, -2), np.tile(np.eye(3), (6, 1, 1)), atol=1e-12)


def test_unprojected_pixels_project_back():
    rng = np.random.default_rng(1)
    intrinsics = np.array([[700.0, 0, 410], [0, 690, 230], [0, 0, 1]])
    columns, rows, depth = rng.uniform(1, 400, (3, 20))
    pose = random_poses(1)[0]
    points = cameras.unproject(columns, rows, depth, intrinsics, pose)
    seen = intrinsics @ (pose[:3, :3] @ points.T + pose[:3, 3:])
    np.testing.assert_allclose(seen, [columns * depth, rows * depth, depth], atol=1e-9)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m[1].__setitem__((0, 0), np.nan), "pose 1 .* not finite"),
        (lambda m: m[1].__setitem__((3, 0), 1.0), "pose 1 .* last row is 1 0 0 1, expected 0 0 0 1"),
        (lambda m: m[1, :3, :3].__imul__(1.1), "pose 1 .* off the identity by 0.21"),
        (lambda m: m[1, :3, 0].__imul__(-1), "pose 1 .* mirror"),
    ],
)
def test_check_rigid_names_the_matrix_and_its_fault(spoil, message):
    poses = np.tile(np.eye(4), (3, 1, 1))
    cameras.check_rigid(poses, "pose")
    spoil(poses)
    with pytest.raises(ValueError, match=message):
        cameras.check_rigid(poses, "pose")


def test_centred_intrinsics_uses_integer_pixel_centres():
    intrinsics = np.array([[700.0, 0, 3], [0, 710, 4], [0, 0, 1]])
    centred = cameras.centred_intrinsics(np.stack([intrinsics] * 2), (480, 832))
    np.testing.assert_array_equal(centred[1], [[700, 0, 415.5], [0, 710, 239.5], [0, 0, 1]])
    assert intrinsics[0, 2] == 3  # the input is left alone
