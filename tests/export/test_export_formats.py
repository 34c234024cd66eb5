"""Exports, opened by readers that are not ours where there are such."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pygltflib
import pytest
import trimesh
from support.true_scene import SIZE, ShadedFrames, scene, write_geometry

from inspatio.cameras.poses import invert
from inspatio.errors import UsageError
from inspatio.export.formats import export
from inspatio.export.points import evenly_spaced, lift, point_cloud
from inspatio.geometry.store import Geometry
from inspatio.types import ExportFormat

COUNT = 10
RATE = Fraction(24)


@pytest.fixture(scope="module")
def geometry(tmp_path_factory: pytest.TempPathFactory) -> Geometry:
    return write_geometry(tmp_path_factory.mktemp("export") / "geometry", scene(COUNT))


def frames() -> ShadedFrames:
    return ShadedFrames(scene(COUNT))


def on_surfaces(points: np.ndarray) -> np.ndarray:
    """Distance of world points to the nearest of the scene's surfaces."""
    ground = np.abs(points @ [0.1, -1.0, -0.05] + 1.6) / np.linalg.norm([0.1, -1.0, -0.05])
    wall = np.abs(points @ [-0.2, 0.0, -1.0] + 12.0) / np.linalg.norm([-0.2, 0.0, -1.0])
    ball = np.abs(np.linalg.norm(points - [0.8, 0.2, 6.0], axis=-1) - 1.2)
    return np.minimum(np.minimum(ground, wall), ball)


def test_lifted_depth_lies_on_the_surfaces(geometry: Geometry) -> None:
    """From every frame, in one world: the half pixel between depth and image resolution included."""
    for index in range(COUNT):
        assert on_surfaces(lift(geometry, index)).max() < 1e-4


def test_cloud_is_thinned_and_coloured(geometry: Geometry) -> None:
    cloud = point_cloud(geometry, frames(), [0, 5], most=500)
    assert 100 < len(cloud.points) <= 500
    from_first = point_cloud(geometry, frames(), [0], most=10**6)
    np.testing.assert_allclose(from_first.colours[:, 0], 12 * from_first.points[:, 2], atol=1.5)


def test_sky_and_unknown_depth_are_left_out(tmp_path: Path) -> None:
    view = scene(2)
    sky = np.zeros(view.depth.shape, bool)
    sky[:, :10] = True
    view.depth[:, -5:] = 0
    view.confidence[:] = 2.0
    cloud = point_cloud(write_geometry(tmp_path, view, sky=sky), ShadedFrames(view), [0, 1], most=10**6)
    assert len(cloud.points) == 2 * (SIZE[0] - 15) * SIZE[1]


def test_ply(geometry: Geometry, tmp_path: Path) -> None:
    export(geometry, frames(), tmp_path / "cloud.ply", "ply", frame_rate=RATE)
    read: Any = trimesh.load(tmp_path / "cloud.ply")
    assert len(read.vertices) > 1000
    assert on_surfaces(np.asarray(read.vertices)).max() < 1e-4
    assert set(np.asarray(read.colors)[:, 1]) == {100}


def test_glb(geometry: Geometry, tmp_path: Path) -> None:
    export(geometry, frames(), tmp_path / "cloud.glb", "glb", frame_rate=RATE, indices=[0, 9])
    scene: Any = trimesh.load(tmp_path / "cloud.glb")
    parts = scene.geometry.values()
    points = next(part for part in parts if isinstance(part, trimesh.PointCloud))
    path = next(part for part in parts if not isinstance(part, trimesh.PointCloud))
    # y up and z towards the viewer.
    assert on_surfaces(np.asarray(points.vertices) * [1, -1, -1]).max() < 1e-4
    centres = invert(geometry.world_to_camera)[:, :3, 3] * [1, -1, -1]
    np.testing.assert_allclose(np.unique(path.vertices, axis=0), np.unique(centres, axis=0), atol=1e-6)


def test_colours_of_a_glb_are_linear(geometry: Geometry, tmp_path: Path) -> None:
    """As glTF 2.0 has vertex colours, and as Blender reads them; PLY has sRGB, which nobody converts."""
    export(geometry, frames(), tmp_path / "cloud.glb", "glb", frame_rate=RATE, indices=[0])
    document: Any = pygltflib.GLTF2().load(str(tmp_path / "cloud.glb"))
    accessor = document.accessors[document.meshes[0].primitives[0].attributes.COLOR_0]
    assert (accessor.componentType, accessor.type, accessor.normalized) == (pygltflib.UNSIGNED_SHORT, "VEC4", True)
    view = document.bufferViews[accessor.bufferView]
    part = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    linear = np.frombuffer(part, "<u2").reshape(-1, 4) / 65535
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    expected = point_cloud(geometry, frames(), [0], most=10**6).colours
    assert np.abs(255 * srgb[:, :3] - expected).max() < 0.1
    assert (linear[:, 3] == 1).all()


def test_colmap_opens_it(geometry: Geometry, tmp_path: Path) -> None:
    export(geometry, frames(), tmp_path / "model", "colmap", frame_rate=RATE, indices=[4], most_points=200)
    model = pycolmap.Reconstruction(str(tmp_path / "model"))
    assert model.num_images() == model.num_cameras() == COUNT
    assert 0 < model.num_points3D() <= 200
    for number, image in model.images.items():
        index = number - 1
        np.testing.assert_allclose(
            image.cam_from_world().matrix(), geometry.world_to_camera[index, :3], atol=1e-8, err_msg=image.name
        )
        assert (tmp_path / "model" / "images" / image.name).is_file()
    # A point projects to where this package says, half a pixel further: COLMAP counts from the corner.
    point = next(iter(model.points3D.values())).xyz
    inside = geometry.world_to_camera[4, :3, :3] @ point + geometry.world_to_camera[4, :3, 3]
    expected = (geometry.intrinsics[4] @ inside)[:2] / inside[2] + 0.5
    np.testing.assert_allclose(np.asarray(model.images[5].project_point(point)), expected, atol=1e-3)


@pytest.mark.parametrize("form", ["ply", "glb", "colmap"])
def test_nothing_to_see_is_an_empty_cloud(form: ExportFormat, tmp_path: Path) -> None:
    view = scene(1)
    view.depth[:] = 0
    geometry = write_geometry(tmp_path / "geometry", view)
    export(geometry, ShadedFrames(view), tmp_path / f"empty.{form}", form, frame_rate=RATE)
    assert (tmp_path / f"empty.{form}").exists()


def test_wrong_usage(geometry: Geometry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ply, glb"):
        export(geometry, frames(), tmp_path / "x", "obj", frame_rate=RATE)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="0 to 9"):
        export(geometry, frames(), tmp_path / "x", "ply", frame_rate=RATE, indices=[10])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("count", "wanted", "expected"), [(1, 6, [0]), (3, 6, [0, 1, 2]), (41, 5, [0, 10, 20, 30, 40])]
)
def test_evenly_spaced(count: int, wanted: int, expected: list[int]) -> None:
    assert evenly_spaced(count, wanted) == expected
