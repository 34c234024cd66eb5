"""Focal length and source time along a path, steady, lock-off, pose strings, presets: laws of geometry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.paths import ROOT
from support.scenes import noise_scene
from support.true_scene import cameras as true_cameras

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.controls import clip_order
from inspatio.cameras.expressions import PRESETS, presets_markdown, signatures
from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.named import load_named, split_trajectories
from inspatio.cameras.poses import compose, invert
from inspatio.cameras.trajectory import FlightTrajectory, Trajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError, UsageError
from inspatio.factory import make_trajectory
from inspatio.scene import Scene, adapt


def focals(cameras: Cameras) -> np.ndarray:
    """``t 2``"""
    return cameras.intrinsics[:, [0, 1], [0, 1]]


def trajectory(text: str) -> Trajectory:
    return make_trajectory(text).trajectory


def moving_scene(count: int, shake: float = 0.0) -> Scene:
    """A scene whose source camera walks; with shake it also trembles."""
    rng = np.random.default_rng(0)
    poses = invert(true_cameras(count))
    turns = Rotation.from_rotvec(rng.normal(0, shake * 0.02, (count, 3))).as_matrix()
    shaken = poses @ compose(turns, rng.normal(0, shake * 0.05, (count, 3)))
    shaken = invert(shaken[:1]) @ shaken
    return replace(noise_scene(count), world_to_camera=invert(shaken))


def shown(scene: Scene, text: str, **controls) -> tuple[Scene, Cameras]:
    return adapt(scene, trajectory(text), Controls(**controls))


def roughness(poses: np.ndarray) -> float:
    """The mean second difference of camera centres and viewing directions: what trembles."""
    features = np.concatenate([poses[:, :3, 3], poses[:, :3, 2]], axis=1)
    return float(np.linalg.norm(np.diff(features, n=2, axis=0), axis=1).mean())


def test_a_zoom_multiplies_the_focal_length_and_nothing_else():
    plain_scene, plain = shown(noise_scene(20), "still")
    _, zoomed = shown(noise_scene(20), "still+zoom(1,2)")
    assert np.allclose(focals(zoomed) / focals(plain), np.linspace(1, 2, len(plain_scene))[:, None])
    assert np.array_equal(zoomed.intrinsics[:, :2, 2], plain.intrinsics[:, :2, 2])
    assert np.array_equal(zoomed.world_to_camera, plain.world_to_camera)


@given(st.floats(-1.5, 0.9), st.floats(1.0, 3.0))
@settings(max_examples=25, deadline=None)
def test_a_dolly_zoom_keeps_the_size_of_its_subject(distance: float, subject: float):
    """What stands at the subject's distance covers the same pixels in every frame, and what is behind it does not."""
    scene = noise_scene(12)
    _, found = shown(scene, f"dolly_zoom(distance={distance!r}, subject={subject!r})")
    depth = subject * scene.foreground_depth()

    def width(at: float) -> np.ndarray:
        points = np.array([[-0.1, 0, at, 1], [0.1, 0, at, 1]])
        pixels = np.einsum("tij,tjk,pk->tpi", found.intrinsics, found.world_to_camera[:, :3], points)
        return np.ptp(pixels[:, :, 0] / pixels[:, :, 2], axis=1)

    assert np.ptp(width(depth)) < 1e-6 * width(depth).mean()
    if abs(distance) > 0.1:
        assert np.ptp(width(3 * depth)) > 1e-3 * width(3 * depth).mean()


def test_steady_takes_shake_away_by_its_strength():
    scene = moving_scene(60, shake=1.0)
    rough = {s: roughness(invert(shown(scene, f"steady(strength={s})")[1].world_to_camera)) for s in (0, 0.5, 1)}
    own = roughness(invert(scene.world_to_camera))
    assert rough[0] == pytest.approx(own, rel=1e-9), "strength 0 is the source's own path"
    assert rough[1] < 0.15 * own
    assert rough[0.5] == pytest.approx(own / 2, rel=0.1)


def test_a_steady_motion_has_no_shake():
    """A straight walk at constant speed is left alone, ends included."""
    poses = compose(np.eye(3), np.linspace([0, 0, 0], [0.4, 0, 1], 40))
    scene = replace(noise_scene(40), world_to_camera=invert(poses))
    found = invert(shown(scene, "steady()")[1].world_to_camera)
    assert np.abs(found - poses).max() < 1e-9


def test_lock_off_stands_at_its_frame_while_the_scene_plays():
    scene = moving_scene(30)
    played, found = shown(scene, "lock_off(frame=11)")
    assert np.allclose(found.world_to_camera, scene.world_to_camera[11])
    assert played.source_frames(range(30)) == list(range(30))
    with pytest.raises(ClipError, match="0 to 29"):
        shown(scene, "lock_off(frame=30)")


def test_an_anchored_path_is_relative_to_its_anchor():
    scene = moving_scene(30)
    alone = invert(shown(noise_scene(30), "dolly(distance=0.5)")[1].world_to_camera)
    both = invert(shown(scene, "lock_off(frame=7)+dolly(0.5)")[1].world_to_camera)
    assert np.allclose(both, invert(scene.world_to_camera[7]) @ alone)


@pytest.mark.parametrize(
    ("keyframes", "expected"),
    [
        ("1, 0", list(range(20, -1, -1))),
        ("0, 0.5, 0.5, 1", [*range(11), *[10] * 10, *range(11, 21)]),
        ("0, 1, 0", [*range(21), *range(19, -1, -1)]),
        ("0.5", [10, 10]),
    ],
)
def test_time_along_the_path(keyframes: str, expected: list[int]):
    """Backward, frozen half way, to and fro, held: of a clip of 21 frames."""
    found = clip_order(21, trajectory(f"still+time({keyframes})"), Controls())
    assert found[: len(expected)] == expected
    assert set(found[len(expected) :]) <= {expected[-1]}


