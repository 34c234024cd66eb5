"""Results of other options or another trajectory are never overwritten without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.clips import write_clip
from support.runs import PROFILE, contents, run, times

from inspatio.pipeline.manifest import Manifest

DOLLY = "0\n0\n0 0.2\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run along dolly.txt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    write_clip(tmp_path / "clips/one.mp4", count=2)
    (tmp_path / "dolly.txt").write_text(DOLLY)
    assert dolly("--skip_step3") == 0
    return tmp_path


def dolly(*extra: object, path: str = "dolly.txt", command: str = "run") -> int:
    return run(*extra, trajectory=Path(path), command=command)


def test_other_options_and_another_file_of_the_same_name_are_refused_by_name(here: Path, capsys) -> None:
    """Both used to replace finished videos silently: the folder holds only the trajectory's name."""
    (here / "other").mkdir()
    (here / "other/dolly.txt").write_text("0\n0\n0 0.5\n")
    before = contents(here / "output")
    for extra in ([], ["--dry_run"]):
        capsys.readouterr()
        assert dolly("--fit", "pad", "--rotation_only", *extra, path="other/dolly.txt") == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert "--rotation_only: off there, on here" in said
        assert "--fit: crop there, pad here" in said
        assert "trajectory dolly.txt: line 3 is '0 0.2' there, '0 0.5' here" in said
        assert "--force" in said
        assert contents(here / "output") == before
    assert dolly("--fit", "pad", "--rotation_only", "--force", "--skip_step3", path="other/dolly.txt") == 0
    assert contents(here / "output") != before
    assert dolly("--fit", "pad", "--rotation_only", "--skip_step3", path="other/dolly.txt") == 0


def test_a_trajectory_edited_in_place_is_followed_and_says_what_changed(here: Path, capsys) -> None:
    before = times(here / "output")
    (here / "dolly.txt").write_text("0\n0 5\n0 0.3\n")
    assert dolly("--skip_step3") == 0
    warning = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("warning"))
    assert "trajectory dolly.txt: line 2 is '0' there, '0 5' here (and 1 more); made again: one" in warning
    changed = {name for name, moment in times(here / "output").items() if before[name] != moment}
    assert changed == {f"clips/dolly/render/one/{name}" for name in ("render.mp4", "mask.mp4", "cameras.json")}
    assert dolly("--skip_step3") == 0
    assert "warning" not in capsys.readouterr().err


def test_the_generate_stage_alone_does_not_read_renders_of_others(here: Path, capsys) -> None:
    """The result was rendered with one --fit and written with another, or along a path that is no longer there."""
    for extra in ([], ["--force"]):
        assert dolly("--fit", "pad", *extra, command="generate") == 1
        assert "--fit: crop there, pad here. Run the render stage first" in capsys.readouterr().err
    (here / "dolly.txt").write_text("0\n0\n0 0.3\n")
    assert dolly(command="generate") == 1
    assert "line 3 is '0 0.2' there, '0 0.3' here. Run the render stage first" in capsys.readouterr().err


def test_what_has_no_result_yet_may_change(here: Path, capsys) -> None:
    """Neither the options of a stage without results, nor new clips, sources and prompts are a difference."""
    assert dolly("--seed", 3, "--dry_run") == 0
    write_clip(here / "clips/one.mp4", count=3, seed=4)
    write_clip(here / "clips/two.mp4", count=2, seed=5)
    assert dolly("--skip_step3", "--caption", "a cup") == 0


def test_a_folder_of_an_earlier_version_is_taken_over(here: Path, capsys) -> None:
    path = here / "output/clips/dolly/manifest.json"
    data = json.loads(path.read_text()) | {"version": 3}
    del data["trajectory"], data["made_with"], data["clips"][0]["render"]["inputs"]
    path.write_text(json.dumps(data))
    before = times(here / "output")
    assert dolly("--skip_step3") == 0
    assert times(here / "output") == before
    assert dolly("--fit", "pad", "--skip_step3") == 1


def test_the_manifest_has_options_and_trajectory_by_value(here: Path) -> None:
    run_folder = Manifest.open(here / "output/clips/dolly", input=here / "clips", work=here / "output/clips")
    assert run_folder.trajectory
    assert (run_folder.trajectory.file, run_folder.trajectory.text) == ("../../../dolly.txt", DOLLY)
    assert run_folder.made_with
    assert run_folder.made_with["render"]["fit"] == "crop"
    (clip,) = run_folder.clips
    assert clip.render
    assert clip.render.inputs
    assert clip.render.inputs.items() >= {"fit": "crop", "size": [48, 80], "version": 1}.items()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# camera_to_world\n" + "1 0 0 0 0 1 0 0 0 0 1 0\n" * 600, "3 lines there, 601 lines here"),
        ("0\r\n0\r\n0 0.2\r\n", "other line ends"),
        ("0  # mine" + DOLLY[1:-1] + "5  # further\n", "line 3 is '0 0.2' there, '0 0.25  # further' here"),
        (DOLLY + "\n# a remark of mine\n", "line 4 is missing there, '' here (and 1 more)"),
    ],
)
def test_every_difference_of_two_files_is_told(here: Path, text: str, said: str, capsys) -> None:
    (here / "b.txt").write_bytes(text.encode())
    assert dolly("--output_folder", "output/clips/dolly", path="b.txt") == 1
    assert f"trajectory dolly.txt and b.txt: {said}" in capsys.readouterr().err
