"""Every format is written here byte by byte, from its description, and read back by the backend ``files``."""

from __future__ import annotations

import base64
import os
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import geometry_folders
from support.clips import write_clip
from support.geometry_folders import (
    FRAMES,
    FX,
    FY,
    HEIGHT,
    SIZE,
    WIDTH,
    WRITERS,
    depths,
    matrix,
    poses,
    rows_of,
    write_colmap_text,
    write_da3,
    write_depth_maps,
    write_native,
    write_png,
    write_tum,
    write_vggt,
    write_vipe,
)

from inspatio.cameras.poses import relative_to_first
from inspatio.cameras.trajectory import MatrixTrajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.depth_video import depth_video_scale, write_depth_video
from inspatio.geometry.formats.common import in_frame_order
from inspatio.geometry.formats.exr import read_exr
from inspatio.geometry.formats.npz import stream_member
from inspatio.geometry.formats.png import read_png
from inspatio.geometry.imported import FilesGeometry, find_geometry
from inspatio.geometry.scene import read_scene
from inspatio.geometry.store import Geometry, GeometryDepth, GeometryWriter, load_geometry, read_cameras
from inspatio.media import VideoInfo, probe
from inspatio.media.fit import Fit
from inspatio.render import WarpRenderer, render_scene
from inspatio.scene import adapt

HALF_FLOAT = 4 / 2**10
"""The largest rounding of a depth below 16 in half floats."""
STEPS = {
    "native_video": 81 / 0.5 / 131070,
    "da3_16bit": 9 / 131070,
    "tum": 1 / 10000,
    "megasam": HALF_FLOAT,
    "vipe": HALF_FLOAT,
}
"""By how much a format rounds depth, where it does."""


@pytest.fixture
def clip(tmp_path) -> VideoInfo:
    return probe(write_clip(tmp_path / "clips" / "my clip.v2.mp4", FRAMES, SIZE))


def beside(clip: VideoInfo) -> Path:
    return clip.path.with_name("my clip.v2.geometry")


def run(clip: VideoInfo, folder: Path | None = None) -> tuple[GeometrySummary, Geometry]:
    out = clip.path.parents[1] / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    steps: list[tuple[int, int]] = []
    summary = FilesGeometry(folder).estimate(clip, out, lambda done, total: steps.append((done, total)))
    assert steps == [(i + 1, FRAMES) for i in range(FRAMES)]
    return summary, load_geometry(out)


@pytest.mark.parametrize("name", WRITERS)
def test_round_trip(clip, name):
    WRITERS[name](beside(clip))
    before = sorted(path for path in clip.path.parent.rglob("*"))
    summary, geometry = run(clip)
    assert sorted(path for path in clip.path.parent.rglob("*")) == before  # the input is left alone
    assert geometry.image_size == SIZE
    assert geometry.backend == summary.backend == "files"
    without_unit = name.startswith("colmap") or name in ("vggt", "megasam")
    assert geometry.scale == summary.scale == ("relative" if without_unit else "metres")
    assert geometry.settings["format"] == name.removesuffix("_video").removesuffix("_text").removesuffix("_binary")

    step = STEPS.get(name, 0)
    np.testing.assert_allclose(geometry.depth, depths(), rtol=0, atol=step * 1.01)
    np.testing.assert_array_equal(geometry.depth[:, 3, 4], 0)  # not known stays not known

    expected = matrix(0)
    expected[1, 1] = FX if name == "colmap_binary" else FY  # SIMPLE_RADIAL has one focal length
    np.testing.assert_allclose(geometry.intrinsics, np.tile(expected, (FRAMES, 1, 1)), rtol=1e-8)
    digits = 1e-7 if name == "da3_16bit" else 1e-9  # array2string prints eight digits
    np.testing.assert_array_equal(geometry.world_to_camera[0], np.eye(4))
    np.testing.assert_allclose(geometry.world_to_camera, relative_to_first(poses()), atol=digits)


