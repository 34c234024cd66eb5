"""What will be made and why: said before a run, by the run itself, and in its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clips import write_clip
from support.runs import PROFILE, run

from inspatio.pipeline.plan import NOT_MADE, Plan, log_plan
from inspatio.pipeline.reasons import differences, flatten

DOLLY = "0\n0\n0 0.2\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two clips, a profile and a trajectory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    (tmp_path / "dolly.txt").write_text(DOLLY)
    for seed, name in enumerate(("one", "two")):
        write_clip(tmp_path / f"clips/{name}.mp4", count=2, seed=seed)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *extra: object) -> dict[str, str]:
    """What a dry run says of each stage."""
    capsys.readouterr()
    run("--dry_run", *extra, trajectory=Path("dolly.txt"))
    lines = [line.strip().partition(": ") for line in capsys.readouterr().err.splitlines()]
    stages = ("caption", "geometry", "render", "generate")
    return {name: " | ".join(text for stage, _, text in lines if stage == name) for name in stages}


def made(log: Path) -> dict[tuple[str, str], str]:
    """What a run made and why, by stage and clip."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.unlink()
    return {(line["stage"], line["clip"]): line["reason"] for line in lines if line["event"] == "done"}


def edit(here: Path, change: Callable[[dict], None]) -> None:
    for path in (here / "output").rglob("manifest.json"):
        data = json.loads(path.read_text())
        for clip in data["clips"]:
            change(clip)
        path.write_text(json.dumps(data))


def test_a_run_makes_what_the_plan_says_and_for_the_same_reason(here: Path, capsys) -> None:
    """A dry run used to say "to do" whatever had changed, and a run nothing."""
    log, options = here / "log.jsonl", ("--log_json", "log.jsonl")
    trajectory = Path("dolly.txt")
    assert run(*options, trajectory=trajectory) == 0
    assert set(made(log).values()) == {NOT_MADE}

    write_clip(here / "clips/two.mp4", count=3, seed=5)
    said = told(capsys)
    assert said["geometry"] == "1 of 2 clips are finished already | 1 to do (two): the source changed"
    assert "1 to do (two): the source changed, its geometry changed" in said["render"]
    assert "1 to do (two): its render changed" in said["generate"]
    assert run(*options, trajectory=trajectory) == 0
    found = made(log)
    assert found == {
        ("geometry", "two"): "the source changed",
        ("render", "two"): "the source changed, its geometry changed",
        ("generate", "two"): "its render changed",
    }

    (here / "clips/one.txt").write_text("a cup")
    said = told(capsys)
    assert "1 to do (one): the given prompt changed" in said["caption"]
    assert said["render"] == "2 of 2 clips are finished already"
    assert "1 to do (one): the prompt changed" in said["generate"]
    assert run(*options, trajectory=trajectory) == 0
    assert set(made(log)) == {("caption", "one"), ("generate", "one")}

    (here / "output/clips/dolly/two.mp4").write_bytes(b"")
    said = told(capsys)
    assert said["render"] == "2 of 2 clips are finished already"
    assert "1 to do (two): two.mp4 is damaged: got 0 bytes" in said["generate"]
    assert run(*options, trajectory=trajectory) == 0
    assert list(made(log)) == [("generate", "two")]

    edit(here, lambda clip: clip.get("geometry", {}).update(fingerprint="0", inputs=None))
    assert "2 to do (one, two): made from other inputs, which an earlier version" in told(capsys)["geometry"]
    edit(here, lambda clip: clip.get("geometry", {}).update(inputs={"version": 0}))
    assert "made by an older version" in told(capsys)["geometry"]


def test_a_lost_work_folder_is_made_again_and_the_results_stay(here: Path, capsys) -> None:
    """Geometry that comes out the same makes nothing after it stale, which a plan used to say."""
    folders = ("--work_folder", "work", "--output_folder", "results")
    assert run(*folders, trajectory=Path("dolly.txt")) == 0
    (here / "work/manifest.json").unlink()
    said = told(capsys, *folders)
    assert f"2 to do (one, two): {NOT_MADE}" in said["geometry"]
    assert said["render"] == said["generate"] == "2 of 2 clips are finished already"


