"""`inspatio frames`: the public meta.json with a panorama or a point cloud, to pictures, through tiny networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.panoramas import box_panorama, write_point_cloud
from support.paths import ROOT

from inspatio.cameras.camera_file import CameraFile
from inspatio.media import VideoReader
from inspatio.pipeline.cli import main

K = [[320, 0, 256], [0, 320, 256], [0, 0, 1]]
FORWARD = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], float)


def path(count: int = 4, length: float = 0.3) -> list[Any]:
    """Poses that look at the panorama's middle and walk there."""
    poses = np.tile(FORWARD, (count, 1, 1))
    poses[:, 0, 3] = np.linspace(0, length, count)
    return poses.tolist()


@pytest.fixture
def meta(here: Path) -> Path:
    """A meta.json with a panorama and its depth beside it."""
    folder = here / "scene"
    folder.mkdir()
    image, distance = box_panorama(96)
    cv2.imwrite(str(folder / "panorama.png"), image[..., ::-1])
    np.save(folder / "panorama.depth.npy", 3.0 * distance)
    write(folder, c2w=path())
    return folder / "meta.json"


def write(folder: Path, **changes: Any) -> None:
    values = {"name": "box", "image": "photo.png", "K": K, "c2w": path(1)} | changes
    (folder / "meta.json").write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def run(meta: Path, *extra: str) -> int:
    return main(["frames", "--meta", str(meta), "--output_dir", "out", "--profile", "worldfm_tiny", *extra])