@pytest.mark.parametrize("name", [*WRITERS, "native calibrated"])
def test_a_view_from_where_the_source_stood_is_the_source(clip, monkeypatch, name):
    """A principal point off the centre: kept where a calibration says so, and centred where the format's own renderer
    centres it; there the picture moves."""
    monkeypatch.setattr(geometry_folders, "CX", 19.5)
    monkeypatch.setattr(geometry_folders, "CY", 8.5)
    calibrated = not name.startswith("da3") and name not in ("native", "native_video")
    WRITERS[name.split()[0]](beside(clip))
    if name == "native calibrated":
        cameras = read_cameras(beside(clip))
        replace(cameras, settings={"calibrated": True}).save(beside(clip) / "cameras.json")
    run(clip)
    scene = read_scene(clip, clip.path.parents[1] / "out", SIZE)
    still = MatrixTrajectory(np.eye(4)[None])
    adapted, targets = adapt(scene, still, Controls(frames=1))
    moved = targets.intrinsics[0, :2, 2] - scene.intrinsics[0, :2, 2]
    np.testing.assert_allclose(moved, (0, 0) if calibrated else (-4, 3), atol=1e-9)
    render = render_scene(WarpRenderer(), adapted, 0, targets)
    there = scene.read_depth([0])[0] > 0
    assert np.array_equal(render.masks[0] > 0, there) == calibrated


def test_native_keeps_confidence_and_sky(clip):
    write_native(beside(clip))
    _, geometry = run(clip)
    np.testing.assert_array_equal(geometry.confidence, (depths() + 1).astype(np.float16))
    np.testing.assert_array_equal(geometry.sky, depths() > 8)
    assert geometry.settings == {"format": "native", "backend": "elsewhere", "window": 2}


def test_native_keeps_one_map_for_all_frames_as_one(clip, tmp_path):
    beside(clip).mkdir()
    writer = GeometryWriter(beside(clip), SIZE, SIZE, FRAMES, same_depth=True, dtype=np.float16)
    writer.write(depths(1))
    writer.finish(matrix(0), poses(), "prior", "elsewhere", {})
    (tmp_path / "out").mkdir()
    FilesGeometry().estimate(clip, tmp_path / "out", lambda done, total: None)
    geometry = load_geometry(tmp_path / "out")
    assert (geometry.depth.shape, geometry.depth.dtype) == ((1, *SIZE), np.float16)


