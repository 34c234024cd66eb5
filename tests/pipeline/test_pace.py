"""The time left of a whole run, from the seconds that clips took."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clips import write_clip
from support.runs import PROFILE, run

from inspatio.pipeline.pace import Pace, Work
from inspatio.pipeline.stage import Stage
from inspatio.settings import StageName

FRAMES = {"a": 10, "b": 30, "c": 60}
CLIPS: Any = [SimpleNamespace(id=name) for name in FRAMES]


def stage(name: str) -> Stage:
    """A stage whose clips have so many frames, and of which nothing was measured before."""
    found = SimpleNamespace(name=name, units=lambda state: FRAMES[state.id], made_from=lambda state: {"inputs": {}})
    found.workspace = SimpleNamespace(
        folder_of=lambda name: Path(), clips=[], work=SimpleNamespace(folder=Path("/none"))
    )
    return cast(Stage, found)


def test_stages_that_have_not_begun_are_counted_by_their_measured_pace() -> None:
    rates: dict[StageName, float] = {"geometry": 1.0, "render": 2.0, "generate": 7.0}
    ahead: dict[StageName, Work] = {name: Work(3, 100, rate) for name, rate in rates.items()}
    pace = Pace(ahead)
    pace.start(stage("geometry"), CLIPS)
    assert pace.place == "clip 1 of 3"
    pace.finished(stage("geometry"), CLIPS[:1], seconds=40.0)  # 4 s a frame: 90 left here, 900 s in later stages
    assert pace.place == "clip 2 of 3, about 21 min left"
    pace.finished(stage("geometry"), CLIPS[1:], seconds=360.0)
    assert pace.rest == "; about 15 min left"
    pace.start(stage("generate"), CLIPS)  # whatever came before it is done
    pace.finished(stage("generate"), CLIPS[:2], seconds=40.0)
    assert pace.rest == "; 2 of 3 clips, about 60 s left"
    pace.finished(stage("generate"), CLIPS[2:], seconds=60.0)
    assert pace.rest == ""


@pytest.mark.parametrize("ahead", [None, {"geometry": Work(3, 100, None), "render": Work(3, 100, None)}])
def test_what_was_never_measured_is_not_guessed(ahead) -> None:
    pace = Pace(ahead)
    pace.start(stage("geometry"), CLIPS)
    pace.finished(stage("geometry"), CLIPS[:1], seconds=5.0)
    assert pace.rest == "; 1 of 3 clips, about 45 s left of this stage"


def test_a_second_trajectory_knows_the_pace_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    for name in "ab":
        write_clip(tmp_path / f"clips/{name}.mp4", count=2)
        (tmp_path / f"{name}.txt").write_text("0\n0\n0 0.2\n")
    assert run("--geometry", "plane", trajectory=Path("a.txt")) == 0
    manifest = tmp_path / "output/clips/a/manifest.json"
    data = json.loads(manifest.read_text())
    for clip in data["clips"]:
        clip["output"]["seconds"] = 1000.0
    manifest.write_text(json.dumps(data))
    capsys.readouterr()
    assert run("--geometry", "plane", trajectory=Path("b.txt")) == 0
    rendered = re.findall(r"render: a done \(.*; 1 of 2 clips, about (\d+) min left\)", capsys.readouterr().err)
    assert rendered == ["33"]