def test_slow_motion_is_not_faster_than_the_clip_anywhere():
    found = np.array(clip_order(41, trajectory("orbit_left+time(0, 0.2, 1)"), Controls()))
    steps = np.diff(found)
    assert steps.max() <= 1
    first, second = np.array_split(steps, 2)
    assert first.sum() == pytest.approx(8, abs=1)
    assert second.sum() == pytest.approx(32, abs=1)


def test_a_file_has_lines_of_zoom_and_time(tmp_path: Path):
    path = tmp_path / "path.txt"
    path.write_text("0 10\n0\n1\nzoom 1 1.5\ntime 1 0\n")
    found = load_trajectory(path)
    assert (found.zoom, found.time) == ((1.0, 1.5), (1.0, 0.0))
    for line, message in (("zoom 0", "got a zoom of 0"), ("time 0 2", "got a time of 2"), ("zoom", "blank")):
        path.write_text(f"0\n0\n1\n{line}\n")
        with pytest.raises(UsageError, match=f"line 4: {message}"):
            load_trajectory(path)


def test_pose_strings_count_frames():
    found = trajectory("forward:36, right*0.5:12")
    assert isinstance(found, FlightTrajectory)
    assert len(found.key_poses) == 49
    assert np.allclose(found.key_poses[36, :3, 3], [0, 0, 36 * 0.012])
    assert np.allclose(found.key_poses[48, :3, 3], [12 * 0.5 * 0.012, 0, 36 * 0.012])
    assert clip_order(30, found, Controls())[28:32] == [28, 29, 28, 27], "the clip plays on, to and fro"


def test_other_programs_pose_strings():
    """31 latents of 4 frames forward at 0.08 a latent, then one that turns by 3 degrees; minWM spells it otherwise."""
    for text in ("w-31, right-1", "w*31,l*1"):
        poses = trajectory(text).camera_to_world(129, 1.0)
        assert np.allclose(poses[124, :3, 3], [0, 0, 31 * 0.08])
        assert np.rad2deg(np.arctan2(poses[-1, 0, 2], poses[-1, 2, 2])) == pytest.approx(3)


def test_turning_left_and_looking_up_mean_that():
    left, up = (trajectory(f"{name}:10").camera_to_world(11, 1.0)[-1, :3, 2] for name in ("turn-left", "look-up"))
    assert left[0] < 0
    assert up[1] < 0
    flown = trajectory("look-up:10, forward:10").camera_to_world(21, 1.0)
    assert flown[-1, 1, 3] == pytest.approx(0), "it looks up and does not fly up"


@pytest.mark.parametrize(("text", "axis"), [("pan(30)", 0), ("tilt(30)", 1)])
def test_pan_turns_left_and_tilt_up_without_moving(text: str, axis: int):
    poses = trajectory(text).camera_to_world(31, 2.0)
    assert poses[-1, axis, 2] == pytest.approx(-0.5)
    assert not poses[:, :3, 3].any()


def test_an_orbit_preset_is_a_closed_loop_around_the_foreground():
    poses = trajectory("orbit(yaw=20, pitch=5, cycles=2)").camera_to_world(321, 3.0)
    centre = np.array([0, 0, 3.0])
    assert np.allclose(np.linalg.norm(poses[:, :3, 3] - centre, axis=1), 3)
    assert np.allclose(poses[[0, 160, 320]], np.eye(4), atol=1e-9)
    yaw = np.rad2deg(np.arctan2(poses[:, 0, 2], poses[:, 2, 2]))
    assert [yaw.min(), yaw.max()] == pytest.approx([-20, 20], abs=0.1)
    assert (poses[:, 1, 3] <= 1e-9).all(), "never below the source"


def test_lists_of_trajectories():
    assert split_trajectories("orbit_left, dolly(0.2),forward:36, turn-left:12,still") == [
        "orbit_left",
        "dolly(0.2)",
        "forward:36,turn-left:12",
        "still",
    ]
    with pytest.raises(UsageError, match="empty"):
        split_trajectories("orbit_left,,still")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("orbit_lfet", "none of that name; expected a file, one of crane, "),
        ("orbit(yaw=twenty)", "got 'twenty', expected a number"),
        ("orbit(roll=3)", "got roll, expected orbit"),
        ("orbit(yaw=20", "brackets"),
        ("pan()", r"expected pan\(yaw\)"),
        ("steady(strength=2)", "got 2, expected 0 to 1"),
        ("dolly_zoom(distance=1)", "ends at 0 times the focal length"),
        ("zoom(0)+still", "got 0, expected 0.05 to 20"),
        ("zoom(1,2)+zoom(3)", "zoom twice"),
        ("orbit_left+dolly(1)", "two camera paths"),
        ("steady()+lock_off(3)", "two of steady and lock_off"),
        ("dolly_zoom(0.5)+zoom(2)", "zooms itself"),
        ("jump:3", "got 'jump', expected one of forward"),
        ("forward:0", "no frames"),
        ("forward:100000,back:1", "more than 100000 frames"),
        ("look-up:100", "looks 120 degrees up"),
        ("path(a.json, scael=2)", "expected path"),
    ],
)
def test_what_cannot_be_meant_is_one_line(text: str, message: str):
    with pytest.raises(UsageError, match=message) as raised:
        load_named(text, None, lambda path, reach: pytest.fail("follows nothing"))
    assert "\n" not in str(raised.value)


def test_every_preset_documents_itself():
    for name, (spelling, about) in zip(PRESETS, signatures(), strict=True):
        assert spelling.startswith(f"{name}(")
        assert about.endswith(".")
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    assert presets_markdown() in page, "run scripts/make_docs.py"
