"""Panoramas: points and views against a room that is known exactly, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial import KDTree
from support.geometry_folders import exr
from support.panoramas import LOWER, UPPER, box_depth, box_panorama

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import centred_intrinsics
from inspatio.errors import ClipError
from inspatio.geometry import panorama, panorama_depth
from inspatio.geometry.formats.ply import read_ply
from inspatio.render.disc_cloud import DiscCloud, neighbour_radii, thinned

HEIGHT = 128
SIZE = (40, 40)


def distance_to_walls(points: np.ndarray) -> np.ndarray:
    return np.abs(np.minimum(np.abs(points - LOWER), np.abs(points - UPPER)).min(axis=1))


def test_points_lie_on_the_walls_at_an_even_density() -> None:
    image, distance = box_panorama(HEIGHT)
    points, colours, radii = panorama.even_points(image, distance, 10**6)
    assert np.quantile(distance_to_walls(points), 0.99) < 1e-5
    assert len(points) == len(colours) == len(radii)
    # A sphere has 4 pi of solid angle, a panorama 2 pi times pi of pixels.
    assert len(points) == pytest.approx(2 * HEIGHT**2 * 2 / np.pi, rel=0.02)
    near_pole = (np.abs(points[:, 1]) / np.linalg.norm(points, axis=1)) > np.cos(0.2)
    assert near_pole.mean() == pytest.approx((1 - np.cos(0.2)), rel=0.1)
    fewer = panorama.even_points(image, distance, 5000)[0]
    assert 2000 < len(fewer) <= 5000


@pytest.mark.parametrize("view", [0, 1, 9, 22, 40, 41])
def test_views_see_what_the_room_has(view: int) -> None:
    """Each reference view's depth is the room's, and its picture that of a render of all points from the centre."""
    image, distance = box_panorama(HEIGHT)
    cameras = panorama.views(SIZE)
    assert len(cameras) == panorama.VIEW_COUNT == 42
    lens, pose = cameras.intrinsics[view], cameras.world_to_camera[view]
    depth = panorama.view_depth(distance, lens, pose, SIZE)
    assert np.median(np.abs(depth / box_depth(pose, lens, SIZE) - 1)) < 0.01
    cloud = DiscCloud.of(*panorama.even_points(image, distance, 10**6))
    rendered = cloud.render(cameras[view : view + 1], SIZE).frames[0]
    seen = panorama.view_image(image, pose, lens, SIZE)
    assert np.median(np.abs(seen.astype(int) - rendered.astype(int))) <= 3


def test_a_camera_that_walks_sees_the_room_closed_and_where_it_is() -> None:
    image, distance = box_panorama(HEIGHT)
    cloud = DiscCloud.of(*panorama.even_points(image, distance, 10**6))
    start = panorama.views(SIZE)
    walked = np.array(start.world_to_camera[:1])
    walked[0, 2, 3] -= 1.0  # a metre forward
    render = cloud.render(Cameras.from_poses(walked, start.intrinsics[0]), SIZE)
    assert render.depth is not None
    covered = render.masks[0] > 0
    assert covered.mean() > 0.99
    true = box_depth(walked[0], start.intrinsics[0], SIZE)
    assert np.quantile(np.abs(render.depth[0] / true - 1)[covered], 0.95) < 0.03


def test_the_number_of_threads_changes_nothing() -> None:
    cloud = DiscCloud.of(*panorama.even_points(*box_panorama(64), 10**6))
    cameras = panorama.views(SIZE)[:3]
    one, three = cloud.render(cameras, SIZE, threads=1), cloud.render(cameras, SIZE, threads=3)
    assert np.array_equal(one.frames, three.frames)
    assert np.array_equal(one.depth, three.depth)  # pyright: ignore[reportArgumentType]


def test_chunks_outside_the_view_are_not_drawn_and_none_inside_is_left_out() -> None:
    """The same picture as from points in one chunk's order that is never culled: every point by itself."""
    cloud = DiscCloud.of(*panorama.even_points(*box_panorama(256), 10**6))
    cameras = panorama.views(SIZE)[5:6]
    seen = cloud.visible_chunks(cameras.intrinsics[0], cameras.world_to_camera[0], SIZE)
    assert 0 < len(seen) < 0.5 * len(cloud.centres)
    alone = DiscCloud(cloud.points, cloud.colours, cloud.radii, cloud.centres, np.full_like(cloud.reaches, 1e6))
    assert np.array_equal(alone.render(cameras, SIZE).frames, cloud.render(cameras, SIZE).frames)


