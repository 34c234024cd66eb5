"""What is taken as a clip and what is not: single videos, --clips, clip lists with faults, files that are left out."""

import json
from pathlib import Path

import pytest
from support.clips import write_clip
from support.paths import ROOT

from inspatio.errors import UsageError
from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest
from inspatio.pipeline.public_manifest import read_public

PROFILE = """\
height: 48
width: 80
caption: {backend: sidecar}
geometry: {backend: plane}
generator: {backend: preview}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a profile and an empty folder of clips."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    (tmp_path / "clips").mkdir()
    return tmp_path


def run(command: str, *extra: object, clips: str = "clips") -> int:
    return main([command, "--config_path", "small.yaml", "--input_dir", clips, *map(str, extra)])


def captions(here: Path) -> dict[str, str | None]:
    clips = Manifest.open(here / "output/clips", input=here / "clips").clips
    return {clip.id: clip.caption and clip.caption.text for clip in clips}


def test_one_video_is_a_clip_of_its_folder(here: Path):
    """A video as --input_dir was refused. What is known of the other clips stays."""
    for name in ("a", "b", "c"):
        write_clip(here / "clips" / f"{name}.mp4", 2)
    assert run("caption", clips="clips/b.mp4") == 0
    assert captions(here) == {"b": ""}
    assert run("caption", "--clips", "c.mp4,a") == 0
    assert captions(here) == {"a": "", "b": "", "c": ""}
    assert run("caption", "--caption", "another", "--clips", "a") == 0
    assert captions(here) == {"a": "another", "b": "", "c": ""}


def test_a_clip_that_is_not_there_is_named(here: Path, capsys: pytest.CaptureFixture[str]):
    write_clip(here / "clips/a.mp4", 2)
    assert run("caption", "--clips", "a,walk") == 2
    assert "--clips: got 'walk', expected names of clips: a" in capsys.readouterr().err


def test_files_that_are_left_out_are_mentioned_once_with_the_reason(here: Path, capsys: pytest.CaptureFixture[str]):
    """Nothing was said of them."""
    clips = here / "clips"
    write_clip(clips / "a.mp4", 2)
    (clips / "folder.mp4").mkdir()
    (clips / "link.mov").symlink_to("nowhere.mov")
    for name in ("a.txt", "README.md", ".hidden.mxf", "b.mxf", "c.h264", "d.y4m", "a.png"):
        (clips / name).write_text("words")
    (clips / "a.geometry").mkdir()
    assert run("caption") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert [line.rpartition(": ")[2] for line in lines] == ["a.png", "b.mxf, c.h264, d.y4m", "folder.mp4", "link.mov"]


def test_patterns_and_a_limit_choose_clips(here: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("a", "b1", "b2", "c"):
        write_clip(here / "clips" / f"{name}.mp4", 2)
    assert run("caption", "--clips", "b*,c") == 0
    assert captions(here) == {"b1": "", "b2": "", "c": ""}
    assert run("caption", "--clips", "a,b*", "--limit", "2", "--caption", "first") == 0
    assert captions(here) == {"a": "first", "b1": "first", "b2": "", "c": ""}
    assert run("caption", "--clips", "z*") == 2
    assert run("caption", "--limit", "0") == 2
    assert "--clips: got 'z*', expected names of clips: a, b1, b2, c" in capsys.readouterr().err


def test_one_result_where_it_is_wanted(here: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("a", "b"):
        write_clip(here / "clips" / f"{name}.mp4", 2)
    wanted = ("--traj_txt_path", ROOT / "traj/still.txt", "-o", "new/film.mp4")
    assert run("run", *wanted) == 2
    assert "-o new/film.mp4: got 2 clips, expected one" in capsys.readouterr().err
    assert run("run", *wanted, "--clips", "b") == 0
    assert (here / "new/film.mp4").read_bytes() == (here / "output/clips/still/b.mp4").read_bytes()
    assert run("run", *wanted[:2], "-o", "film.avi", "--clips", "b") == 2


def test_a_note_on_many_clips_comes_once(here: Path, capsys: pytest.CaptureFixture[str]):
    """The note that depth is a prior came once for every clip."""
    for name in ("a", "b"):
        write_clip(here / "clips" / f"{name}.mp4", 2)
    assert run("geometry") == 0
    notes = [line.strip() for line in capsys.readouterr().err.splitlines() if "is a prior" in line]
    assert [note[:12] for note in notes] == ["note: a, b: "]


def test_the_plan_is_no_wider_than_a_screen(here: Path, capsys: pytest.CaptureFixture[str]):
    """Every row was as wide as the longest name."""
    for name in ("a", "n" * 150 + "end"):
        write_clip(here / "clips" / f"{name}.mp4", 2)
    assert run("run", "--dry_run", "--traj_txt_path", ROOT / "traj/still.txt") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "to do" in line]
    assert len(lines) == 4, "one for each stage"
    assert all(len(line) <= 80 and "nnn...nnn" in line and "nend)" in line for line in lines)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"radius_ratio": 0}, "0.radius_ratio: .*greater than 0"),
        ({"radius_ratio": -1}, "0.radius_ratio: .*greater than 0"),
        ({"radius_ratio": float("nan")}, "radius_ratio|the file"),
        ({"radius_ratio": 1e308}, "0.radius_ratio: .*less than or equal to 10000"),
        ({"video_path": "a\0b"}, "0.video_path: .*NUL"),
        ({"video_path": "n" * 5000}, "0.video_path: .*more than 255 bytes"),
        ({"video_path": "\ud800"}, "video_path|the file"),
    ],
)
def test_a_clip_list_with_impossible_values_is_refused(tmp_path: Path, entry: dict[str, object], said: str):
    """Paths gave tracebacks, ratios gave black videos without a word."""
    path = tmp_path / "new.json"
    path.write_text(json.dumps([{"video_path": "a.mp4"} | entry]))
    with pytest.raises(UsageError, match=said) as caught:
        read_public(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", [None, "elsewhere"])
def test_a_clip_list_with_extrinsics_of_another_folder_is_refused(tmp_path: Path, folder: str | None):
    """They were read from the list and never used."""
    path = tmp_path / "new.json"
    entry = {"video_path": "a.mp4", "vggt_depth_path": folder, "vggt_extrinsics_path": "./depth/extrinsics.txt"}
    path.write_text(json.dumps([entry]))
    with pytest.raises(UsageError, match=r"0\.vggt_extrinsics_path: got ./depth/extrinsics\.txt, expected"):
        read_public(path)
    path.write_text(json.dumps([entry | {"vggt_depth_path": "depth"}]))
    assert read_public(path)[0].vggt_depth_path == str(tmp_path.cwd() / "depth")


def test_a_device_in_a_clip_list_is_not_read(here: Path, capsys: pytest.CaptureFixture[str]):
    """It was read for ever."""
    (here / "clips/new.json").write_text(json.dumps([{"video_path": "/dev/zero"}]))
    assert run("caption", clips="clips/new.json") == 1
    assert "/dev/zero: cannot be read (not a regular file)" in capsys.readouterr().err


def test_what_is_cut_away_is_said(here: Path, capsys: pytest.CaptureFixture[str]):
    """A portrait clip loses two thirds of its picture in a wide frame, and little in a turned one."""
    write_clip(here / "clips/portrait.mp4", 2, (96, 54))
    trajectory = ("--traj_txt_path", ROOT / "traj/still.txt", "--skip_step3")
    for more, cut in (((), "7.0%"), (("--no_turn", "--output_folder", "wide"), "66.7%")):
        assert run("run", *trajectory, *more) == 0
        notes = [line.strip() for line in capsys.readouterr().err.splitlines() if "cut away" in line]
        assert len(notes) == 1
        frame = "80x48" if more else "48x80"
        assert notes[0].startswith(f"note: portrait: {cut} of the picture is cut away to make {frame} of 54x96.")
        assert "--fit pad" in notes[0]
    assert run("run", *trajectory, "--fit", "pad", "--output_folder", "padded") == 0
    assert "cut away" not in capsys.readouterr().err


def test_a_render_that_shows_nothing_is_mentioned(here: Path, capsys: pytest.CaptureFixture[str]):
    """A camera far from everything gave a black video and exit code 0 without a word."""
    write_clip(here / "clips/a.mp4", 2)
    (here / "far.txt").write_text("0\n180\n0\n")
    assert run("run", "--traj_txt_path", "far.txt", "--rotation_only", "--skip_step3") == 0
    assert "note: a: the source shows only 0% of what the new camera sees" in capsys.readouterr().err
    clips = Manifest.open(here / "output/clips/far", input=here / "clips", work=here / "output/clips").clips
    assert [len(clip.render.notes) for clip in clips if clip.render] == [1]
