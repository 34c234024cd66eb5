"""Images and views of one place through the pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT
from support.pictures import VIEW_SIZE, view_intrinsics, view_poses, write_picture, write_views

from inspatio.cameras.camera_file import CameraFile
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.media import VideoReader, probe
from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest
from inspatio.render.files import RenderFiles

PROFILE = """\
height: 48
width: 80
caption: {backend: sidecar}
geometry: {backend: auto}
generator: {backend: preview}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    return tmp_path


def run(*extra: object, clips: str = "in", command: str = "run") -> int:
    fixed = [command, "--config_path", "small.yaml", "--input_dir", clips]
    return main([*fixed, *map(str, extra)])


STILL = ("--traj_txt_path", ROOT / "traj/still.txt")


def test_one_image_is_as_long_as_its_path(here: Path, capsys: pytest.CaptureFixture[str]):
    """A one-frame clip with a dolly gave one frame."""
    write_picture(here / "in/photo.jpg", quality=95)
    (here / "in/photo.txt").write_text("a photo")
    dolly = ("--traj_txt_path", ROOT / "traj/dolly_in.txt", "--skip_step3")
    assert run(*dolly) == 0
    clip = Manifest.open(here / "output/in", input=here / "in").clips[0]
    assert (clip.source.kind, clip.id, clip.caption and clip.caption.text) == ("image", "photo", "a photo")
    info = probe(here / "output/in/dolly_in/render/photo/render.mp4")
    assert (info.frame_count, info.frame_rate) == (121, 15)
    assert run(*dolly, "--seconds", "0.4", "--output_folder", "short") == 0
    assert probe(here / "short/render/photo/render.mp4").frame_count == 6
    assert run(*dolly, "--seconds", "0.4", "--fps", "30", "--output_folder", "fast") == 0
    fast = probe(here / "fast/render/photo/render.mp4")
    assert (fast.frame_count, fast.frame_rate) == (12, 30)
    matrices = "\n".join(["# world_to_camera unit=scene"] + [" ".join(map(str, np.eye(4).ravel()))] * 130)
    (here / "path.txt").write_text(matrices)
    assert run("--traj_txt_path", "path.txt", "--skip_step3", "--output_folder", "long") == 0
    assert probe(here / "long/render/photo/render.mp4").frame_count == 130, "one frame for each matrix"
    assert "is a prior" in capsys.readouterr().err


def test_the_same_run_again_reads_nothing_again(here: Path, capsys: pytest.CaptureFixture[str]):
    write_views(here / "in/room")
    assert run(*STILL, "--frames", "3") == 0
    capsys.readouterr()
    assert run(*STILL, "--frames", "3", "--verbose") == 0
    assert "1 of 1 clips are finished already" in capsys.readouterr().err
    write_picture(here / "in/room/view_3.png", np.zeros((*VIEW_SIZE, 3), np.uint8))
    assert run(*STILL, "--frames", "3") == 1, "a fourth view that the geometry does not have"
    assert "geometry of 3 frames" in capsys.readouterr().err


def test_views_are_rendered_as_one(here: Path):
    """Each seen alone leaves more of the target uncovered, and the context of each block is a view."""
    write_views(here / "in/room")
    # Between and beyond the views, so that every view shows something that the others do not.
    (here / "path.txt").write_text("0\n0\n-0.05 0.05\n")
    assert run("--traj_txt_path", "path.txt", "--frames", "12") == 0
    manifest = Manifest.open(here / "output/in/path", input=here / "in", work=here / "output/in")
    clip = manifest.clips[0]
    assert clip.source.kind == "views"
    with RenderFiles(here / "output/in/path/render/room") as render:
        order = render.cameras.order
        assert set(order) == {0, 1, 2}, "three latent frames, three views"
        assert len(set(order[1:5])) == len(set(order[5:9])) == 1
    cameras = CameraFile.load(here / "output/in/path/room.cameras.json", "")
    with VideoReader(here / "output/in/path/room.mp4") as result:
        frame = result.read([6])[0].astype(float)
    true = truth.true_view(0, cameras.world_to_camera[6], cameras.intrinsics[6], (48, 80)).astype(float)
    assert 10 * np.log10(255**2 / np.mean((frame - true) ** 2)) > 24, "dB"


def test_views_by_option_and_alone(here: Path):
    write_views(here / "in/room")
    assert run(*STILL, "--skip_step3", "--frames", "2", "--views", clips="in/room") == 0
    clips = Manifest.open(here / "output/in", input=here / "in").clips
    assert [(clip.id, clip.source.kind) for clip in clips] == [("room", "views")]
    assert view_poses().shape == (3, 4, 4)
    assert view_intrinsics()[0, 0] > 0


def test_views_without_geometry_are_refused_with_a_remedy(here: Path, capsys: pytest.CaptureFixture[str]):
    """A prior does not know where views were taken; views of other places do not overlap."""
    rng = np.random.default_rng(0)
    for index in range(2):
        write_picture(here / f"in/apart/{index}.png", rng.integers(0, 255, (*VIEW_SIZE, 3), dtype=np.uint8))
    assert run(command="geometry") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "FAILED" in line]
    assert len(said) == 1
    assert "views" in said[0]
    assert "--geometry files" in said[0]


def test_views_of_other_shapes_are_cut_with_a_note(here: Path, capsys: pytest.CaptureFixture[str]):
    write_views(here / "in/room")
    write_picture(here / "in/room/view_1.png", np.full((104, 104, 3), 90, np.uint8))
    assert run(*STILL, "--skip_step3", "--frames", "2") == 0
    assert "view_1.png is 104x104 and view_0.png 104x60: 42% of it is cut away" in capsys.readouterr().err


def test_a_damaged_view_fails_its_scene_alone(here: Path, capsys: pytest.CaptureFixture[str]):
    write_views(here / "in/room")
    write_picture(here / "in/photo.png")
    path = here / "in/room/view_2.png"
    path.write_bytes(path.read_bytes()[:400])
    assert run(*STILL, "--skip_step3", "--frames", "2") == 1
    assert "room FAILED: in/room/view_2.png: cannot be read" in capsys.readouterr().err
    assert (here / "output/in/still/render/photo/render.mp4").is_file()