def test_pixels_between_two_surfaces_are_left_out() -> None:
    """A near wall before a far one, its edge blurred: the pixels in between go, slanted planes stay."""
    distance = np.full((64, 128), 4.0, np.float32)
    distance[:, 40:80] = 1.5
    assert not panorama.between_surfaces(distance).any()
    blurred = distance.copy()
    blurred[:, 39], blurred[:, 80] = 2.0, 2.5
    found = panorama.between_surfaces(blurred)
    assert found[4:-4, [39, 80]].all()
    assert found.sum() == found[:, [39, 80]].sum()
    assert panorama.between_surfaces(box_panorama(HEIGHT)[1]).mean() < 0.005


def test_published_paths_count_in_geometric_mean_distances() -> None:
    distance = box_panorama(64)[1]
    scaled = panorama.unit_distance(7 * distance)
    assert np.log(scaled).mean() == pytest.approx(0, abs=1e-6)
    assert scaled == pytest.approx(panorama.unit_distance(distance), rel=1e-5)


def test_depth_of_half_the_size_and_with_holes(tmp_path: Path) -> None:
    half = box_panorama(64)[1]
    half[10:14, 20:30] = [0, -1, np.nan, np.inf, 0, 0, 0, 0, 0, 0]
    np.save(tmp_path / "depth.npy", half)
    loaded = panorama.load_distance(tmp_path / "depth.npy", (128, 256))
    true = box_panorama(128)[1]
    wrong = np.abs(loaded / true - 1) > 0.05
    assert wrong.mean() < 0.02
    assert np.isfinite(loaded).all()
    assert loaded.min() > 0
    np.savez(tmp_path / "cache.npz", depth=half, other=np.zeros(3))
    assert np.array_equal(panorama.load_distance(tmp_path / "cache.npz", (128, 256)), loaded)


def test_depth_as_moge_writes_it(tmp_path: Path) -> None:
    """depth.exr with mask.png beside it: what the mask leaves out is a hole, whatever the depth says there."""
    distance = box_panorama(64)[1]
    wild = distance.copy()
    wild[30:34, 50:60] = 1e4
    (tmp_path / "depth.exr").write_bytes(exr(wild, "Y"))
    assert np.array_equal(panorama.load_distance(tmp_path / "depth.exr", distance.shape), wild)
    mask = np.full(distance.shape, 255, np.uint8)
    mask[30:34, 50:60] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    loaded = panorama.load_distance(tmp_path / "depth.exr", distance.shape)
    assert np.array_equal(loaded[mask > 0], distance[mask > 0])
    assert loaded[31, 55] == distance[mask > 0].max()
    cv2.imwrite(str(tmp_path / "mask.png"), mask[:20])
    with pytest.raises(ClipError, match="128x20"):
        panorama.load_distance(tmp_path / "depth.exr", distance.shape)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((32, 64), np.float32), "no valid distance"),
        (np.full((32, 64), np.nan, np.float32), "no valid distance"),
        (np.ones((32, 48), np.float32), "32x48"),
        (np.ones((32, 64, 3), np.float32), "32x64x3"),
        (np.ones((32, 64), np.uint8), "uint8"),
        (np.array([["a"]]), "expected distances"),
    ],
)
def test_depth_that_is_none_is_refused(tmp_path: Path, values: np.ndarray, said: str) -> None:
    np.save(tmp_path / "depth.npy", values)
    with pytest.raises(ClipError, match=said):
        panorama.load_distance(tmp_path / "depth.npy", (64, 128))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04 cut"])
def test_damaged_depth_is_one_line(tmp_path: Path, content: bytes) -> None:
    for name in ("depth.npy", "depth.npz", "depth.png", "depth.exr"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ClipError) as caught:
            panorama.load_distance(tmp_path / name, (64, 128))
        assert "\n" not in str(caught.value)


def test_pictures_that_are_no_panoramas_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(ClipError, match="60x40"):
        panorama.load_panorama(tmp_path / "photo.png")
    with pytest.raises(ClipError, match="no readable picture"):
        panorama.load_panorama(tmp_path / "nothing.png")


def test_a_cloud_keeps_one_point_to_a_voxel() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (20_000, 3)).astype(np.float32)
    kept = thinned(points, 3000)
    assert 1500 < len(kept) <= 3000
    nearest = KDTree(points[kept]).query(points)[0]
    assert nearest.max() < 2 * (8 / 1500) ** (1 / 3), "no part of the cube is left without a point"
    assert len(thinned(points, 10**6)) == len(points)


