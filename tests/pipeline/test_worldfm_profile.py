"""The pipeline with the frame model, at a tiny size with random weights in the published layout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.panoramas import box_panorama, write_point_cloud
from support.paths import ROOT
from support.runs import times

from inspatio.config import load_profile
from inspatio.factory import processes_per_clip
from inspatio.media import VideoReader
from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest


def run(*extra: str) -> int:
    trajectory = str(ROOT / "traj" / "orbit_left.txt")
    fixed = ["run", "--profile", "worldfm_tiny", "--input_dir", "clips", "--traj_txt_path", trajectory]
    return main([*fixed, "--frames", "14", *extra])


def frames(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(range(len(reader))).astype(int)


def test_a_clip_becomes_a_video_and_is_made_again_only_where_it_must(here: Path) -> None:
    """Another noise is another result, in a folder of its own; the same command again writes nothing."""
    assert run() == 0
    folder = here / "output/clips/orbit_left"
    first, written = frames(folder / "one.mp4"), times(here / "output")
    assert first.shape[0] == 14
    assert first.std() > 5
    (clip,) = Manifest.open(folder, input=here / "clips", work=here / "output/clips").clips
    assert clip.output
    assert clip.output.generator == "worldfm"
    assert any("WorldFM" in path for path in clip.output.weights)
    assert run() == 0
    assert times(here / "output") == written
    assert run("--frame_noise", "fixed") == 1, "results with other noise are not replaced without --force"
    assert times(here / "output") == written
    assert run("--frame_noise", "fixed", "--output_folder", "other") == 0
    assert times(here / "output") == written
    assert np.abs(frames(here / "other/one.mp4") - first).mean() > 1


def write_panorama(folder: Path, name: str, *, depth: bool = True) -> None:
    image, distance = box_panorama(64)
    cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
    if depth:
        np.save(folder / f"{name}.depth.npy", 3.0 * distance)


def test_a_folder_of_a_video_an_image_and_panoramas(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All become videos; one without depth fails alone and says why; with another depth, and only then, one is made."""
    write_panorama(here / "clips", "room")
    write_panorama(here / "clips", "bare.panorama", depth=False)
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8), (80, 60))
    cv2.imwrite(str(here / "clips/photo.png"), picture)
    assert run("--dry_run") == 0
    assert not (here / "output").exists()
    assert run() == 1
    assert "bare.panorama.depth.npy" in capsys.readouterr().err
    folder = here / "output/clips/orbit_left"
    clips = {clip.id: clip for clip in Manifest.open(folder, input=here / "clips", work=here / "output/clips").clips}
    assert set(clips) == {"one", "room", "bare.panorama", "photo"}
    assert frames(folder / "photo.mp4").std() > 5
    assert clips["room"].source.kind == "panorama"
    work = {clip.id: clip for clip in Manifest.open(here / "output/clips", input=here / "clips").clips}
    geometry = work["room"].geometry
    assert geometry
    assert (geometry.backend, geometry.frame_count) == ("panorama", 1)
    assert any("geometric mean distance" in note for note in geometry.notes)
    made = frames(folder / "room.mp4")
    assert made.std() > 5
    assert clips["room"].render
    assert clips["room"].render.coverage > 0.95
    written = (folder / "room.mp4").stat().st_mtime_ns
    (here / "clips/bare.panorama.png").unlink()
    assert run() == 0
    assert (folder / "room.mp4").stat().st_mtime_ns == written
    np.save(here / "clips/room.depth.npy", box_panorama(64)[1] ** 2)
    assert run("--comparison") == 0
    assert not np.array_equal(frames(folder / "room.mp4"), made)
    assert frames(folder / "room.comparison.mp4").shape[2] == 3 * made.shape[2]


def test_a_panorama_that_is_none_and_a_generator_that_takes_none(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_panorama(here / "clips", "room")
    cv2.imwrite(str(here / "clips/flat.panorama.png"), np.zeros((40, 90, 3), np.uint8))
    fixed = [
        "run",
        "--input_dir",
        "clips",
        "--traj_txt_path",
        "orbit_left",
        "--geometry",
        "plane",
        "--clips",
        "room,flat*",
    ]
    assert main([*fixed, "--profile", "preview"]) == 1
    said = capsys.readouterr().err
    assert "not a panorama: got 90x40" in said
    assert "Use --profile worldfm" in said


def test_frames_of_one_clip_are_shared_out_and_the_result_is_the_same_to_the_byte(here: Path) -> None:
    """Two processes for one clip; and one process takes their result as its own."""
    config = load_profile(ROOT / "configs/worldfm_tiny.yaml").generator
    assert [processes_per_clip(config, 6, clips) for clips in (1, 2, 3, 4)] == [6, 3, 2, 1]
    assert run() == 0
    other = ["--output_folder", "shared"]
    assert run("--step3_nproc", "2", "--master_port", "29661", *other) == 0
    assert (here / "shared/one.mp4").read_bytes() == (here / "output/clips/orbit_left/one.mp4").read_bytes()
    written = times(here / "shared")
    assert run(*other) == 0
    assert times(here / "shared") == written


def test_a_point_cloud_is_a_source_as_panoramas_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It becomes a video along the path, from anywhere it is named; other points or photos make another one."""
    write_point_cloud(here / "clips/lidar")
    (here / "clips/one.mp4").unlink()
    assert run("--comparison") == 0
    folder = here / "output/clips/orbit_left"
    (clip,) = Manifest.open(folder, input=here / "clips", work=here / "output/clips").clips
    assert (clip.id, clip.source.kind) == ("lidar", "cloud")
    assert clip.render
    assert clip.render.coverage > 0.9, "of a room of points"
    (work,) = Manifest.open(here / "output/clips", input=here / "clips").clips
    assert work.geometry
    assert (work.geometry.backend, work.geometry.frame_count) == ("point cloud", 3)
    assert any("units of the point cloud" in note for note in work.geometry.notes)
    made, written = frames(folder / "lidar.mp4"), times(here / "output")
    assert made.std() > 5
    assert run("--comparison") == 0
    assert times(here / "output") == written
    photo = here / "clips/lidar/conditions/0000.png"
    cv2.imwrite(str(photo), 255 - np.asarray(cv2.imread(str(photo))))
    assert run() == 0
    assert not np.array_equal(frames(folder / "lidar.mp4"), made)
    photo.unlink()
    assert run("--input_dir", "clips/lidar") == 1
    assert "0000.png" in capsys.readouterr().err
    preview = ["run", "--profile", "preview", "--input_dir", "other", "--traj", "orbit_left"]
    write_point_cloud(here / "other/lidar")
    assert main(preview) == 1
    assert "is a point cloud" in capsys.readouterr().err


@pytest.mark.slow
def test_a_point_cloud_is_flown_through_live(here: Path) -> None:
    """The process as a user starts it: it says its address, which it does once the world is there, and ends."""
    write_point_cloud(here / "clips/lidar")
    words = ["live", "clips/lidar", "--profile", "worldfm_tiny", "--port", "0", "--no_browser"]
    command = [sys.executable, "-m", "inspatio", *words]
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, env=paths, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None, "a pipe"
        address = server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        said = server.communicate(timeout=60)[1]
    finally:
        server.kill()
    assert "/?token=" in address, said
    assert server.returncode == 0