def test_a_centred_principal_point_stays_centred(clip):
    """DA3 and COLMAP put the centre at w / 2; here it is (w - 1) / 2, else a still path would shift the picture."""
    write_da3(beside(clip))
    centred = np.array([[FX, 0, WIDTH / 2], [0, FY, HEIGHT / 2], [0, 0, 1]])
    (beside(clip) / "intrinsic.txt").write_text(rows_of(np.tile(centred, (FRAMES, 1, 1))))
    _, geometry = run(clip)
    np.testing.assert_allclose(geometry.intrinsics[0, :2, 2], [(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    fit = Fit.make(SIZE, (48, 64))
    fitted = fit.intrinsics(geometry.intrinsics, geometry.image_size)
    np.testing.assert_allclose(fitted[0, :2, 2], [(64 - 1) / 2, (48 - 1) / 2])
    assert GeometryDepth(geometry, fit).read([0]).shape == (1, 48, 64)


def test_tum_takes_nearest_depth_and_the_path_at_its_own_time(clip):
    write_tum(beside(clip))
    times = 1305031102.1 + np.arange(FRAMES) / 30
    # Two poses only: the first and the last; in between the path is a straight line.
    lines = (beside(clip) / "groundtruth.txt").read_text().splitlines()
    (beside(clip) / "groundtruth.txt").write_text("\n".join([lines[1], lines[-1]]) + "\n")
    # One more depth map, nearer to frame 2 than its own.
    special = np.full(SIZE, 10000, np.uint16)
    write_png(beside(clip) / "depth" / "special.png", special)
    with (beside(clip) / "depth.txt").open("a") as file:
        file.write(f"{times[2] + 0.001:.6f} depth/special.png\n")
    _, geometry = run(clip)
    np.testing.assert_array_equal(geometry.depth[2], 2.0)
    np.testing.assert_allclose(geometry.depth[3], depths()[3], atol=1.01e-4)
    centres = np.linalg.inv(geometry.world_to_camera)[:, :3, 3]
    np.testing.assert_allclose(centres[2], (centres[0] + centres[4]) / 2, atol=1e-4)  # times have microseconds


def test_tum_without_intrinsics_says_what_it_took(clip):
    write_tum(beside(clip))
    (beside(clip) / "intrinsics.txt").unlink()
    summary, geometry = run(clip)
    assert "intrinsics" in summary.notes[0]
    np.testing.assert_allclose(geometry.intrinsics[0, [0, 0], [0, 2]], [525 * WIDTH / 640, (WIDTH - 1) / 2])


def test_colmap_prefers_maps_checked_between_views(clip):
    write_colmap_text(beside(clip))
    write_depth_maps(beside(clip), "photometric")
    assert run(clip)[1].settings["depth_maps"] == "geometric"
    (beside(clip) / "stereo" / "depth_maps" / "frame 003.jpg.geometric.bin").unlink()
    assert run(clip)[1].settings["depth_maps"] == "photometric"


# Finding


def test_find_geometry_prefers_the_named_folder_and_ignores_others(clip):
    assert find_geometry(clip.path) is None
    plain = clip.path.with_name("my clip.v2")
    plain.mkdir()
    (plain / "notes.txt").write_text("holiday pictures")
    assert find_geometry(clip.path) is None
    write_da3(plain)
    assert find_geometry(clip.path) == plain
    write_native(beside(clip))
    assert find_geometry(clip.path) == beside(clip)
    assert run(clip)[1].settings["format"] == "native"
    assert run(clip, folder=plain)[1].settings["format"] == "da3"


def test_the_fingerprint_follows_the_content(clip, tmp_path):
    write_native(beside(clip))
    first = FilesGeometry().fingerprint(clip)
    copied = tmp_path / "elsewhere" / beside(clip).name
    shutil.copytree(beside(clip), copied)
    os.utime(copied / "depth.npy", ns=(1, 1))
    assert FilesGeometry(copied).fingerprint(clip) == first
    edited = tmp_path / "edited" / beside(clip).name
    shutil.copytree(beside(clip), edited)
    state, content = (edited / "depth.npy").stat(), bytearray((edited / "depth.npy").read_bytes())
    content[-1] ^= 1
    (edited / "depth.npy").write_bytes(content)
    os.utime(edited / "depth.npy", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert FilesGeometry(edited).fingerprint(clip) != first
    (copied / "sky.npy").unlink()
    assert FilesGeometry(copied).fingerprint(clip) != first


def test_nothing_beside_the_clip(clip, tmp_path):
    for action in (lambda: run(clip), lambda: FilesGeometry().fingerprint(clip)):
        with pytest.raises(ClipError, match=r"no geometry at my clip\.v2\.geometry/ or my clip\.v2/; expected"):
            action()
    with pytest.raises(ClipError, match=r"no geometry at .*elsewhere; expected"):
        run(clip, tmp_path / "elsewhere")
    beside(clip).mkdir()
    with pytest.raises(ClipError, match=r"v2\.geometry: no geometry of a known format; expected a geometry folder"):
        run(clip)


# Faults


@pytest.mark.parametrize("name", WRITERS)
def test_another_frame_count_is_one_line_that_names_both(tmp_path, name):
    clip = probe(write_clip(tmp_path / "clips" / "my clip.v2.mp4", FRAMES + 2, SIZE))
    WRITERS[name](beside(clip))
    with pytest.raises(ClipError, match=rf"\b{FRAMES} .*\b{FRAMES + 2}\b") as caught:
        run(clip)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tum", "colmap_text", "colmap_binary"])
def test_pictures_of_another_shape_are_not_this_clip(tmp_path, name):
    clip = probe(write_clip(tmp_path / "clips" / "my clip.v2.mp4", FRAMES, (32, 32)))
    WRITERS[name](beside(clip))
    with pytest.raises(ClipError, match="geometry of 32x24 images, but the clip is 32x32"):
        run(clip)


def edit(name: str, old: str, new: str, count: int = 1):
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, count))

    return spoil


def halve(name: str):
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[: (folder / name).stat().st_size // 2])

    return spoil


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def grey(name: str, size=SIZE):
    return lambda folder: write_png(folder / name, np.ones(size, np.uint16))


def longer(folder: Path) -> None:
    write_depth_video(folder / "depth.mkv", depths(FRAMES + 1), depth_video_scale(0.5))


def archive(folder: Path) -> None:
    with (folder / "depth.npy").open("wb") as file:
        np.savez(file, depth=depths(FRAMES))


TUM_MAP = "depth/1305031102.170666.png"
COLMAP_MAP = "stereo/depth_maps/frame 002.jpg.geometric.bin"


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("native_video", halve("depth.mkv"), "2 depth maps, expected 5"),
        ("tum", edit("groundtruth.txt", "0", "٠"), r"groundtruth\.txt, line \d+: got .*٠.*, expected 8 finite numbers"),
        ("tum", edit("depth.txt", "1", "١"), r"depth\.txt, line \d+: got .*١.*, expected a time and a file"),
        ("colmap_text", edit("sparse/cameras.txt", "7 PINHOLE", "٧ PINHOLE"), r"cameras\.txt, line \d+: got"),
        ("native_video", longer, "more depth maps, expected 5"),
        ("native_video", edit("cameras.json", '"depth_coding"', '"x"'), "field 'depth_coding' is missing"),
        ("native", halve("depth.npy"), r"depth\.npy: not a whole array file"),
        ("native", archive, r"depth\.npy: an archive of arrays"),  # was an AttributeError
        ("da3", remove("depth/0002.png"), "geometry of 4 frames; nothing for number 2; expected .* 5"),
        ("da3", halve("depth/0002.png"), r"0002\.png: not a readable image"),
        ("da3", grey("depth/0002.png"), r"0002\.png: uint16 image .*, expected 8-bit RGBA"),
        ("da3", edit("extrinsic.txt", "e", "x"), r"extrinsic\.txt, line 1: got .*, expected 4 finite numbers"),
        ("da3", halve("intrinsic.txt"), r"intrinsic\.txt, line 8: got .*, expected 3 finite numbers"),
        ("da3", lambda f: (f / "extrinsic.txt").write_text("1 0 0 0\n" * 15), r"matrix 0 is not a rigid transform"),
        ("da3_16bit", edit("metadata.txt", " ", "\n"), r"metadata\.txt, line 1: got .*, expected 2 finite numbers"),
        ("tum", edit("rgb.txt", "rgb/", ""), None),  # the pictures themselves are not needed
        ("tum", remove("rgb.txt"), r"rgb\.txt: cannot be read as text"),
        ("tum", remove(TUM_MAP), r"170666\.png: No such file or directory; expected a depth map"),
        ("tum", grey(TUM_MAP, (12, 16)), r"170666\.png: 16x12, expected 32x24 like the first map"),
        ("tum", edit("groundtruth.txt", "1305031102.100000", "nan"), r"groundtruth\.txt, line 2: got 'nan"),
        ("tum", edit("rgb.txt", "1305031102.1", "1305031101.1"), r"depth\.txt: nothing within 0\.05 s of picture 0"),
        (
            "colmap_text",
            edit("sparse/images.txt", " frame 002.jpg", " frame 009.jpg"),
            "nothing for number 2, 6, 7 ...",
        ),
        ("colmap_text", edit("sparse/cameras.txt", "PINHOLE", "OPENCV_FISHEYE"), "OPENCV_FISHEYE 32x24 .* expected 8"),
        ("colmap_text", edit("sparse/cameras.txt", "PINHOLE", "LENS"), "camera model LENS is not known"),
        ("colmap_text", edit("sparse/cameras.txt", "PINHOLE", "SIMPLE_RADIAL"), "SIMPLE_RADIAL with lens distortion"),
        ("colmap_text", edit("sparse/images.txt", " 7 frame", " 8 frame"), "has camera 8, which is not among"),
        ("colmap_text", edit("sparse/images.txt", "13 ", "13 x "), r"images\.txt, line 2: got .*, expected ID QW"),
        (
            "colmap_text",
            halve(COLMAP_MAP),
            r"frame 002\.jpg\.geometric\.bin: 383 values, expected 32 x 24",
        ),
        ("colmap_text", remove(COLMAP_MAP), r"no such depth map \(5 of 5 are missing\); run `colmap"),
        ("colmap_text", lambda f: shutil.rmtree(f / "stereo"), "a COLMAP model without dense depth maps"),
        ("colmap_binary", halve("dense/sparse/0/images.bin"), r"images\.bin: not a whole COLMAP binary file"),
        ("colmap_binary", halve("dense/sparse/0/cameras.bin"), r"cameras\.bin: not a whole COLMAP binary file"),
    ],
)
def test_a_broken_folder_names_the_file_and_the_fault(clip, name, spoil, message):
    WRITERS[name](beside(clip))
    spoil(beside(clip))
    if message is None:
        run(clip)
        return
    with pytest.raises(ClipError, match=message) as caught:
        run(clip)
    assert "\n" not in str(caught.value)


def test_a_broken_colour_profile_changes_nothing_and_prints_nothing(tmp_path, capfd):
    depth = np.arange(12, dtype=np.uint16).reshape(3, 4)
    content = cv2.imencode(".png", depth)[1].tobytes()
    data = b"iCCP" + b"profile\0\0damaged"
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    start = content.index(b"IDAT") - 4
    (tmp_path / "depth.png").write_bytes(content[:start] + chunk + content[start:])
    assert np.array_equal(read_png(tmp_path / "depth.png"), depth)
    assert capfd.readouterr().err == ""


def test_no_damage_of_a_depth_map_prints_anything_or_gives_other_numbers(tmp_path, capfd):
    """OpenCV and libpng wrote lines of their own; some damaged files were decoded to wrong depths."""
    depth = np.random.default_rng(3).integers(0, 9000, (12, 16)).astype(np.uint16)
    content = cv2.imencode(".png", depth)[1].tobytes()
    assert len(content) > 300
    path = tmp_path / "depth.png"
    for place in range(len(content)):
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(ClipError, match=r"depth\.png: not a readable image: ") as caught:
                read_png(path)
            assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "names",
    [
        ["1403636579763555584.png", "1403636579768555520.png", "1403636579773555456.png"],
        ["1403636579.763555.png", "1403636579.768555.png", "1403636580.773555.png"],
        ["f 9.png", "f 10.png", "f 11.png"],
    ],
)
def test_maps_named_by_times_are_in_the_order_of_time(names, tmp_path):
    """Every nanosecond in between was listed as a gap: gigabytes of memory, then a refusal."""
    assert in_frame_order(names[::-1], tmp_path, 3) == names