def test_a_cloud_that_is_dense_near_its_scanner_is_closed_everywhere() -> None:
    """Rays in even directions from a place near a wall; one radius for all points left half of it open."""
    rays = np.random.default_rng(0).normal(size=(60_000, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        reach = np.where(rays > 0, UPPER / rays, LOWER / rays).min(axis=1)
    points = (rays * reach[:, None]).astype(np.float32)
    stray = np.array([[0.0, 0.0, 0.3]], np.float32)
    radii = neighbour_radii(np.concatenate([points, stray]))
    assert radii[-1] < 4.1 * np.median(radii), "a point that hangs alone hides little"
    cloud = DiscCloud.of(points, np.zeros(points.shape, np.uint8), radii[:-1])
    lens = centred_intrinsics(np.diag([80.0, 80.0, 1.0]), (128, 128))
    poses = panorama.views((128, 128)).world_to_camera[[0, 9, 20]].copy()
    poses[:, 2, 3] -= 0.5
    render = cloud.render(Cameras.from_poses(poses, lens), (128, 128))
    assert (render.masks > 0).mean() > 0.97
    assert render.depth is not None
    for depth, pose in zip(render.depth, poses, strict=True):
        error = np.abs(depth / box_depth(pose, lens, (128, 128)) - 1)[depth > 0]
        assert np.median(error) < 0.02


def test_merged_views_give_the_room_up_to_its_scale() -> None:
    """Each view's distances have a scale of their own; holes in some views are filled by others."""
    size, side = (64, 128), 48
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    cameras = panorama_depth.split_cameras()
    rng = np.random.default_rng(0)
    distances, masks = [], []
    for i in range(len(cameras)):
        rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(cameras.intrinsics[i]).T
        rays = rays @ cameras.world_to_camera[i, :3, :3]
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        with np.errstate(divide="ignore"):
            reach = np.where(rays > 0, UPPER / rays, LOWER / rays).min(axis=-1)
        mask = np.ones((side, side), bool)
        mask[: side // 4] = i % 3 > 0
        distances.append((np.where(mask, reach, np.nan) * rng.uniform(0.3, 3)).astype(np.float32))
        masks.append(mask)
    merged = panorama_depth.merge_views(distances, size, masks)
    rays = panorama_depth.split_directions(size)
    with np.errstate(divide="ignore"):
        true = np.where(rays > 0, UPPER / rays, LOWER / rays).min(axis=-1)
    ratio = np.log(merged / true)
    assert np.quantile(np.abs(ratio - np.median(ratio)), 0.95) < 0.03


PLY = """ply
format {format} 1.0
element vertex 2
property float x
property float y
property float z
property {kind} {red}
property {kind} {green}
property {kind} {blue}
end_header
"""


def test_point_clouds_in_every_spelling(tmp_path: Path) -> None:
    points, colours = np.array([[1, 2, 3], [-0.5, 0, 4]], np.float32), np.array([[255, 0, 128], [0, 64, 255]])
    for order, name in (("<", "binary_little_endian"), (">", "binary_big_endian")):
        header = PLY.format(format=name, kind="uchar", red="red", green="green", blue="blue")
        record = np.zeros(2, [("p", f"{order}f4", 3), ("c", "u1", 3)])
        record["p"], record["c"] = points, colours
        (tmp_path / "a.ply").write_bytes(header.encode() + record.tobytes())
        assert all(np.array_equal(*each) for each in zip(read_ply(tmp_path / "a.ply"), (points, colours), strict=True))
        (tmp_path / "a.ply").write_bytes(header.encode() + record.tobytes()[:-3])
        with pytest.raises(ClipError, match="cut short"):
            read_ply(tmp_path / "a.ply")
    text = PLY.format(format="ascii", kind="float", red="r", green="g", blue="b") + "".join(
        " ".join(map(str, [*p, *(c / 255)])) + "\n" for p, c in zip(points, colours, strict=True)
    )
    (tmp_path / "a.ply").write_text(text)
    assert np.array_equal(read_ply(tmp_path / "a.ply")[0], points)
    assert np.array_equal(read_ply(tmp_path / "a.ply")[1], colours)
    (tmp_path / "a.ply").write_text(text.replace("1.0 2.0", "nan 2.0"))
    assert np.array_equal(read_ply(tmp_path / "a.ply")[0], points[1:])
    (tmp_path / "a.ply").write_text(text.replace("1.0 2.0", "nan 2.0").replace("-0.5 0.0", "inf 0.0"))
    with pytest.raises(ClipError, match="none of them finite"):
        read_ply(tmp_path / "a.ply")
    (tmp_path / "a.ply").write_text(text.replace("property float z\n", ""))
    with pytest.raises(ClipError, match="x, y and z"):
        read_ply(tmp_path / "a.ply")
