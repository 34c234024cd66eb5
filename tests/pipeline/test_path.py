"""`inspatio path` and `inspatio export`: what they say of a path is true, and what they write is read by others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
import pygltflib
import pytest
import trimesh
from scipy.spatial.transform import Rotation
from support.clips import write_clip
from support.panoramas import LOWER, UPPER, box_panorama
from support.pictures import view_poses, write_picture, write_views
from support.runs import PROFILE
from support.true_scene import scene as true_scene
from support.true_scene import write_geometry

from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.formats.paths import read_path
from inspatio.cameras.poses import invert
from inspatio.media import probe
from inspatio.pipeline.cli import main


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 10 frames with geometry beside it and in a work folder."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "one.mp4", 10, (42, 70))
    write_geometry(folder / "one.geometry", true_scene(10))
    write_geometry(folder / "work/geometry/one", true_scene(10))
    return folder / "one.mp4"


def told(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


def test_show_says_what_the_path_is(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "path.png"
    assert main(["path", "show", "pan(40)+zoom(1,2)+time(1,0)", str(picture), "--scene", str(clip)]) == 0
    text = capsys.readouterr().out
    assert "frames     51," in told(text, "frames")
    assert "0 to 40 degrees to the left" in told(text, "looks")
    assert "1 to 2 times" in told(text, "focal")
    assert "backward in 9 frames" in told(text, "time")
    assert cv2.imread(str(picture)) is not None


def test_show_warns_where_the_path_leaves_the_scene(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(tmp_path / "path.png")
    assert main(["path", "show", "pan(120)", picture, "--scene", str(clip)]) == 0
    assert "leaves what the source shows" in told(capsys.readouterr().out, "warning")
    assert main(["path", "show", "still", picture, "--scene", str(clip)]) == 0
    assert "warning" not in capsys.readouterr().out


def test_convert_keeps_the_path(clip: Path, tmp_path: Path) -> None:
    """From an expression over a scene to another program and back into the pipeline."""
    target = tmp_path / "cameras.json"
    assert main(["path", "convert", "orbit_left+zoom(1,2)", str(target), "--scene", str(clip)]) == 0
    other = tmp_path / "camera_path.json"
    assert main(["path", "convert", str(target), str(other)]) == 0
    expected, found = (read_path(each, (480, 832)).cameras for each in (target, other))
    assert np.abs(found.world_to_camera - expected.world_to_camera).max() < 1e-9
    zoom = expected.intrinsics[:, 1, 1] / expected.intrinsics[0, 1, 1]
    assert np.allclose(found.intrinsics[:, 1, 1] / found.intrinsics[0, 1, 1], zoom, rtol=1e-6)
    assert load_trajectory(other).total_angle == pytest.approx(15, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["path"], "expected a trajectory"),
        (["path", "show", "steady()"], "Give the clip with --scene"),
        (["path", "convert", "still"], "expected a file to write"),
        (["path", "convert", "still", "a.txt"], "Give one with --to"),
        (["path", "draw", "still"], "draw"),
        (["export"], "expected a format"),
        (["export", "ply", "none.mp4"], "has no geometry"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1


def exported(clip: Path, target: Path, form: str, *more: str) -> Path:
    work = str(next(folder / "work" for folder in clip.parents if (folder / "work").is_dir()))
    assert main(["export", form, str(clip), "--work_folder", work, "--to", str(target), *more]) == 0
    return target


def test_a_nerfstudio_folder_is_what_a_splat_trainer_reads(clip: Path, tmp_path: Path) -> None:
    """Its points, seen by its cameras in OpenGL's axes, have the colours of its images."""
    folder = exported(clip, tmp_path / "ns", "nerfstudio", "--frames", "0")
    record = json.loads((folder / "transforms.json").read_text())
    cloud: Any = trimesh.load(folder / record["ply_file_path"])
    points, colours = np.asarray(cloud.vertices), np.asarray(cloud.colors)[:, :3].astype(float)
    frame = record["frames"][0]
    read = cv2.imread(str(folder / frame["file_path"]))
    assert read is not None
    image = read[..., ::-1].astype(float)
    assert image.shape[:2] == (frame["h"], frame["w"])
    inside = (points - np.array(frame["transform_matrix"])[:3, 3]) @ np.array(frame["transform_matrix"])[:3, :3]
    ahead = inside[:, 2] < 0
    columns = frame["fl_x"] * inside[:, 0] / -inside[:, 2] + frame["cx"]
    rows = -frame["fl_y"] * inside[:, 1] / -inside[:, 2] + frame["cy"]
    seen = ahead & (columns >= 0) & (columns < frame["w"]) & (rows >= 0) & (rows < frame["h"])
    assert seen.sum() > 1000
    difference = np.abs(image[rows[seen].astype(int), columns[seen].astype(int)] - colours[seen])
    assert np.median(difference) < 5, "the points of frame 0 lie under its pixels"
    heights = points[:, 2]
    assert np.median(heights[points[:, 1] < 4]) < 0, "z is up: the ground before the camera is below it"