def test_a_wild_frame_number_is_one_line(tmp_path):
    """The numbers in between were listed before the first three were named."""
    with pytest.raises(ClipError, match=r"nothing for number 2, 3, 4 \.\.\.; expected"):
        in_frame_order(["1.png", "900000000.png"], tmp_path, 2)


ZIPPED_EXR = (
    "di8xAQIAAABjaGFubmVscwBjaGxpc3QAEwAAAFoAAQAAAAAAAAABAAAAAQAAAABjb21wcmVzc2lvbgBjb21wcmVzc2lvbgABAAAAA2RhdGFXaW5k"
    "b3cAYm94MmkAEAAAAAAAAAAAAAAABgAAABMAAABkaXNwbGF5V2luZG93AGJveDJpABAAAAAAAAAAAAAAAAYAAAATAAAAbGluZU9yZGVyAGxpbmVP"
    "cmRlcgABAAAAAHBpeGVsQXNwZWN0UmF0aW8AZmxvYXQABAAAAAAAgD9zY3JlZW5XaW5kb3dDZW50ZXIAdjJmAAgAAAAAAAAAAAAAAHNjcmVlbldp"
    "bmRvd1dpZHRoAGZsb2F0AAQAAAAAAIA/ACUBAAAAAAAAVwEAAAAAAAAAAAAAKgAAAHheYziABhaAwYEGCI0JJlAGzjQ0NDSiYSDY5wyhYXwMGgZI"
    "5QMAg/17yBAAAAAPAAAAeF5j6MANPjTgBgAyFRzJ"
)


