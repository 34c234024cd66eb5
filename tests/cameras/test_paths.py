"""Camera paths of other programs: what is written is read back, and each format means what its authors say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.paths import ROOT
from support.true_scene import cameras, intrinsics

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.conventions import conventions_markdown
from inspatio.cameras.formats.paths import read_path, recognise, write_path
from inspatio.cameras.poses import invert
from inspatio.errors import ClipError
from inspatio.types import PathFormat

SIZE = (42, 70)
FULL_LENS: tuple[PathFormat, ...] = ("inspatio", "re10k", "colmap", "transforms", "lingbot", "lyra")
FIELD_OF_VIEW: tuple[PathFormat, ...] = ("nerfstudio", "gltf", "chan")
PRECISION: dict[PathFormat, float] = {"gltf": 1e-6}
"""Of poses; glTF's numbers are float32, text has all digits."""
NAMES: dict[PathFormat, str] = {
    "inspatio": "cameras.json",
    "colmap": "model",
    "lingbot": "arrays",
    "nerfstudio": "camera_path.json",
    "transforms": "transforms.json",
    "recammaster": "camera_extrinsics.json",
    "lyra": "path.npz",
    "gltf": "path.gltf",
    "chan": "path.chan",
}


@pytest.mark.parametrize("kind", get_args(PathFormat))
@settings(max_examples=8, deadline=None)
@given(count=st.integers(2, 9), seed=st.integers(0, 99))
def test_a_path_comes_back_from_every_format(tmp_path_factory, kind: PathFormat, count: int, seed: int):
    poses = cameras(count).copy()
    poses[:, :3, 3] += np.random.default_rng(seed).normal(0, 1, (count, 3))
    written = Cameras(intrinsics(count), poses)
    path = tmp_path_factory.mktemp("paths") / NAMES.get(kind, "path.txt")
    write_path(path, written, SIZE, kind)
    assert recognise(path) == kind
    found = read_path(path, SIZE, intrinsics(1)[0])
    assert np.abs(found.cameras.world_to_camera - poses).max() < PRECISION.get(kind, 1e-9)
    assert found.has_intrinsics == (kind in FULL_LENS + FIELD_OF_VIEW)
    if kind in FULL_LENS:
        assert np.abs(found.cameras.intrinsics - written.intrinsics).max() < 1e-6
    if kind in FIELD_OF_VIEW:
        assert np.abs(found.cameras.intrinsics[:, 1, 1] - written.intrinsics[:, 1, 1]).max() < 1e-4


def rows(matrix: np.ndarray) -> str:
    return " ".join(map(str, matrix.ravel()))


