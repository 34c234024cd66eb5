"""Scene folders of InSpatio-World 1.5: what is written is opened again, bad ones are refused."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.scenes import ArraySource

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.tables import read_numbers
from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import MatrixTrajectory
from inspatio.captioning.captions import read_sidecar
from inspatio.clip_options import Controls
from inspatio.errors import ClipError, UsageError
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.export.v15 import write_v15
from inspatio.factory import make_trajectory
from inspatio.geometry.imported import FilesGeometry
from inspatio.geometry.scene import read_scene
from inspatio.media import probe_found
from inspatio.media.listing import FoundSource, identify
from inspatio.render import WarpRenderer, render_scene
from inspatio.scene import Scene, adapt

SIZE = (120, 208)
"""A quarter of the published one."""


def off_centre() -> np.ndarray:
    """The room's camera with its principal point 15 pixels right of and 10 above the centre."""
    lens = np.diag([0.25, 0.25, 1]) @ truth.intrinsics()
    lens[:2, 2] = (SIZE[1] - 1) / 2 + 15, (SIZE[0] - 1) / 2 - 10
    return lens


def poses(count: int) -> np.ndarray:
    moved = np.tile(np.eye(4), (count, 1, 1))
    moved[:, 0, 3] = -0.1 * np.arange(count)
    return moved


@pytest.fixture(scope="module")
def filmed() -> tuple[np.ndarray, np.ndarray]:
    """Two true views of the room by the off-centre camera, and their depth."""
    views = [truth.true_view(0, pose, off_centre(), SIZE) for pose in poses(2)]
    return np.stack(views), np.stack([truth.true_depth(0, pose, off_centre(), SIZE) for pose in poses(2)])


def scene_of(filmed: tuple[np.ndarray, np.ndarray], still: bool) -> Scene:
    return Scene(
        clip_id="room",
        frames=ArraySource(filmed[0]),
        depth=ArraySource(filmed[1]),
        intrinsics=np.tile(off_centre(), (2, 1, 1)),
        world_to_camera=poses(2),
        size=SIZE,
        frame_rate=Fraction(15 if still else 24),
        scale="metres",
        prompt="a room",
        still=still,
    )


def opened(folder: Path, converted: Path) -> Scene:
    """A scene folder as the pipeline opens it."""
    found = identify(folder)
    assert found is not None
    assert found == FoundSource(folder, "v15")
    info = probe_found(found)
    converted.mkdir()
    FilesGeometry().estimate(info, converted, lambda done, total: None)
    caption = read_sidecar(folder)
    return read_scene(info, converted, SIZE, prompt=caption.text if caption else "")


@pytest.mark.parametrize("still", [True, False])
def test_a_scene_comes_back(tmp_path: Path, filmed: tuple[np.ndarray, np.ndarray], still: bool):
    scene = scene_of(filmed, still)
    (tmp_path / "room").mkdir()
    write_v15(scene, tmp_path / "room", Cameras.from_poses(poses(11), off_centre()))
    again = opened(tmp_path / "room", tmp_path / "geometry")
    assert (again.still, again.prompt, again.frame_rate) == (still, "a room", scene.frame_rate)
    np.testing.assert_allclose(again.intrinsics, scene.intrinsics, rtol=1e-9)
    np.testing.assert_allclose(again.world_to_camera, scene.world_to_camera, atol=1e-9)
    step = filmed[1].max() / 65535
    np.testing.assert_allclose(again.depth.read([0, 1]), filmed[1], atol=0.51 * step)
    lost = np.abs(again.frames.read([0, 1]).astype(float) - filmed[0]).mean()
    assert lost == 0 if still else lost < 2
    facts = json.loads((tmp_path / "room/scene.json").read_text())
    path = read_numbers(tmp_path / "room/input/target_tcw.txt", 16).reshape(-1, 4, 4)
    assert len(path) == facts["frames"] == (21 if still else 2), "whole blocks, or the video's frames"
    assert facts["valid_frames"] == (11 if still else 2)
    np.testing.assert_allclose(path[: facts["valid_frames"]], poses(11)[: facts["valid_frames"]])


