"""`inspatio doctor --weights` passes what is whole, and fails what a working model cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from inspatio.models.checkpoints import WAN_TEXT_ENCODER, WAN_VAE
from inspatio.pipeline.cli import main
from inspatio.pipeline.weights_check import PUBLISHED, check_weights


def test_whole_weights_pass_and_every_number_is_reported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--weights", "--profile", "tiny"]) == 0
    report = capsys.readouterr().out
    assert "FAIL" not in report
    assert all(f"{name}:" in report for name in PUBLISHED)
    assert report.count("loaded strictly and ran") == 4


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
