"""The first two stages through their networks at tiny sizes: both Florence-2 layouts, reports, exports, licences."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_videos import write_clip

from inspatio.cli import main
from inspatio.geometry.folder import load_geometry
from inspatio.manifest import CaptionBlock, GeometryBlock, Manifest
from inspatio.media import list_videos, probe

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "videos"


pytestmark = pytest.mark.usefixtures("single_thread")


def run(stage: str, *extra: object, clips: str | Path = "clips") -> int:
    return main([stage, "--profile", "tiny", "--input_dir", str(clips), *map(str, extra)])


def caption_of(here: Path) -> CaptionBlock:
    (clip,) = Manifest.open(here / "output/clips", input=here / "clips").clips
    assert clip.caption
    return clip.caption


def geometry_of(here: Path) -> GeometryBlock:
    (clip,) = Manifest.open(here / "output/clips", input=here / "clips").clips
    assert clip.geometry
    return clip.geometry


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


def test_the_frame_that_is_described(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("caption", "--caption_frame", 13, "--caption_batch_size", 2) == 0
    assert caption_of(here).text
    assert run("caption", "--caption_frame", 14) == 1
    assert "no frame 14 to describe, the clip has 14" in capsys.readouterr().err


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
    trimesh = pytest.importorskip("trimesh")
    assert run("geometry", "--export", form, "--export_frames", "0, 5") == 0
    loaded = trimesh.load(here / f"output/clips/exports/one.{form}")
    geometries = loaded.geometry.values() if hasattr(loaded, "geometry") else [loaded]
    points = max((np.asarray(part.vertices) for part in geometries), key=len)
    geometry = load_geometry(here / "output/clips/geometry/one")
    assert 0 < len(points) <= 2 * geometry.depth[0].size
    assert np.isfinite(points).all()


def test_colmap_model(here: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
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
        (["--export_frames", "1"], "together with --export"),
        (["--export", "ply", "--export_frames", "first"], "expected frame numbers"),
        (["--export", "ply", "--export_frames", "1,,2"], "expected frame numbers"),
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


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/videos")
def test_real_videos(here: Path) -> None:
    videos = [probe(path) for path in list_videos(SHARED)]
    for stage in ("caption", "geometry"):
        assert run(stage, "--work_folder", here / "work", clips=SHARED) == 0
    clips = Manifest.open(here / "work", input=SHARED).clips
    assert len(clips) == len(videos)
    for clip, video in zip(clips, videos, strict=True):
        assert clip.caption
        assert clip.caption.text
        assert clip.geometry
        geometry = load_geometry(here / "work" / clip.geometry.folder)
        assert geometry.image_size == video.size
        assert geometry.frame_count == len(geometry.depth) == video.frame_count
        assert (geometry.depth > 0).all()


def test_a_clip_for_each_network_of_a_batch(here: Path) -> None:
    """Clips with texts of their own and without, in one batch."""
    for seed, name in enumerate(("two", "three")):
        write_clip(here / f"clips/{name}.mp4", count=5, seed=seed + 1)
    (here / "clips/two.txt").write_text("a room\n")
    assert run("caption", "--caption_batch_size", 3) == 0
    clips = {clip.id: clip for clip in Manifest.open(here / "output/clips", input=here / "clips").clips}
    assert {name: clip.caption and clip.caption.origin for name, clip in clips.items()} == {
        "one": "florence",
        "two": "sidecar",
        "three": "florence",
    }
