"""The generator's bench runs with random weights and ends with its line."""

from __future__ import annotations

import json
import time

import bench
import pytest
from benches.generate import clip_length


def test_generate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benches.generate.PART_BLOCKS", 4)
    arguments = ["generate", "--random_weights", "--model", "tiny", "--size", "32x16", "--blocks", "2", "3"]
    began = time.perf_counter()
    bench.main([*arguments, "--precision", "fp32", "--encoder", "taehv", "--decoder", "taehv", "--device", "cpu"])
    elapsed = time.perf_counter() - began
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert results["encoder"] == results["decoder"] == "taehv"
    assert set(results["runs"]) == {"2", "3"}
    playing = sum(clip_length(int(blocks)) / run["frames_per_second"] for blocks, run in results["runs"].items())
    assert 0 < results["first_block_seconds"] + playing < 1.01 * elapsed
    assert results["attention"] == "sdpa"
    assert results["runs"]["3"]["block_seconds"]["slowest"] >= results["runs"]["3"]["block_seconds"]["median"] > 0
    assert set(results["part_seconds_per_block"]) == {"render", "encode", "prefill", "denoise", "decode"}
