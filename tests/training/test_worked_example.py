"""The worked example of docs/training.md, shortened: a run from rooms to a checkpoint that learns."""

from __future__ import annotations

from pathlib import Path

import make_tiny_checkpoints
import pytest
from support.paths import ROOT

from inspatio.pipeline.cli import main
from inspatio.training.log import read_log


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_of_two_minutes_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The held-out error falls by more than a third, and the pipeline makes a video with the result."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    make_tiny_checkpoints.main([str(tmp_path / "checkpoints/tiny"), "--only", "wan"])
    monkeypatch.setenv("INSPATIO_HOME", str(tmp_path))
    for name in ("toy.yaml", "toy_profile.yaml"):
        path = tmp_path / "configs/train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / "configs/train" / name).read_text()
        path.write_text(text.replace("step_00000400", "step_00000060"))
    profile = "configs/train/toy_profile.yaml"
    data = "output/training/toy_data"
    prepare = ["train", "prepare", "--rooms", "10", "--profile", profile, "--frames", "21", "--output_folder", data]
    assert main(prepare) == 0
    assert main(["train", "--config_path", "configs/train/toy.yaml", "--steps", "60"]) == 0
    errors = [line["error"] for line in read_log(Path("output/training/toy")) if line["event"] == "held_out"]
    assert errors[-1] < 2 / 3 * errors[0]
    clips, path = str(ROOT / "examples"), str(ROOT / "traj/orbit_left.txt")
    assert main(["run", "--config_path", profile, "--input_dir", clips, "--traj_txt_path", path]) == 0
    assert (tmp_path / "output/examples/orbit_left/living_room.mp4").stat().st_size > 1000
