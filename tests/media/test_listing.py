"""Which entries of a folder are sources, of which kind, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspatio.errors import UsageError
from inspatio.media.listing import FoundSource, LeftOut, identify, list_sources


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_kinds_are_told_by_content(tmp_path: Path):
    fill(
        tmp_path,
        *("b.MP4", "a.mov", "c d.webm", "photo.HEIC", "x.png", "notes.txt", ".hidden.mp4"),
        *("place/1.jpg", "place/2.jpg", "place/caption.txt", "scan/scene.json", "scan/input/view_00.png"),
        *("lidar/pointcloud.ply", "lidar/transforms_condition.json", "lidar/0.png", "lidar/1.png"),
        *("pano.png", "pano.depth.npy", "sky.panorama.jpg"),
        *("a.geometry/0.png", "a.geometry/1.png", "b/0.png", "b/1.png", "empty/text.txt"),
    )
    listing = list_sources(tmp_path)
    assert {found.path.name: found.kind for found in listing.sources} == {
        "a.mov": "video",
        "b.MP4": "video",
        "lidar": "cloud",
        "pano.png": "panorama",
        "c d.webm": "video",
        "photo.HEIC": "image",
        "place": "views",
        "scan": "v15",
        "sky.panorama.jpg": "panorama",
        "x.png": "image",
    }
    assert listing.left_out == ()


def test_what_is_left_out_has_a_reason(tmp_path: Path):
    fill(tmp_path, "a.mp4", "a.jpg", "x.mp4.part", "single/1.png", "raw.y4m")
    (tmp_path / "folder.mp4").mkdir()
    reasons = {each.path.name: each.reason for each in list_sources(tmp_path).left_out}
    assert list(reasons) == ["a.jpg", "folder.mp4", "raw.y4m", "single", "x.mp4.part"]
    assert "a.mp4" in reasons["a.jpg"]
    assert "two or more" in reasons["single"]
    assert all(isinstance(each, LeftOut) and each.reason for each in list_sources(tmp_path).left_out)


def test_a_path_alone(tmp_path: Path):
    fill(tmp_path, "views/1.png", "views/2.png", "views/one/1.png", "scan/scene.json", "scan/input/video.mp4")
    assert identify(tmp_path / "views") is None, "a folder of images is a folder of sources"
    assert identify(tmp_path / "views", as_views=True) == FoundSource(tmp_path / "views", "views")
    assert identify(tmp_path / "scan") == FoundSource(tmp_path / "scan", "v15")
    with pytest.raises(UsageError, match="--views: got 1 images"):
        identify(tmp_path / "views/one", as_views=True)


@pytest.mark.parametrize(
    ("make", "found"),
    [("none", "nothing there"), ("file", "a file"), ("empty", "an empty folder"), ("text", "1 other file;")],
)
def test_nothing_to_list(tmp_path: Path, make: str, found: str):
    folder = tmp_path / "in"
    if make == "file":
        folder.touch()
    elif make != "none":
        folder.mkdir()
    if make == "text":
        (folder / "notes.txt").touch()
    with pytest.raises(UsageError, match=found) as caught:
        list_sources(folder)
    assert str(caught.value).startswith(f"{folder}: ")
