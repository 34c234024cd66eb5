"""`inspatio doctor --weights` passes what is whole, and fails what a working model cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from support.paths import ROOT

from inspatio.models.checkpoints import WAN_TEXT_ENCODER, WAN_VAE
from inspatio.pipeline.cli import main
from inspatio.pipeline.weights_check import PUBLISHED, check_weights


def test_whole_weights_pass_and_every_number_is_reported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--weights", "--profile", "tiny"]) == 0
    report = capsys.readouterr().out
    assert "FAIL" not in report
    assert all(f"{name}:" in report for name in PUBLISHED)
    assert report.count("loaded strictly and ran") == 4


def test_worldfm_is_checked_part_by_part(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole weights pass; those of the other step count are one failed line."""
    assert main(["doctor", "--weights", "--profile", "worldfm_tiny"]) == 0
    report = capsys.readouterr().out
    for name in ("latents: standard deviation", "decode of encode: PSNR in dB", "generated latents: mean"):
        assert f"{name}:" in report
    other = (ROOT / "configs/worldfm_tiny.yaml").read_text().replace("worldfm_2-step", "worldfm_1-step")
    Path("configs").mkdir()
    Path("configs/other.yaml").write_text(other)
    assert main(["doctor", "--weights", "--profile", "other"]) == 1
    assert "was distilled for 1 step, got 2" in capsys.readouterr().out


def test_damaged_weights_fail(here: Path, checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NaN in the autoencoder, a text encoder cut short: each is a failed line, and the other parts still run."""
    (here / "checkpoints/tiny").unlink()
    tiny = Path(shutil.copytree(checkpoints, here / "checkpoints/tiny"))
    vae = tiny / "Wan2.1-T2V-1.3B" / WAN_VAE
    state = torch.load(vae, weights_only=True)
    torch.save({name: torch.full_like(value, torch.nan) for name, value in state.items()}, vae)
    assert main(["doctor", "--weights", "--profile", "tiny"]) == 1
    report = capsys.readouterr().out
    assert "FAIL  generator: latents: mean: got nan, expected a finite number" in report
    assert "FAIL  caption" not in report

    text = tiny / "Wan2.1-T2V-1.3B" / WAN_TEXT_ENCODER
    text.write_bytes(text.read_bytes()[:1000])
    assert main(["doctor", "--weights", "--profile", "tiny"]) == 1
    assert "FAIL  text encoder:" in capsys.readouterr().out


def test_random_weights_are_not_a_trained_model(here: Path) -> None:
    """The same weights under the name of another profile are held to what trained ones must show."""
    from dataclasses import replace

    from inspatio.config import find_profile, load_profile

    profile = replace(load_profile(find_profile("tiny")), name="published")
    findings = list(check_weights(profile, "cpu"))
    failed = {finding.text.rsplit(":", 1)[0] for finding in findings if finding.passed is False}
    assert "decode of encode: PSNR in dB" in failed