def by_hand(folder: Path) -> dict[PathFormat, Path]:
    """Two cameras in every format, spelled by hand: one looks ahead, the second is 2 to its right and looks right.

    Each in the axes of its format, from the definitions of those axes.
    """
    right = np.eye(4)
    right[:3, 0], right[:3, 1], right[:3, 2], right[:3, 3] = (0, 0, -1), (0, 1, 0), (1, 0, 0), (2, 0, 0)
    first, inverse = np.eye(4), np.linalg.inv(right)
    w, x, y, z = 0.5**0.5, 0.0, 0.5**0.5, 0.0  # a quarter turn about y, which points down
    identity = "1 0 0 0 0 1 0 0 0 0 1 0"
    # OpenGL: the camera's axes are right, up, back. World z up, y away from the viewer.
    gl_first = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    gl_right = [[0, 0, -1, 2], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    # Unreal: the rows of the file are the camera's forward, right and up, and its position, in centimetres.
    ue_first = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [0 0 0 1]"
    ue_right = "[0 1 0 0] [-1 0 0 0] [0 0 1 0] [0 200 0 1]"
    texts: dict[PathFormat, str] = {
        "tum": f"# timestamp tx ty tz qx qy qz qw\n0.0 0 0 0 0 0 0 1\n0.1 2 0 0 {x} {y} {z} {w}\n",
        "kitti": f"{identity}\n{rows(right[:3])}\n",
        "tcw": f"{rows(first)}\n{rows(inverse)}\n",
        "re10k": f"https://example.org\n0 0.5 0.5 0.5 0.5 0 0 {identity}\n9 0.5 0.5 0.5 0.5 0 0 {rows(inverse[:3])}\n",
        "matrices": f"# camera_to_world unit=scene\n{rows(first)}\n{rows(right)}\n",
        "chan": "1 0 0 0 0 0 0 60\n2 2 0 0 0 -90 0 60\n",  # y up: to the right is a negative turn
        "nerfstudio": json.dumps(
            {"camera_path": [{"camera_to_world": np.ravel(m).tolist(), "fov": 60} for m in (gl_first, gl_right)]}
        ),
        "transforms": json.dumps(
            {
                "camera_angle_x": 1.0,
                "frames": [
                    {"file_path": "2", "transform_matrix": gl_right},
                    {"file_path": "1", "transform_matrix": gl_first},
                ],
            }
        ),
        "recammaster": json.dumps({"frame0": {"cam01": ue_first}, "frame1": {"cam01": ue_right}}),
    }
    paths = {}
    for kind, text in texts.items():
        paths[kind] = folder / f"{kind}{'.json' if text.startswith('{') else '.txt'}"
        paths[kind].write_text(text)
    for kind in ("lyra", "lingbot", "colmap", "gltf", "inspatio"):
        paths[kind] = folder / {"lyra": "lyra.npz", "gltf": "path.gltf", "inspatio": "cameras.json"}.get(kind, kind)
    lenses = [[[50, 0, 100], [0, 50, 50], [0, 0, 1]]] * 2
    np.savez(paths["lyra"], w2c=[first, inverse], intrinsics=lenses, image_height=100, image_width=200)
    paths["lingbot"].mkdir()
    np.save(paths["lingbot"] / "poses.npy", [first, right])
    np.save(paths["lingbot"] / "intrinsics.npy", [[208, 240, 416, 240]] * 2)
    paths["colmap"].mkdir()
    (paths["colmap"] / "cameras.txt").write_text("1 SIMPLE_PINHOLE 200 100 50 100 50\n")
    centre = inverse[:3, 3]
    (paths["colmap"] / "images.txt").write_text(
        f"1 1 0 0 0 0 0 0 1 a.png\n\n2 {w} {-x} {-y} {-z} {centre[0]} {centre[1]} {centre[2]} 1 b.png\n\n"
    )
    head = (
        '"format": "inspatio-cameras", "version": 2, "convention": "opencv, world_to_camera", "image_size": [100, 200]'
    )
    lens, poses = [[50, 0, 99.5, 0, 50, 49.5, 0, 0, 1]], [first.ravel().tolist(), inverse.ravel().tolist()]
    paths["inspatio"].write_text(
        f'{{{head}, "frame_count": 2, "scale": "metres", "intrinsics": {lens}, "world_to_camera": {poses}}}'
    )
    nodes = [{"name": "eye", "camera": 0}]
    numbers = np.array([0, 0.04, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, -y, 0, w], "<f4")
    (folder / "path.bin").write_bytes(numbers.tobytes())
    paths["gltf"].write_text(
        json.dumps(
            {
                "asset": {"version": "2.0"},
                "nodes": nodes,
                "cameras": [{"type": "perspective", "perspective": {"yfov": 1.0, "znear": 0.1}}],
                "buffers": [{"uri": "path.bin", "byteLength": 64}],
                "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 64}],
                "accessors": [
                    {"bufferView": 0, "byteOffset": offset, "componentType": 5126, "count": 2, "type": kind}
                    for offset, kind in ((0, "SCALAR"), (8, "VEC3"), (32, "VEC4"))
                ],
                "animations": [
                    {
                        "samplers": [{"input": 0, "output": 1}, {"input": 0, "output": 2}],
                        "channels": [
                            {"sampler": 0, "target": {"node": 0, "path": "translation"}},
                            {"sampler": 1, "target": {"node": 0, "path": "rotation"}},
                        ],
                    }
                ],
            }
        )
    )
    return paths


def test_each_format_means_what_its_authors_say(tmp_path: Path):
    paths = by_hand(tmp_path)
    assert set(paths) == set(get_args(PathFormat))
    for kind, path in paths.items():
        assert recognise(path) == kind
        first, second = read_path(path, (100, 200)).cameras.world_to_camera
        step = second @ invert(first)
        seen = step @ [5, 0, 3, 1]
        assert np.allclose(seen[:3], [-3, 0, 3], atol=1e-6), (
            f"{kind}: 5 to the right is 3 ahead, 3 ahead is to the left"
        )


@pytest.mark.parametrize(("kind", "focal"), [("re10k", (100, 50)), ("lyra", (50, 50)), ("lingbot", (50, 50))])
def test_the_middle_of_the_picture(tmp_path: Path, kind: PathFormat, focal: tuple[int, int]):
    # Half the width, which counts from the corner, lies between pixels 99 and 100.
    found = read_path(by_hand(tmp_path)[kind], (100, 200)).cameras
    assert np.allclose(found.intrinsics[0], [[focal[0], 0, 99.5], [0, focal[1], 49.5], [0, 0, 1]])


def test_intrinsics_follow_the_size(tmp_path: Path):
    path = tmp_path / "cameras.json"
    write_path(path, Cameras(intrinsics(3), cameras(3)), SIZE, "inspatio")
    doubled = read_path(path, (2 * SIZE[0], 2 * SIZE[1])).cameras.intrinsics
    assert np.allclose(doubled[:, 0, 0], 2 * intrinsics(3)[:, 0, 0])
    assert np.allclose(doubled[:, 0, 2] + 0.5, 2 * (intrinsics(3)[:, 0, 2] + 0.5))


def test_a_matrix_that_says_no_direction_can_be_read_either_way(tmp_path: Path):
    path = by_hand(tmp_path)["kitti"]
    as_written = read_path(path, SIZE).cameras.world_to_camera
    turned = read_path(path, SIZE, direction="world_to_camera").cameras.world_to_camera
    assert np.allclose(turned, invert(as_written))
    assert np.allclose(read_path(path, SIZE, direction="camera_to_world").cameras.world_to_camera, as_written)


@pytest.mark.parametrize("header", ["", "# timestamp tx ty tz qw qx qy qz\n"])
def test_scalar_first_quaternions_are_found_and_said(tmp_path: Path, header: str):
    """Written scalar-first into a TUM file: by its comment, or by a first rotation that would be half a turn."""
    path = tmp_path / "poses.txt"
    poses = invert(cameras(5))
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat(scalar_first=True)
    lines = [f"{i} {rows(t)} {rows(q)}" for i, (t, q) in enumerate(zip(poses[:, :3, 3], quaternions, strict=True))]
    path.write_text(header + "\n".join(lines))
    found = read_path(path, SIZE)
    assert np.allclose(invert(found.cameras.world_to_camera), poses)
    assert any("qw qx qy qz" in note for note in found.notes)


@pytest.mark.parametrize(("header", "said"), [("", True), ("# timestamp tx ty tz qx qy qz qw\n", False)])
def test_an_order_of_quaternions_without_evidence_is_assumed_and_said(tmp_path: Path, header: str, said: bool):
    """A path that begins turned reads as rotations in both orders: TUM's is taken."""
    path = tmp_path / "poses.txt"
    turned = np.tile(np.eye(4), (5, 1, 1))
    turned[:, :3, :3] = Rotation.from_euler("xyz", [20, 30, 10], degrees=True).as_matrix()
    poses = turned @ invert(cameras(5))
    write_path(path, Cameras(intrinsics(5), invert(poses)), SIZE, "tum")
    path.write_text(header + path.read_text())
    found = read_path(path, SIZE)
    assert np.allclose(invert(found.cameras.world_to_camera), poses)
    assert any("order of its quaternions" in note for note in found.notes) == said


def test_the_source_cameras_beside_a_path_are_found(tmp_path: Path):
    """nerfstudio's transforms.json, glTF's camera `source`, and the folder of InSpatio-World 1.5."""
    written = Cameras(intrinsics(4), cameras(4))
    write_path(tmp_path / "transforms.json", written, SIZE, "transforms")
    write_path(tmp_path / "camera_path.json", written, SIZE, "nerfstudio")
    (tmp_path / "input").mkdir()
    (tmp_path / "depth").mkdir()
    write_path(tmp_path / "input" / "target_tcw.txt", written, SIZE, "tcw")
    write_path(tmp_path / "depth" / "source_tcw.txt", written, SIZE, "tcw")
    for name in ("camera_path.json", "input/target_tcw.txt"):
        source = read_path(tmp_path / name, SIZE).source
        assert source is not None
        assert np.allclose(source, written.world_to_camera), name


@pytest.mark.parametrize("kind", ["tum", "re10k", "chan"])
@pytest.mark.parametrize(("times", "fault"), [((0, 1, 1), "repeats"), ((0, 2, 1), "falls")])
def test_times_rise(tmp_path: Path, kind: PathFormat, times: tuple[int, ...], fault: str):
    path = tmp_path / f"path.{'chan' if kind == 'chan' else 'txt'}"
    write_path(path, Cameras(intrinsics(3), cameras(3)), SIZE, kind)
    head, *lines = path.read_text().splitlines() if kind == "re10k" else ["", *path.read_text().splitlines()]
    lines = [f"{time} {line.partition(' ')[2]}" for time, line in zip(times, lines, strict=True)]
    path.write_text("\n".join([head, *lines] if head else lines))
    with pytest.raises(ClipError, match=fault):
        read_path(path, SIZE)


def test_a_nerfstudio_path_without_fov_says_so(tmp_path: Path):
    path = by_hand(tmp_path)["nerfstudio"]
    record = json.loads(path.read_text())
    del record["camera_path"][0]["fov"]
    path.write_text(json.dumps(record))
    with pytest.raises(ClipError, match="camera 0 has no fov"):
        read_path(path, SIZE)
    del record["camera_path"][1]["fov"]
    path.write_text(json.dumps(record))
    found = read_path(path, SIZE)
    assert not found.has_intrinsics
    assert any("fov" in note for note in found.notes)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("re10k", "\n9 0.5", "\n9 0"),
        ("nerfstudio", '"fov": 60', '"fov": 0'),
        ("chan", " 60\n", " 180\n"),
        ("transforms", '"camera_angle_x": 1.0', '"camera_angle_x": 0'),
        ("gltf", '"yfov": 1.0', '"yfov": 0'),
    ],
)
def test_a_focal_length_of_zero_is_refused(tmp_path: Path, kind: PathFormat, old: str, new: str):
    path = by_hand(tmp_path)[kind]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ClipError, match=r"fov|focal|field of view"):
        read_path(path, SIZE, kind=kind)