def played(path: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Key times, camera_to_world (OpenCV axes) and vertical fields of view of a glTF camera, read by pygltflib."""
    document: Any = pygltflib.GLTF2().load(str(path))
    node = next(index for index, each in enumerate(document.nodes) if each.name == name)
    assert node in document.scenes[document.scene].nodes
    camera = document.nodes[node].camera

    def numbers(index: int) -> np.ndarray:
        accessor = document.accessors[index]
        view = document.bufferViews[accessor.bufferView]
        buffer = document.buffers[view.buffer]
        data = document.binary_blob() if buffer.uri is None else document.get_data_from_buffer_uri(buffer.uri)
        assert accessor.componentType == pygltflib.FLOAT
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor.type]
        part = data[view.byteOffset : view.byteOffset + view.byteLength]
        return np.frombuffer(part, "<f4", accessor.count * width, accessor.byteOffset or 0).reshape(-1, width)

    found = {}
    for channel in document.animations[0].channels:
        sampler = document.animations[0].samplers[channel.sampler]
        assert sampler.interpolation == pygltflib.ANIM_LINEAR
        pointer = channel.target.extensions.get("KHR_animation_pointer", {}).get("pointer")
        if channel.target.node == node or pointer == f"/cameras/{camera}/perspective/yfov":
            found[channel.target.path] = numbers(sampler.input)[:, 0], numbers(sampler.output)
    times, centres = found["translation"]
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(found["rotation"][1]).as_matrix() @ np.diag([1.0, -1, -1])
    poses[:, :3, 3] = centres
    still = np.full(len(times), document.cameras[camera].perspective.yfov)
    return times, np.diag([1.0, -1, -1, 1]) @ poses, found["pointer"][1][:, 0] if "pointer" in found else still


@pytest.mark.parametrize("form", ["gltf", "glb"])
def test_both_camera_paths_are_animated(clip: Path, tmp_path: Path, form: str) -> None:
    """The source's camera and a result's, which zooms, as another program plays them."""
    cameras = tmp_path / "one.cameras.json"
    given = ["path", "convert", "orbit_left+zoom(1,2)", str(cameras), "--to", "inspatio", "--scene", str(clip)]
    assert main(given) == 0
    expected = read_path(cameras, (42, 70)).cameras
    path = exported(clip, tmp_path / f"both.{form}", form, "--cameras", str(cameras))
    times, poses, fov = played(path, "target")
    assert np.allclose(poses, invert(expected.world_to_camera), atol=1e-5)
    assert np.allclose(times, np.arange(len(expected)) / float(probe(clip).frame_rate), atol=1e-5)
    assert np.allclose(np.tan(fov / 2), 42 / 2 / expected.intrinsics[:, 1, 1], rtol=1e-5)
    assert np.allclose(played(path, "source")[1], invert(true_scene(10).world_to_camera), atol=1e-5)
    if form == "glb":
        glb: Any = trimesh.load(path)
        assert {"source", "target"} <= set(glb.graph.nodes)


def test_an_exported_animation_is_tied_to_the_scene_by_its_source_camera(clip: Path, tmp_path: Path) -> None:
    cameras = tmp_path / "one.cameras.json"
    assert main(["path", "convert", "orbit_left", str(cameras), "--to", "inspatio", "--scene", str(clip)]) == 0
    found = read_path(exported(clip, tmp_path / "both.gltf", "gltf", "--cameras", str(cameras)), (42, 70))
    assert found.source is not None
    assert np.allclose(found.source, true_scene(10).world_to_camera, atol=1e-5)
    assert np.allclose(found.cameras.world_to_camera, read_path(cameras, (42, 70)).cameras.world_to_camera, atol=1e-5)


def test_colmap_opens_its_export(clip: Path, tmp_path: Path) -> None:
    model = pycolmap.Reconstruction(str(exported(clip, tmp_path / "model", "colmap")))
    assert model.num_images() == 10
    assert model.num_points3D() > 0


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, three views and a panorama with the geometry of a run, in one input folder."""
    folder = tmp_path_factory.mktemp("stills")
    write_picture(folder / "in/photo.jpg")
    write_views(folder / "in/room")
    image, distance = box_panorama(64)
    write_picture(folder / "in/hall.panorama.png", image)
    np.save(folder / "in/hall.panorama.depth.npy", distance)
    (folder / "small.yaml").write_text(PROFILE)
    given = ["--config_path", str(folder / "small.yaml"), "--work_folder", str(folder / "work")]
    assert main(["geometry", "--input_dir", str(folder / "in"), *given]) == 0
    return folder / "in"


def test_views_and_a_photo_are_exported(stills: Path, tmp_path: Path) -> None:
    """Views as a COLMAP model of their own cameras; the one picture of a photo with its points."""
    views = pycolmap.Reconstruction(str(exported(stills / "room", tmp_path / "model", "colmap")))
    found = np.array([views.images[n].cam_from_world().matrix() for n in sorted(views.images)])
    assert np.allclose(found, view_poses()[:, :3], atol=1e-8)
    record = json.loads((exported(stills / "photo.jpg", tmp_path / "ns", "nerfstudio") / "transforms.json").read_text())
    assert len(record["frames"]) == 1
    cloud: Any = trimesh.load(tmp_path / "ns" / record["ply_file_path"])
    assert len(cloud.vertices) > 1000


def test_a_panorama_is_exported_as_points_and_nothing_else(
    stills: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the walls of the box, in the world of its first view: to the right is what was -z, ahead what was +x."""
    cloud: Any = trimesh.load(exported(stills / "hall.panorama.png", tmp_path / "hall.ply", "ply"))
    right, down, ahead = np.asarray(cloud.vertices).T
    points = np.stack([ahead, down, -right], axis=-1)
    scale = (UPPER - LOWER) / np.ptp(points, axis=0)
    assert np.allclose(scale, scale[0], rtol=0.02), "lengths are in another unit, the same on every axis"
    walls = np.minimum(np.abs(points * scale - LOWER), np.abs(points * scale - UPPER)).min(axis=-1)
    assert np.quantile(walls, 0.95) < 0.02
    work = str(stills.parent / "work")
    capsys.readouterr()
    assert main(["export", "colmap", str(stills / "hall.panorama.png"), "--work_folder", work]) == 2
    text = capsys.readouterr().err
    assert "expected ply or glb" in text
    assert text.count("\n") == 1