def test_targets_keep_a_calibrated_principal_point(tmp_path: Path, filmed: tuple[np.ndarray, np.ndarray]):
    """It was moved to the centre, where the source's pixels do not belong."""
    (tmp_path / "room").mkdir()
    write_v15(scene_of(filmed, True), tmp_path / "room")
    scene = opened(tmp_path / "room", tmp_path / "geometry")
    moved = np.eye(4)
    moved[:3, 3] = 0.03, -0.02, 0.04
    adapted, cameras = adapt(scene, MatrixTrajectory(invert(moved)[None]), Controls(frames=1))
    np.testing.assert_allclose(cameras.intrinsics[0], off_centre(), rtol=1e-9)
    render = render_scene(WarpRenderer(), adapted, 0, cameras)
    true = truth.true_view(0, moved, off_centre(), SIZE).astype(float)
    covered = render.masks[0] > 0
    error = (render.frames[0].astype(float) - true)[covered]
    assert covered.mean() > 0.9
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 26, "dB"


@pytest.mark.parametrize("still", [True, False])
def test_what_only_fills_a_block_is_left_out(tmp_path: Path, filmed: tuple[np.ndarray, np.ndarray], still: bool):
    """The last pose was held for the ten frames, and a video's last frame shown, that make whole blocks."""
    folder = tmp_path / "room"
    folder.mkdir()
    write_v15(scene_of(filmed, still), folder, Cameras.from_poses(poses(11), off_centre()))
    facts = json.loads((folder / "scene.json").read_text())
    if not still:
        (folder / "scene.json").write_text(json.dumps({**facts, "valid_frames": 1}))
    scene = opened(folder, tmp_path / "geometry")
    assert len(scene) == 1
    found = make_trajectory(str(folder / "input/target_tcw.txt"))
    adapted, cameras = adapt(scene, found.trajectory, Controls())
    assert len(adapted) == len(cameras) == (11 if still else 1)
    if still:
        np.testing.assert_allclose(cameras.world_to_camera, poses(11), atol=1e-6)
        (folder / "scene.json").write_text(json.dumps({**facts, "valid_frames": None}))
        with pytest.raises(UsageError, match=r"scene\.json: valid_frames: got 'None'"):
            make_trajectory(str(folder / "input/target_tcw.txt"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("depth/depth_01.png", "no such file"),
        ("depth/source_tcw.txt", "no such file"),
        ("input/view_01.png", "no such file"),
        ("short tcw", "1 lines, expected 2"),
        ("scene without fps", "fps: got"),
    ],
)
def test_a_scene_with_a_missing_or_shorter_file_is_refused(
    tmp_path: Path, filmed: tuple[np.ndarray, np.ndarray], damage: str, said: str
):
    folder = tmp_path / "room"
    folder.mkdir()
    write_v15(scene_of(filmed, True), folder)
    if damage == "short tcw":
        tcw = folder / "depth/source_tcw.txt"
        tcw.write_text(tcw.read_text().splitlines()[0] + "\n")
    elif damage == "scene without fps":
        facts = json.loads((folder / "scene.json").read_text())
        (folder / "scene.json").write_text(json.dumps({**facts, "fps": None}))
    else:
        (folder / damage).unlink()
    with pytest.raises(ClipError, match=said) as caught:
        opened(folder, tmp_path / "geometry")
    assert str(caught.value).startswith(str(folder))


def test_a_shorter_depth_video_is_refused(tmp_path: Path, filmed: tuple[np.ndarray, np.ndarray]):
    for name, count in (("two", 2), ("one", 1)):
        (tmp_path / name).mkdir()
        write_v15(scene_of((filmed[0], filmed[1]), False), tmp_path / name)
        if count == 1:
            shutil.copy(tmp_path / "one/depth/depth.mp4", tmp_path / "kept.mp4")
    (tmp_path / "two/depth/depth.mp4").write_bytes((tmp_path / "kept.mp4").read_bytes()[:5000])
    with pytest.raises(ClipError, match=r"depth\.mp4"):
        opened(tmp_path / "two", tmp_path / "geometry")
