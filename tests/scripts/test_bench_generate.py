"""The generator's bench runs with random weights and ends with its line."""

from __future__ import annotations

import json

import bench
import pytest


def test_generate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benches.generate.PART_BLOCKS", 4)
    arguments = ["generate", "--random_weights", "--model", "tiny", "--size", "32x16", "--blocks", "2", "3"]
    bench.main([*arguments, "--precision", "fp32", "--encoder", "taehv", "--decoder", "taehv", "--device", "cpu"])
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert results["encoder"] == results["decoder"] == "taehv"
    assert set(results["runs"]) == {"2", "3"}
    assert all(run["frames_per_second"] > 0 for run in results["runs"].values())
    assert results["first_block_seconds"] > 0
    assert set(results["part_seconds_per_block"]) == {"render", "encode", "prefill", "denoise", "decode"}