def test_too_many_cameras_are_refused(tmp_path: Path):
    path = tmp_path / "poses.npz"
    poses, lenses = (np.broadcast_to(np.eye(n, dtype=np.float32), (10**6, n, n)) for n in (4, 3))
    np.savez(path, w2c=poses, intrinsics=lenses, image_height=1, image_width=1)
    with pytest.raises(ClipError, match="1000000 cameras"):
        read_path(path, SIZE)


def test_names_and_line_ends_of_other_systems(tmp_path: Path):
    """A non-ASCII folder and name, a byte order mark, CRLF, and a comment in another script."""
    folder = tmp_path / "камера ü 道"
    folder.mkdir()
    for kind, path in by_hand(tmp_path).items():
        if path.suffix != ".txt":
            continue
        text = path.read_text()
        comment = "" if kind == "re10k" else "# путь камеры\n"
        other = folder / f"ö {path.name}"
        other.write_bytes(b"\xef\xbb\xbf" + (comment + text).replace("\n", "\r\n").encode())
        expected = read_path(path, SIZE).cameras
        assert np.array_equal(read_path(other, SIZE).cameras.world_to_camera, expected.world_to_camera), kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 2 3\n",
        "a b c d e f g h\n",
        "0 0 0 0 0 0 0 0\n",
        "0 0 0 0 0 0 0 2\n",
        " ".join(["2"] * 12),
        " ".join(["nan"] * 16),
    ],
)
def test_what_is_no_path_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / "path.txt"
    path.write_text(text)
    with pytest.raises(ClipError) as raised:
        read_path(path, SIZE)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["nerfstudio", "transforms", "recammaster", "lyra", "gltf", "inspatio"])
def test_a_file_cut_short_is_refused_in_one_line(tmp_path: Path, kind: PathFormat):
    path = by_hand(tmp_path)[kind]
    whole = path.read_bytes()
    for share in (0.2, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ClipError) as raised:
            read_path(path, SIZE)
        assert "\n" not in str(raised.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(ClipError, match="COLMAP model"):
        read_path(tmp_path, SIZE)


def test_the_documentation_has_the_table():
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    assert conventions_markdown() in page, "run scripts/make_docs.py"
