"""`inspatio evaluate` on files: what fits is measured, what does not is said or refused in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support.clips import encode
from support.runs import PROFILE, run

from inspatio.pipeline.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "result.mp4", count=12, size=(48, 96))
    return tmp_path


def evaluate(*words: object) -> int:
    return main(["evaluate", *map(str, words), "--report", "report"])


def report() -> dict:
    return json.loads(Path("report/report.json").read_text())


def test_a_result_equal_to_its_truth(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate("result.mp4", "--truth", "result.mp4", "--stride", 2) == 0
    found = report()
    assert found["summary"]["result"]["psnr/whole"]["mean"] == 100
    assert found["summary"]["result"]["psnr/whole"]["error"] is None, "one clip has no spread"
    assert any("cameras" in note for note in found["notes"]), "that there is no camera file is said"
    assert {"LPIPS", "DISTS", "FID"} <= {line.split()[0] for line in found["not_computed"]}
    assert (folder / "report/sheet.png").stat().st_size > 1000
    assert "PSNR [dB], whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ({"count": 9}, "the first 9 are compared"),
        ({"count": 6, "rate": 15}, "nearest in time"),
        ({"count": 12, "size": (96, 192)}, "resized"),
    ],
    ids=["length", "rate", "size"],
)
def test_another_length_rate_or_size_is_aligned_and_said(folder: Path, truth: dict, said: str):
    encode(folder / "truth.mp4", **{"size": (48, 96), **truth})
    assert evaluate("result.mp4", "--truth", "truth.mp4", "--stride", 1) == 0
    assert any(said in note for note in report()["notes"])
    # The right frames were compared: each carries its number in black and white bars, another one is far off. Of half
    # the rate every second frame is another one.
    least = {"nearest in time": 8}.get(said, 18)
    assert report()["summary"]["result"]["psnr/whole"]["mean"] > least


def test_another_shape_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    encode(folder / "truth.mp4", count=12, size=(96, 96))
    assert evaluate("result.mp4", "--truth", "truth.mp4") == 1
    assert "expected the shape of the result's 96x48" in capsys.readouterr().err


def test_a_black_result_is_said(folder: Path):
    encode(folder / "black.mp4", count=6, size=(48, 96), picture=lambda number, size: np.zeros((*size, 3), np.uint8))
    assert evaluate("black.mp4", "--truth", "result.mp4") == 0
    assert any("black" in note for note in report()["notes"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.mp4"], 1, "got no result and no manifest.json"),
        (["."], 1, "got no result and no manifest.json"),
        ([], 2, "expected one"),
        (["result.mp4", "--suite", "synthetic"], 2, "expected one"),
        (["result.mp4", "--truth", "missing.mp4"], 1, "missing.mp4"),
        (["result.mp4", "--cameras", "missing.json"], 1, "missing.json"),
        (["--suite", "synthetic", "--clips", "nothing"], 2, "not in the suite"),
        (["--suite", "synthetic", "--clips", "orbit_0", "--geometries", "guess"], 2, "no such backend"),
    ],
)
def test_wrong_words_are_one_line(
    folder: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
):
    assert evaluate(*words) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("inspatio: ")
    assert said in last


def test_a_package_that_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    assert evaluate("result.mp4", "--truth", "result.mp4") == 1
    assert "EXTRAS=evaluation bash scripts/setup.sh" in capsys.readouterr().err


def test_a_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """First with nothing finished, then with all of it: time and cameras are measured without any truth."""
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    Path("small.yaml").write_text(PROFILE)
    encode(Path("clips/one.mp4"), count=12, size=(48, 80))
    assert run("--skip_step3") == 0
    assert evaluate("output/clips/still") == 1
    assert "got no finished result" in capsys.readouterr().err
    assert run() == 0
    assert evaluate("output/clips/still", "--wanted", "path.txt") == 2
    assert evaluate("output/clips/still") == 0
    found = report()["clips"]["result"]["one"]
    assert {"reprojection_1/whole", "saturation/covered", "coverage", "camera_failures"} <= found.keys()
    assert found["coverage"] == pytest.approx(1, abs=0.05), "the camera stands still"
    assert evaluate("output/clips/still", "--truth", "clips") == 0
    assert {"psnr/covered", "flip/covered"} <= report()["clips"]["result"]["one"].keys()


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_a_run_folder_of_another_shape(fit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The camera stands still, so that a result is its source as it was fitted, and its render, but for the codecs."""
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    Path("small.yaml").write_text(PROFILE)
    encode(Path("clips/one.mp4"), count=12, size=(64, 64), picture=_checks)
    assert run("--fit", fit) == 0
    assert evaluate("output/clips/still", "--truth", "clips" if fit != "crop" else "output/clips/still") == 0
    found = report()["clips"]["result"]["one"]
    assert found["coverage"] > 0.97, "black bars are no part of the picture"
    assert found["psnr/covered"] > 25


def _checks(number: int, size: tuple[int, int]) -> np.ndarray:
    random = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return random.repeat(size[0] // 8, axis=0).repeat(size[1] // 8, axis=1)