def test_a_path_becomes_a_video_with_its_cameras(meta: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(meta) == 0
    with VideoReader(Path("out/box/output.mp4")) as reader:
        assert (len(reader), reader.info.size) == (4, (64, 64))
        assert reader.read([0, 3]).std() > 5
    cameras = CameraFile.load(Path("out/box/output.cameras.json"), "")
    assert cameras.world_to_camera[0] == pytest.approx(np.eye(4), abs=1e-9)  # the photo's axis is the first view
    assert cameras.world_to_camera[3, 2, 3] == pytest.approx(-0.3)
    assert cameras.intrinsics[0, 0, 0] == pytest.approx(40.0)  # of 512 pixels, scaled to 64
    assert cameras.settings["unit"] == "geometric mean distance of the panorama"


def test_a_pose_becomes_a_picture_the_same_every_time(meta: Path) -> None:
    write(meta.parent, c2w=path(2))
    assert run(meta, "--save_mode", "image") == 0
    first = [Path(f"out/box/output_{i:04d}.png").read_bytes() for i in range(2)]
    assert run(meta, "--save_mode", "image") == 0
    assert [Path(f"out/box/output_{i:04d}.png").read_bytes() for i in range(2)] == first
    write(meta.parent, c2w=path(2)[0][:3])  # one pose, without its last row
    assert run(meta, "--save_mode", "image") == 0
    assert Path("out/box/output.png").read_bytes() == first[0]


def test_the_photo_may_be_a_reference(meta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its field of view it is one, and the picture another; a photo that is not there is said."""
    assert run(meta, "--save_mode", "image") == 0
    without = Path("out/box/output_0000.png").read_bytes()
    assert run(meta, "--photo_fov", "80") == 1
    assert "photo.png: no such file" in capsys.readouterr().err
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    cv2.imwrite(str(meta.with_name("photo.png")), photo)
    assert run(meta, "--save_mode", "image", "--photo_fov", "80") == 0
    assert Path("out/box/output_0000.png").read_bytes() != without


def test_a_point_cloud_with_photos(meta: Path) -> None:
    folder = meta.parent
    (folder / "panorama.png").unlink()
    write_point_cloud(folder)
    assert run(meta) == 0
    with VideoReader(Path("out/box/output.mp4")) as reader:
        assert reader.read([3]).std() > 5


def test_what_is_said_of_other_sizes_and_of_walls(meta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """K of another size is scaled and said; so is a camera far beyond the wall, which sees nothing, and one just
    behind it, which looks back at its rear and sees too much."""
    poses = np.array(path(3))
    poses[1, 0, 3] = 50.0
    poses[2, :3, :3] = FORWARD[:3, :3] @ np.diag([-1, 1, -1])
    poses[2, 0, 3] = 1.5  # the wall is at about 1.2 mean distances
    write(meta.parent, K=[[200, 0, 160], [0, 200, 120], [0, 0, 1]], c2w=poses.tolist())
    assert run(meta) == 0
    said = capsys.readouterr().err
    assert "pictures of 320x240 and scaled to 64x64" in said
    assert "1 of 3 frames (first: 1)" in said
    assert "2 of 3 cameras (first: frame 1) are inside or behind a surface" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"K": None}, "lacks K"),
        ({"K": [[1, 2], [3, 4]]}, "got 2x2, expected a 3x3"),
        ({"K": [[-1, 0, 1], [0, 1, 1], [0, 0, 1]]}, "positive focal"),
        ({"c2w": [[1, 2], [3, 4]]}, "got 2x2, expected a 4x4 or 3x4"),
        ({"c2w": [[1], [2, 3]]}, "rows of different lengths"),
        ({"c2w": [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]}, "not a rigid transform"),
        ({"c2w": [[float("nan")] * 4] * 4}, "not a rigid transform"),
        ({"name": "../out"}, "name"),
        ({"image": 3}, "image"),
    ],
)
def test_a_meta_that_is_none_is_one_line(
    meta: Path, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(meta.parent, **changes)
    assert run(meta) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("fault", ["nothing", "no depth", "not 2:1", "depth of another shape", "depth missing"])
def test_scenes_that_are_none_are_one_line(meta: Path, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    picture, depth = meta.with_name("panorama.png"), meta.with_name("panorama.depth.npy")
    match fault:
        case "nothing":
            picture.unlink()
        case "no depth":
            depth.unlink()
        case "not 2:1":
            cv2.imwrite(str(picture), np.zeros((40, 90, 3), np.uint8))
        case "depth of another shape":
            np.save(depth, np.ones((96, 100), np.float32))
        case _:
            np.save(depth, np.full((96, 192), np.nan, np.float32))
    assert run(meta) == 1
    error = capsys.readouterr().err
    assert "expected" in error
    assert error.count("\n") == 1


def test_the_frame_model_takes_its_options(meta: Path) -> None:
    """What errors of the command name: --offload changes nothing but where layers are, fresh noise the picture."""
    made = {}
    for option in ([], ["--offload"], ["--frame_noise", "fresh"], ["--seed", "1"]):
        assert run(meta, "--save_mode", "image", *option) == 0
        made[" ".join(option)] = Path("out/box/output_0000.png").read_bytes()
    assert made[""] == made["--offload"]
    assert len(set(made.values())) == 3


def test_other_profiles_are_refused(meta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frames", "--meta", str(meta), "--profile", "preview"]) == 2
    assert "expected worldfm" in capsys.readouterr().err


@pytest.mark.slow
def test_depth_is_estimated_where_the_profile_can(meta: Path) -> None:
    """By Depth Anything 3 at a tiny size with random weights: 42 views, merged, kept for another run."""
    meta.with_name("panorama.depth.npy").unlink()
    profile = (ROOT / "configs/worldfm_tiny.yaml").read_text()
    tiny = "geometry: {backend: da3, model_path: checkpoints/tiny/DA3, longest: 126}"
    Path("configs").mkdir()
    Path("configs/mine.yaml").write_text(profile.replace("geometry: {backend: auto}", tiny))
    assert main(["frames", "--meta", str(meta), "--output_dir", "out", "--profile", "mine"]) == 0
    kept = np.load("out/box/panorama.depth.npy")
    assert kept.shape == (96, 192)
    assert (kept > 0).all()
