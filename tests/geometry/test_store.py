from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inspatio.errors import ClipError
from inspatio.geometry.depth_video import depth_video_scale, read_depth_video, write_depth_video
from inspatio.geometry.store import GeometryDepth, GeometryWriter, load_geometry
from inspatio.media.fit import Fit

FRAMES, HEIGHT, WIDTH = 5, 6, 8
IMAGE = (12, 16)
INTRINSICS = np.array([[14.0, 0, 7.5], [0, 15.0, 5.5], [0, 0, 1]])


def poses(count: int = FRAMES) -> np.ndarray:
    rng = np.random.default_rng(3)
    world_to_camera = np.tile(np.eye(4), (count, 1, 1))
    world_to_camera[:, :3, :3] = Rotation.from_rotvec(0.1 * rng.normal(size=(count, 3))).as_matrix()
    world_to_camera[:, :3, 3] = rng.normal(size=(count, 3))
    return world_to_camera


def depths(count: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(4).uniform(0.5, 9, (count, HEIGHT, WIDTH)).astype(np.float32)


def write(folder: Path, chunk: int = FRAMES, **kwargs) -> None:
    folder.mkdir(exist_ok=True)
    writer = GeometryWriter(folder, IMAGE, (HEIGHT, WIDTH), FRAMES, **kwargs)
    for start in range(0, FRAMES, chunk):
        part = slice(start, start + chunk)
        writer.write(depths()[part], confidence=depths()[part], sky=depths()[part] > 8)
    writer.finish(INTRINSICS, poses(), "metres", "test", {"window": 3, "name": "ü"})


def test_round_trip(tmp_path):
    write(tmp_path)
    geometry = load_geometry(tmp_path)
    np.testing.assert_array_equal(geometry.depth, depths())
    np.testing.assert_array_equal(geometry.confidence, depths().astype(np.float16))
    np.testing.assert_array_equal(geometry.sky, depths() > 8)
    np.testing.assert_array_equal(geometry.intrinsics, np.stack([INTRINSICS] * FRAMES))
    np.testing.assert_array_equal(geometry.world_to_camera[0], np.eye(4))
    np.testing.assert_allclose(
        geometry.world_to_camera, poses() @ np.linalg.inv(poses()[0]), atol=1e-14
    )  # JSON keeps every digit of what relative_to_first gave
    assert (geometry.scale, geometry.backend, geometry.frame_count) == ("metres", "test", FRAMES)
    assert geometry.settings == {"window": 3, "name": "ü"}
    assert geometry.image_size == IMAGE
    assert isinstance(geometry.depth, np.memmap)
    assert not geometry.depth.flags.writeable


def test_chunks_write_the_same_bytes(tmp_path):
    write(tmp_path / "whole")
    write(tmp_path / "chunks", chunk=2)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == ["cameras.json", "confidence.npy", "depth.npy", "sky.npy"]
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "chunks" / name).read_bytes()


def test_unknown_depth_is_zero_and_float16_does_not_overflow(tmp_path):
    depth = np.ones((1, HEIGHT, WIDTH), np.float32)
    depth[0, 0, :5] = [np.nan, np.inf, -np.inf, -2, 1e6]
    writer = GeometryWriter(tmp_path, IMAGE, (HEIGHT, WIDTH), 1, dtype=np.float16)
    writer.write(depth)
    writer.finish(INTRINSICS, np.eye(4)[None], "relative", "test", {})
    geometry = load_geometry(tmp_path)
    np.testing.assert_array_equal(geometry.depth[0, 0, :6], [0, 0, 0, 0, np.finfo(np.float16).max, 1])
    assert geometry.confidence is None
    assert geometry.sky is None


@pytest.mark.parametrize(
    "fit", [Fit.make(IMAGE, (10, 10), "crop"), Fit.make(IMAGE, (10, 10), "pad"), Fit.make(IMAGE, IMAGE, "crop")]
)
def test_depth_source_fits_like_fit_and_reads_in_any_order(tmp_path, fit):
    write(tmp_path)
    source = GeometryDepth(load_geometry(tmp_path), fit)
    assert len(source) == FRAMES
    whole = source.read(range(FRAMES))
    assert whole.dtype == np.float32
    assert whole.shape == (FRAMES, *fit.target)
    for i in range(FRAMES):
        np.testing.assert_array_equal(whole[i], fit.depth(depths()[i]))
    np.testing.assert_array_equal(source.read([3, 0, 3]), whole[[3, 0, 3]])


