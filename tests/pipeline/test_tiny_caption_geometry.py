"""Caption and geometry through their networks at tiny sizes: both Florence-2 layouts, reports, exports, workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
import pytest
import trimesh
from support.clips import encode, write_clip
from support.paths import SHARED
from support.pictures import VIEW_SIZE, write_views

from inspatio.captioning.captions import Caption
from inspatio.captioning.florence import Florence2Captioner
from inspatio.geometry.store import load_geometry
from inspatio.media import VideoReader, probe
from inspatio.media.listing import list_sources
from inspatio.media.pictures import load_picture
from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest
from inspatio.pipeline.records import CaptionResult, GeometryResult
from inspatio.types import Image

VIDEOS = SHARED / "videos"


def run(stage: str, *extra: object, clips: str | Path = "clips") -> int:
    return main([stage, "--profile", "tiny", "--input_dir", str(clips), *map(str, extra)])


def caption_of(here: Path) -> CaptionResult:
    (clip,) = Manifest.open(here / "output/clips", input=here / "clips").clips
    assert clip.caption
    return clip.caption


def geometry_of(here: Path) -> GeometryResult:
    (clip,) = Manifest.open(here / "output/clips", input=here / "clips").clips
    assert clip.geometry
    return clip.geometry


def test_views_of_one_place_through_all_networks(here: Path) -> None:
    """One any-view estimate for all views, whose cameras are no path that is smoothed, then their common result."""
    views = write_views(here / "places/room", geometry=False)
    video = here / "film.mp4"
    encode(video, 3, VIEW_SIZE, picture=lambda index, size: load_picture(views / f"view_{index}.png")[0])
    still = ("--traj", "still", "--frames", 9, "--caption", "a room")
    assert run("run", *still, clips="places") == 0
    (clip,) = Manifest.open(here / "output/places", input=here / "places").clips
    found = clip.geometry
    assert found
    assert (found.backend, found.frame_count) == ("da3", 3)
    result = probe(here / "output/places/still/room.mp4")
    assert (result.frame_count, result.frame_rate) == (9, 15)
    poses = load_geometry(here / "output/places" / found.folder).world_to_camera
    assert np.abs(poses - np.eye(4)).max() > 1e-3
    assert run("geometry", "--work_folder", "film", "--pose_smoothing", 0, clips=video) == 0
    filmed = load_geometry(here / "film/geometry/film").world_to_camera
    np.testing.assert_allclose(poses, filmed, atol=0.05, err_msg="the same networks on the same pictures")


def test_both_florence_layouts_give_one_caption(here: Path) -> None:
    assert run("caption") == 0
    converted = caption_of(here)
    folder = "checkpoints/tiny/Florence-2-large-original"
    assert (here / folder / "modeling_florence2.py").is_file()  # which would end the program if it were run
    assert run("caption", "--florence_model_path", folder) == 0
    original = caption_of(here)
    assert converted.text == original.text != ""
    assert converted.fingerprint != original.fingerprint  # it was made anew, by other weights
    assert converted.weights == {"checkpoints/tiny/Florence-2-large": "MIT"}
    assert original.weights == {folder: "MIT"}


def test_the_frame_that_is_described(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    described: list[np.ndarray] = []
    caption = Florence2Captioner.caption

    def watched(self: Florence2Captioner, images: Sequence[Image]) -> list[Caption]:
        described.extend(images)
        return caption(self, images)

    monkeypatch.setattr(Florence2Captioner, "caption", watched)
    assert run("caption", "--caption_frame", 13, "--caption_batch_size", 2) == 0
    with VideoReader(here / "clips/one.mp4") as reader:
        (frame,) = reader.read([13])
    (image,) = described
    assert np.array_equal(image, frame)
    assert caption_of(here).text
    assert run("caption", "--caption_frame", 14) == 1
    message = capsys.readouterr().err
    assert "frame 14" in message
    assert "--caption_frame" in message


def test_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("geometry", "--report") == 0
    said = capsys.readouterr().err
    folder = here / "output/clips/reports/one"
    picture = cv2.imread(str(folder / "report.png"))
    assert picture is not None
    assert picture.std() > 1
    sentences = (folder / "report.txt").read_text().splitlines()
    assert sentences
    assert all(line in said for line in sentences if line)
    assert "14 frames of 100x60" in said
    done = (here / "output/clips/geometry/one/depth.npy").stat().st_mtime_ns
    assert run("geometry", "--report") == 0  # also for geometry that was finished before
    assert (here / "output/clips/geometry/one/depth.npy").stat().st_mtime_ns == done


@pytest.mark.parametrize("form", ["ply", "glb"])
def test_point_cloud(here: Path, form: str) -> None:
    assert run("geometry", "--export", form, "--export_frames", "0, 5") == 0
    loaded: Any = trimesh.load(here / f"output/clips/exports/one.{form}")
    geometries = loaded.geometry.values() if hasattr(loaded, "geometry") else [loaded]
    points = max((np.asarray(part.vertices) for part in geometries), key=len)
    geometry = load_geometry(here / "output/clips/geometry/one")
    assert 0 < len(points) <= 2 * geometry.depth[0].size
    assert np.isfinite(points).all()


def test_colmap_model(here: Path) -> None:
    assert run("geometry", "--export", "colmap") == 0
    folder = here / "output/clips/exports/one_colmap"
    model = pycolmap.Reconstruction(str(folder))
    assert (model.num_images(), model.num_cameras()) == (14, 14)
    assert model.num_points3D() > 0
    assert len(list((folder / "images").iterdir())) == 14
    geometry = load_geometry(here / "output/clips/geometry/one")
    for number, image in model.images.items():
        np.testing.assert_allclose(image.cam_from_world().matrix(), geometry.world_to_camera[number - 1, :3], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--export_frames", "1"], "--export"),
        (["--export", "ply", "--export_frames", "first"], "got 'first'"),
        (["--export", "ply", "--export_frames", "1,,2"], "got '1,,2'"),
        (["--export", "ply", "--export_frames", "3,14"], "0 to 13"),
    ],
)
def test_frames_that_cannot_be_exported(
    here: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("geometry", *options) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
    assert not (here / "output/clips/exports").exists()


def test_licences_follow_the_models(here: Path) -> None:
    assert run("geometry") == 0
    nested = geometry_of(here)
    assert (nested.backend, nested.scale) == ("da3", "metres")
    assert list(nested.weights) == ["checkpoints/tiny/DA3"]
    settings = json.loads((here / "output/clips/geometry/one/cameras.json").read_text())["settings"]
    assert [name in nested.weights["checkpoints/tiny/DA3"] for name in settings["models"]] == [True]

    pair = ["checkpoints/tiny/DA3-any-view", "checkpoints/tiny/DA3-metric"]
    assert run("geometry", "--da3_model_path", pair[0], "--da3_metric_path", pair[1]) == 0
    both = geometry_of(here)
    assert (both.scale, list(both.weights)) == ("metres", pair)
    assert run("geometry", "--da3_model_path", pair[0]) == 0
    assert geometry_of(here).scale == "relative"
    assert run("geometry", "--geometry", "plane") == 0
    assert geometry_of(here).weights == {}


@pytest.mark.slow
@pytest.mark.skipif(not VIDEOS.is_dir(), reason="the real clips are not beside the checkout")
def test_real_videos(here: Path) -> None:
    videos = [probe(found.path) for found in list_sources(VIDEOS).sources]
    for stage in ("caption", "geometry"):
        assert run(stage, "--work_folder", here / "work", clips=VIDEOS) == 0
    clips = Manifest.open(here / "work", input=VIDEOS).clips
    assert len(clips) == len(videos)
    for clip, video in zip(clips, videos, strict=True):
        assert clip.caption
        assert clip.caption.text
        assert clip.geometry
        geometry = load_geometry(here / "work" / clip.geometry.folder)
        assert geometry.image_size == video.size
        assert geometry.frame_count == len(geometry.depth) == video.frame_count
        assert (geometry.depth > 0).all()


def test_only_clips_without_a_text_are_captioned(here: Path) -> None:
    """Clips with texts of their own and without, in one batch."""
    more_clips(here, "two", "three")
    (here / "clips/two.txt").write_text("a room\n")
    assert run("caption", "--caption_batch_size", 3) == 0
    clips = {clip.id: clip for clip in Manifest.open(here / "output/clips", input=here / "clips").clips}
    assert {name: clip.caption and clip.caption.origin for name, clip in clips.items()} == {
        "one": "florence",
        "two": "sidecar",
        "three": "florence",
    }


def more_clips(here: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        write_clip(here / f"clips/{name}.mp4", count=5, seed=seed + 1)


@pytest.mark.slow  # the job of test_tiny_profile.py asks the same of all stages at once
def test_workers_give_what_one_process_gives(here: Path) -> None:
    more_clips(here, "two", "three")

    def everything() -> dict[str, tuple[str, bytes]]:
        found = {}
        for clip in Manifest.open(here / "output/clips", input=here / "clips").clips:
            assert clip.caption
            assert clip.geometry
            depth = (here / "output/clips" / clip.geometry.folder / "depth.npy").read_bytes()
            found[clip.id] = (clip.caption.text, depth)
        return found

    for stage in ("caption", "geometry"):
        assert run(stage) == 0
    alone = everything()
    assert run("caption", "--force", "--step1_gpus", "0,1", "--master_port", 29651) == 0
    assert run("geometry", "--force", "--step2_gpus", "0,1", "--master_port", 29652) == 0
    assert everything() == alone


def test_a_worker_that_dies_leaves_what_is_finished(here: Path) -> None:
    """Of four clips the second worker makes the second and dies with the fourth."""
    (here / "clips/one.mp4").unlink()
    more_clips(here, "a", "b", "c", "d")
    program = (
        "import os, sys\n"
        "from inspatio.pipeline import geometry\n"
        "whole = geometry.GeometryStage.process\n"
        "def process(self, states, report):\n"
        "    if states[0].id == 'd': os._exit(7)\n"
        "    return whole(self, states, report)\n"
        "geometry.GeometryStage.process = process\n"
        "from inspatio.pipeline.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    (here / "dying.py").write_text(program)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29653", "dying.py"]
    options = ["geometry", "--profile", "tiny", "--input_dir", "clips"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    folder = here / "output/clips/geometry"
    assert not (folder / "d").exists()
    finished = (folder / "b/depth.npy").stat().st_mtime_ns
    assert run("geometry") == 0
    assert (folder / "b/depth.npy").stat().st_mtime_ns == finished
    clips = Manifest.open(here / "output/clips", input=here / "clips").clips
    assert [clip.id for clip in clips if clip.geometry] == ["a", "b", "c", "d"]
