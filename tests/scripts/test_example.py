"""The example: the files in the repository are what the script makes."""

from __future__ import annotations

from pathlib import Path

import make_example
from support.paths import EXAMPLES
from support.scenes import psnr

from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.media import VideoReader


def test_geometry_made_again_has_the_same_bytes(tmp_path: Path):
    make_example.make_geometry(tmp_path)
    shipped = EXAMPLES / f"{make_example.CLIP}.geometry"
    names = {file.name for file in shipped.iterdir()}
    assert names == {"cameras.json", "depth.mkv"}
    for name in names:
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes(), name


def test_video_shows_the_scene():
    frame = 50
    with VideoReader(EXAMPLES / f"{make_example.CLIP}.mp4") as video:
        assert len(video) == truth.FRAME_COUNT
        filmed = video.read([frame])[0]
    true = truth.true_view(frame, truth.source_world_to_camera()[frame])
    assert psnr(filmed, true) > 33


def test_examples_are_small():
    assert sum(file.stat().st_size for file in EXAMPLES.rglob("*") if file.is_file()) < 2_000_000