def test_one_depth_map_for_all_frames(tmp_path):
    writer = GeometryWriter(tmp_path, IMAGE, (HEIGHT, WIDTH), 4, same_depth=True)
    writer.write(depths(1))
    writer.finish(INTRINSICS, np.tile(np.eye(4), (4, 1, 1)), "prior", "test", {})
    source = GeometryDepth(load_geometry(tmp_path), Fit.make((HEIGHT, WIDTH), (HEIGHT, WIDTH)))
    assert len(source) == 4
    np.testing.assert_array_equal(source.read([0, 3]), np.concatenate([depths(1)] * 2))


def test_an_unfinished_folder_is_refused(tmp_path):
    writer = GeometryWriter(tmp_path, IMAGE, (HEIGHT, WIDTH), FRAMES)
    writer.write(depths()[:2])
    with pytest.raises(AssertionError, match="2 maps written, 5 announced"):
        writer.finish(INTRINSICS, poses(), "metres", "test", {})
    with pytest.raises(ClipError, match=r"cameras\.json: no such file"):
        load_geometry(tmp_path)


def edit(name, value):
    def spoil(folder: Path) -> None:
        path = folder / "cameras.json"
        record = json.loads(path.read_text())
        if value is None:
            del record[name]
        else:
            record[name] = value
        path.write_text(json.dumps(record))

    return spoil


def cut(name):
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def array(name, value):
    def spoil(folder: Path) -> None:
        np.save(folder / name, value)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut("cameras.json"), r"cameras\.json: cannot be read as JSON"),
        (cut("depth.npy"), r"depth\.npy: not a whole array file"),
        (cut("sky.npy"), r"sky\.npy: not a whole array file"),
        (lambda folder: (folder / "depth.npy").unlink(), r"depth\.npy: no such file"),
        (array("depth.npy", np.zeros((4, 6, 8), np.float32)), r"depth\.npy: shape 4 x 6 x 8, expected 5"),
        (array("depth.npy", np.zeros((5, 6, 8), np.int32)), r"depth\.npy: holds int32, expected float16 or float32"),
        (array("depth.npy", np.array([{}], object)), r"depth\.npy: not a whole array file"),
        (array("confidence.npy", np.zeros((5, 6, 9), np.float16)), r"confidence\.npy: shape \(5, 6, 9\)"),
        (edit("world_to_camera", None), r"cameras\.json: field 'world_to_camera' is missing"),
    ],
)
def test_a_broken_folder_names_file_and_fault(tmp_path, spoil, message):
    write(tmp_path)
    load_geometry(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ClipError, match=message) as caught:
        load_geometry(tmp_path)
    assert "\n" not in str(caught.value)


def test_depth_video_keeps_inverse_depth_within_half_a_step(tmp_path):
    depth = depths().astype(np.float64)
    depth[1, 2, 3] = 0
    depth[2, 0, 0] = 1e9  # farther than the last step: stays known
    scale = depth_video_scale(depth[depth > 0].min())
    assert write_depth_video(tmp_path / "depth.mkv", iter(depth), scale) == FRAMES
    read = np.stack(list(read_depth_video(tmp_path / "depth.mkv", scale)))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read == 0, depth == 0)
    known = depth > 0
    assert np.abs(1 / read[known].astype(np.float64) - 1 / depth[known]).max() <= 1.01 * scale
    near = known & (depth < 100)
    assert np.abs(1 / read[near].astype(np.float64) - 1 / depth[near]).max() <= 0.51 * scale


def test_depth_video_is_lossless_when_written_again(tmp_path):
    scale = depth_video_scale(0.5)
    write_depth_video(tmp_path / "a.mkv", depths(), scale)
    once = list(read_depth_video(tmp_path / "a.mkv", scale))
    write_depth_video(tmp_path / "b.mkv", once, scale)
    np.testing.assert_array_equal(once, list(read_depth_video(tmp_path / "b.mkv", scale)))


def test_depth_video_faults(tmp_path):
    with pytest.raises(ValueError, match=r"depth 0\.1 is nearer than"):
        write_depth_video(tmp_path / "near.mkv", [np.full((6, 8), 0.1)], depth_video_scale(0.5))
    (tmp_path / "text.mkv").write_text("not a video")
    for name in ("text.mkv", "missing.mkv"):
        with pytest.raises(ClipError, match=name):
            list(read_depth_video(tmp_path / name, 1.0))
