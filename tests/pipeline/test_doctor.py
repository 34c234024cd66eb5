"""Doctor and licences: what is missing, the next command, and exit codes that scripts can use."""

import pytest
from support.paths import ROOT

from inspatio.config import profile_names
from inspatio.pipeline.cli import main


def test_doctor_names_what_is_missing_and_the_next_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0  # the preview always runs
    text = capsys.readouterr().out
    assert all(f"profile {name}" in text for name in profile_names())
    assert "profile preview: ready" in text
    assert "missing checkpoints/InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors" in text
    assert f"next: bash {ROOT}/scripts/download.sh --profile inference_1.3b" in text


def test_a_profile_alone_decides_the_exit_code_and_has_its_memory_predicted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--profile", "preview"]) == 0
    capsys.readouterr()
    for profile in ("tiny", "worldfm_tiny"):
        assert main(["doctor", "--profile", profile]) == 1
        text = capsys.readouterr().out
        assert "GiB as it is" in text
        assert "--offload" in text


def test_licences_of_every_profile(capsys):
    assert main(["licenses"]) == 0
    text = capsys.readouterr().out
    assert "CC BY-NC 4.0" in text
    assert "no weights" in text


@pytest.mark.parametrize("command", ["doctor", "licenses"])
def test_an_unknown_profile_is_wrong_usage(command, capsys):
    assert main([command, "--profile", "nonsense"]) == 2
    assert "no such profile" in capsys.readouterr().err