@pytest.fixture
def zipped_exr() -> bytes:
    """7x20 half floats in channel Z, written by the OpenEXR library 3.5.3: 1 + index / 16, NaN at row 3, column 2."""
    return base64.b64decode(ZIPPED_EXR)


def test_an_exr_of_the_reference_library(zipped_exr):
    expected = (1 + np.arange(140).reshape(20, 7) / 16).astype(np.float16)
    expected[3, 2] = np.nan
    np.testing.assert_array_equal(read_exr(zipped_exr, "Z"), expected)
    with pytest.raises(ValueError, match="channel"):
        read_exr(zipped_exr, "R")


@pytest.mark.parametrize("cut", range(0, 366, 17))
def test_a_damaged_exr_is_refused(zipped_exr, cut):
    with pytest.raises(ValueError):
        read_exr(zipped_exr[:cut], "Z")


def test_results_of_another_clip_or_cut_short_are_refused(clip):
    write_vggt(beside(clip))
    path = beside(clip) / "predictions.npz"
    whole = dict(np.load(path))
    np.savez(path, **(whole | {"depth": whole["depth"][:3], "extrinsic": whole["extrinsic"][:3]}))
    with pytest.raises(ClipError, match="intrinsic"):
        run(clip)
    np.savez(path, **{name: value for name, value in whole.items() if name != "extrinsic"})
    with pytest.raises(ClipError, match="extrinsic"):
        run(clip)
    np.savez(path, **whole)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ClipError, match="npz"):
        run(clip)


