"""Camera paths of other programs: what is written is read back, and each format means what its authors say."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.true_scene import cameras, intrinsics

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.paths import PathFormat, read_path, write_path
from inspatio.errors import ClipError

SIZE = (42, 70)
WITH_INTRINSICS = ("inspatio", "re10k", "colmap")


def name(kind: PathFormat) -> str:
    return {"inspatio": "cameras.json", "colmap": "model"}.get(kind, "path.txt")


@pytest.mark.parametrize("kind", get_args(PathFormat))
@settings(max_examples=10, deadline=None)
@given(count=st.integers(2, 9), seed=st.integers(0, 99))
def test_a_path_comes_back_from_every_format(tmp_path_factory, kind: PathFormat, count: int, seed: int):
    poses = cameras(count).copy()
    poses[:, :3, 3] += np.random.default_rng(seed).normal(0, 1, (count, 3))
    written = Cameras(intrinsics(count), poses)
    path = tmp_path_factory.mktemp("paths") / name(kind)
    write_path(path, written, SIZE, kind)
    found = read_path(path, SIZE, intrinsics(1)[0])
    assert np.allclose(found.world_to_camera, written.world_to_camera, atol=1e-8)
    if kind in WITH_INTRINSICS:
        assert np.allclose(found.intrinsics, written.intrinsics, atol=1e-6)


def test_each_format_means_what_its_authors_say(tmp_path: Path):
    """A camera 2 to the right of the world's origin that looks to the right, spelled by hand."""
    turned = Rotation.from_euler("y", 90, degrees=True)
    w, x, y, z = turned.as_quat(scalar_first=True)
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3], camera_to_world[:3, 3] = turned.as_matrix(), (2, 0, 0)
    inverse = np.linalg.inv(camera_to_world)
    twelve = " ".join(map(str, camera_to_world[:3].ravel()))
    texts = {
        "tum": f"# time tx ty tz qx qy qz qw\n0.0 2 0 0 {x} {y} {z} {w}\n",
        "kitti": f"{twelve}\n",
        "tcw": " ".join(map(str, inverse.ravel())) + "\n",
        "re10k": "https://example.org\n0 0.5 0.5 0.5 0.5 0 0 " + " ".join(map(str, inverse[:3].ravel())) + "\n",
    }
    for kind, text in texts.items():
        path = tmp_path / f"{kind}.txt"
        path.write_text(text)
        found = read_path(path, (100, 200))
        assert np.allclose(found.world_to_camera[0], inverse, atol=1e-12), kind
        assert np.allclose((found.world_to_camera[0] @ [5, 0, 0, 1])[:3], [0, 0, 3]), "5 to the right is 3 ahead of it"
    found = read_path(tmp_path / "re10k.txt", (100, 200))
    # RealEstate10K's 0.5 is the middle of the picture, between pixels 99 and 100.
    assert np.allclose(found.intrinsics[0], [[100, 0, 99.5], [0, 50, 49.5], [0, 0, 1]])


def test_intrinsics_follow_the_size(tmp_path: Path):
    path = tmp_path / "cameras.json"
    write_path(path, Cameras(intrinsics(3), cameras(3)), SIZE, "inspatio")
    doubled = read_path(path, (2 * SIZE[0], 2 * SIZE[1])).intrinsics
    assert np.allclose(doubled[:, 0, 0], 2 * intrinsics(3)[:, 0, 0])
    assert np.allclose(doubled[:, 0, 2] + 0.5, 2 * (intrinsics(3)[:, 0, 2] + 0.5))


@pytest.mark.parametrize(
    "text", ["", "1 2 3\n", "a b c d e f g h\n", "0 0 0 0 0 0 0 0\n", " ".join(["2"] * 12), " ".join(["nan"] * 16)]
)
def test_what_is_no_path_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / "path.txt"
    path.write_text(text)
    with pytest.raises(ClipError) as raised:
        read_path(path, SIZE)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(ClipError, match="COLMAP model"):
        read_path(tmp_path, SIZE)