def test_missing_weights_are_a_reason_and_the_exit_code(here: Path, capsys) -> None:
    """A dry run used to say "to do" and to end with 0 where the run is refused."""
    weights = ("--profile", "tiny", "--checkpoint_path", "gone.safetensors")
    arguments = ["--input_dir", "clips", "--traj_txt_path", "dolly.txt", *weights]
    from inspatio.pipeline.cli import main

    assert main(["run", *arguments, "--dry_run"]) == 1
    said = capsys.readouterr().err
    assert "generate: 2 to do (one, two): not made yet; weights are missing: InSpatio-World" in said
    assert said.splitlines()[-3].startswith("inspatio: profile tiny needs weights that are not there")
    assert not (here / "output").exists()


def test_a_thousand_clips_do_not_flood(caplog: pytest.LogCaptureFixture) -> None:
    plans = {f"clip{i}": Plan("to do", "the source changed" if i % 2 else f"clip{i} is damaged") for i in range(1000)}
    caplog.set_level("INFO")
    log_plan("render", plans)
    assert len(caplog.messages) < 12
    assert any("500 to do" in line and "(500 in all)" in line for line in caplog.messages)
    assert "493 more for 493 other reasons" in caplog.messages[-1]
    caplog.clear()
    caplog.set_level("DEBUG")
    log_plan("render", plans)
    assert sum("clip999: to do: the source changed" in line for line in caplog.messages) == 1
    assert len(caplog.messages) > 1000


CAUSAL = {"backend": "causal", "precision": "bf16", "encoder": ["wan", "aa"], "weights": "11", "steps": [1000, 500]}


@pytest.mark.parametrize(
    ("stage", "old", "new", "said"),
    [
        ("geometry", {"backend": {"backend": "plane"}}, {"backend": {"backend": "da3", "window": None}},
         ["--geometry changed from plane to da3"]),
        ("geometry", {"backend": {"backend": "da3", "pose_smoothing": 2.0, "window": 8}},
         {"backend": {"backend": "da3", "pose_smoothing": 0.5, "window": None}},
         ["--pose_smoothing changed from 2 to 0.5", "--geometry_window changed from 8 to as many as memory holds"]),
        ("geometry", {"backend": {"backend": "da3", "weights": {"da3-base": "1"}}},
         {"backend": {"backend": "da3", "weights": {"da3-base": "2"}}}, ["weights changed (da3-base)"]),
        ("render", {"adaptive_frames": True, "fit": "crop"}, {"adaptive_frames": False, "fit": "pad"},
         ["--disable_adaptive_frame changed from off to on", "--fit changed from crop to pad"]),
        ("render", {"version": 1, "size": [48, 80]}, {"version": 2, "size": [96, 80]},
         ["made by an older version", "size changed from 48,80 to 96,80"]),
        ("generate", {"generator": {"name": "preview", "version": 1}}, {"generator": CAUSAL},
         ["generator.backend changed from preview to causal"]),
        ("generate", {"generator": CAUSAL}, {"generator": CAUSAL | {"encoder": ["taehv", "bb"], "precision": "fp8"}},
         ["--precision changed from bf16 to fp8", "--encoder changed from wan to taehv"]),
        ("generate", {"generator": CAUSAL}, {"generator": CAUSAL | {"encoder": ["wan", "bb"], "weights": "12"}},
         ["weights changed (generator.encoder)", "weights changed (generator.weights)"]),
        ("caption", {"given": ["a cup", "sidecar"]}, {"source": "1", "captioner": {"name": "florence2"}},
         ["its prompt is no longer given"]),
    ],
)  # fmt: skip
def test_what_differs_is_named_as_the_user_knows_it(stage, old: dict, new: dict, said: list[str]) -> None:
    assert differences(stage, flatten(old), flatten(new)) == said