def test_vipe_of_a_wide_angle_camera_or_with_missing_frames_is_refused(clip):
    write_vipe(beside(clip))
    (beside(clip) / "intrinsics" / "clip_camera.txt").write_text("0: MEI\n")
    with pytest.raises(ClipError, match="PINHOLE"):
        run(clip)
    (beside(clip) / "intrinsics" / "clip_camera.txt").unlink()
    np.savez(beside(clip) / "pose" / "clip.npz", data=np.linalg.inv(poses()), inds=[0, 1, 2, 3, 5])
    with pytest.raises(ClipError, match="0 to 4"):
        run(clip)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_maps_that_are_damaged_inside_an_archive_are_one_line(tmp_path, save):
    """The archive opens, its header is whole, and only reading on to the end finds the damage: it was a traceback."""
    path = tmp_path / "maps.npz"
    save(path, depths=np.random.default_rng(0).random((3, 64, 64)).astype(np.float32))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ClipError, match=r"maps\.npz: array 'depths' is damaged"):
        list(stream_member(path, "depths"))


def test_an_array_with_a_damaged_header_is_one_line(clip):
    """numpy hands on what Python's tokenizer says of it, which was a traceback."""
    write_native(beside(clip))
    path = beside(clip) / "depth.npy"
    path.write_bytes(path.read_bytes().replace(b"), }", b"   \x13"))
    with pytest.raises(ClipError, match=r"depth\.npy: not a whole array file"):
        run(clip)
