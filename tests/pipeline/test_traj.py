"""`--traj`: names, lists and expressions run the pipeline, each into a run folder of its own, resumed as files are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.clips import write_clip
from support.runs import PROFILE, run

from inspatio.cameras.camera_file import CameraFile
from inspatio.pipeline.cli import main

WORK = Path("output/clips")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    Path("small.yaml").write_text(PROFILE)
    write_clip(Path("clips/one.mp4"), 6, (48, 80))
    return tmp_path


def traj(text: str, *extra: str, command: str = "run") -> int:
    return main([command, "--config_path", "small.yaml", "--input_dir", "clips", "--traj", text, *extra])


def rendered(name: str) -> CameraFile:
    return CameraFile.load(WORK / name / "render/one/cameras.json", "")


@pytest.mark.usefixtures("folder")
def test_each_trajectory_of_a_list_has_a_run_folder(caplog: pytest.LogCaptureFixture) -> None:
    names = ["still", "still_zoom_1_2_time_1_0", "forward:3_turn-left:2".replace(":", "_")]
    listed = "still, still+zoom(1,2)+time(1,0), forward:3,turn-left:2"
    assert traj(listed, "--skip_step3") == 0
    assert sorted(path.parent.name for path in WORK.glob("*/manifest.json")) == sorted(names)
    zoomed = rendered(names[1])
    assert np.allclose(zoomed.intrinsics[:, 0, 0] / zoomed.intrinsics[0, 0, 0], np.linspace(1, 2, 6))
    assert zoomed.timeline == (5, 4, 3, 2, 1, 0)
    assert len(rendered(names[2]).world_to_camera) == 6
    made = {name: (WORK / name / "render/one/render.mp4").stat().st_mtime_ns for name in names}
    caplog.clear()
    assert traj(listed, "--skip_step3") == 0
    assert {name: (WORK / name / "render/one/render.mp4").stat().st_mtime_ns for name in names} == made


@pytest.mark.usefixtures("folder")
def test_a_name_and_its_file_are_the_same_run() -> None:
    assert run("--skip_step3") == 0
    before = (WORK / "still/render/one/render.mp4").stat().st_mtime_ns
    assert traj("still", "--skip_step3") == 0
    assert (WORK / "still/render/one/render.mp4").stat().st_mtime_ns == before


@pytest.mark.usefixtures("folder")
def test_what_was_decided_about_an_imported_path_is_in_the_manifest() -> None:
    lines = [f"{i / 25} {0.01 * i} 0 0 0 0 0 1" for i in range(5)]
    Path("walk.txt").write_text("\n".join(lines))
    assert traj("walk.txt", "--skip_step3") == 0
    (record,) = json.loads((WORK / "walk/manifest.json").read_text())["clips"]
    assert any("first pose is the first source camera" in note for note in record["render"]["notes"])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--traj", "still", "--traj_txt_path", "still"], "got both"),
        ([], "got neither"),
        (["--traj", "still,dolly(0.1)", "--output_folder", "out"], "one folder for 2 trajectories"),
        (["--traj", "steady()", "--relative_to_source"], "steady or lock_off"),
        (["--traj", "orbit_lfet"], "none of that name"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config_path", "small.yaml", "--input_dir", "clips", *arguments]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
