"""What a run says of itself: how much, in which form, and which profile it took."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.clips import write_clip
from support.paths import ROOT

from inspatio.config import find_profile, load_profile
from inspatio.locations import HOME_VARIABLE
from inspatio.models.checkpoints import needs
from inspatio.pipeline.cli import main
from inspatio.pipeline.log import log_to_json
from inspatio.pipeline.pace import duration

PROFILE = (
    "{height: 48, width: 80, caption: {backend: sidecar}, geometry: {backend: auto}, generator: {backend: preview}}"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clip, one that cannot be read, and a small profile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    (tmp_path / "small.yaml").write_text(PROFILE)
    write_clip(tmp_path / "clips/one.mp4", count=2)
    (tmp_path / "clips/bad.mp4").write_bytes(b"no video")
    return tmp_path


def run(*extra: str, profile: tuple[str, ...] = ("--config_path", "small.yaml")) -> int:
    return main(["run", *profile, "--input_dir", "clips", "--traj_txt_path", "still", *extra])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_json_log_says_what_happened_to_every_clip(here: Path) -> None:
    assert run("--log_json", "log.jsonl") == 1
    found = [(line["event"], line["stage"], line["clip"]) for line in lines(here / "log.jsonl")]
    stages = ("caption", "geometry", "render", "generate")
    assert [fact for fact in found if fact[0] == "done"] == [("done", stage, "one") for stage in stages]
    assert ("failed", "probe", "bad") in found
    assert ("result", "generate", "one") in found
    assert found[-1][0] == "finished"
    for line in lines(here / "log.jsonl"):
        assert set(line) == {"time", "level", "event", "stage", "clip", "seconds", "reason", "process", "message"}
        assert (line["seconds"] is not None) == (line["event"] == "done")
    assert run("--log_json", "log.jsonl") == 1
    assert len(lines(here / "log.jsonl")) > len(found)  # another run is appended


def test_a_run_that_cannot_go_on_ends_its_log_with_the_reason(here: Path) -> None:
    assert run("--log_json", "log.jsonl", "--fail_fast") == 1
    last = lines(here / "log.jsonl")[-1]
    assert (last["event"], last["level"]) == ("stopped", "error")
    assert "bad" in last["message"]


def test_quiet_shows_only_what_is_wrong_and_the_log_file_all(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--quiet", "--log_json", "log.jsonl") == 1
    shown = capsys.readouterr().err.splitlines()
    assert shown
    assert all("bad" in line for line in shown)
    assert any(line["event"] == "done" for line in lines(here / "log.jsonl"))


def test_verbose_shows_more_than_usual(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--force")
    usual = capsys.readouterr().err.splitlines()
    run("--force", "--verbose")
    assert len(capsys.readouterr().err.splitlines()) > len(usual)


@pytest.mark.parametrize("path", ["clips/log.jsonl", "missing/log.jsonl", "clips"])
def test_a_log_that_cannot_be_written_or_lies_in_the_input_is_wrong_use(here: Path, path: str) -> None:
    before = sorted(here.rglob("*"))
    assert run("--log_json", path) == 2
    assert sorted(here.rglob("*")) == before


def test_the_log_is_not_appended_to_the_video_that_is_read(here: Path) -> None:
    video = here / "clips/one.mp4"
    before = video.read_bytes()
    assert main(["geometry", "--config_path", "small.yaml", "--input_dir", str(video), "--log_json", str(video)]) == 2
    assert video.read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_log_and_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("inspatio.pipeline.run")
    with caplog.at_level(logging.INFO), log_to_json(Path("/dev/full")):
        logger.info("one")
        logger.info("two")
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (100, "2 min"), (5300, "88 min"), (7300, "2 h")]
)
def test_durations_have_one_or_two_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class TestChosenProfile:
    def profile(self, capsys: pytest.CaptureFixture[str], *extra: str) -> list[str]:
        """What a dry run without --profile says, with exit code 1 for the clip that cannot be read."""
        assert run("--dry_run", *extra, profile=()) == 1
        return capsys.readouterr().err.splitlines()

    def place(self, name: str) -> None:
        """Put a file where every need of a profile looks for it."""
        for need in needs(load_profile(find_profile(name))):
            for path in need.missing:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()

    def test_without_weights_it_is_the_preview_and_says_what_more_needs(self, here: Path, capsys) -> None:
        """A run without --profile used to end: the weights of inference_1.3b are not there."""
        said = self.profile(capsys)
        assert "profile preview " in said[0]
        assert "inference_1.3b" in said[1]
        assert "download" in said[2]

    def test_the_best_that_is_complete_is_taken(self, here: Path, capsys) -> None:
        self.place("inference_1.3b")
        assert "profile inference_1.3b " in self.profile(capsys)[0]
        self.place("inference_1.5")
        assert "profile inference_1.5 " in self.profile(capsys)[0]
        next((here / "checkpoints").rglob("Wan2.1_VAE.pth")).unlink()
        assert "profile preview " in self.profile(capsys)[0]

    def test_what_the_command_line_replaces_is_not_needed(self, here: Path, capsys) -> None:
        self.place("inference_1.3b")
        shutil.move(next((here / "checkpoints").rglob("InSpatio-World-1.3B.safetensors")), here / "mine.safetensors")
        assert "profile preview " in self.profile(capsys)[0]
        said = self.profile(capsys, "--checkpoint_path", "mine.safetensors")
        assert "profile inference_" in said[0]

    def test_several_processes_must_be_told(self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert run("--dry_run", profile=()) == 2
        assert "--profile" in capsys.readouterr().err


def test_the_shipped_profiles_of_the_choice_exist() -> None:
    from inspatio.config import BEST_PROFILES, PREVIEW_PROFILE

    assert all((ROOT / f"configs/{name}.yaml").is_file() for name in (*BEST_PROFILES, PREVIEW_PROFILE))
