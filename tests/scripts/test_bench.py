"""The benches run, and end with a line that says what was measured on what."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime

import bench
import numpy as np
import pytest
import torch
from benches.measure import median_seconds, size_argument
from benches.worldfm_frames import count_tflop, time_frames
from support.panoramas import box_panorama
from support.paths import ROOT

from inspatio.cameras.cameras import Cameras
from inspatio.generation.worldfm.still_scene import panorama_scene
from inspatio.models.worldfm.autoencoder import AutoencoderConfig
from inspatio.models.worldfm.dit import WorldFMConfig


@pytest.mark.parametrize("backend", ["warper", "ply"])
def test_render(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["render", "--frames", "30", "--size", "64x32", "--backend", backend])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["bench"], line["backend"], line["frames"], line["size"]) == ("render", backend, 30, [32, 64])
    assert line["results"]["frames_per_second"] >= line["results"]["slowest_chunk_frames_per_second"] > 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    assert line["results"]["peak_resident_gib"] == pytest.approx(most, abs=0.1)
    assert 1 <= line["hardware"]["cores"] <= (os.cpu_count() or 1)
    assert line["versions"]["torch"] == torch.__version__
    assert abs(datetime.now(UTC) - datetime.fromisoformat(line["date"])).total_seconds() < 60


@pytest.mark.slow
def test_worldfm(capsys: pytest.CaptureFixture[str]) -> None:
    """Discs close what one-pixel points leave open, and noise goes with its surface."""
    bench.main(
        ["worldfm", "--height", "96", "--points_height", "256", "--size", "96x96", "--repeats", "1", "--layers", "1"]
    )
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    for row in results["quality"]:
        assert row["coverage"] > 0.9 > row["published_coverage"]
        assert row["psnr"] > row["published_psnr"] + 5
        assert row["depth_error_median"] < 0.03
        assert row["reference_hits"] > 0.5
    kept = results["noise_kept"]
    assert kept["points"]["standing"] == kept["fixed"]["standing"] == kept["fixed"]["on_screen"] == 1
    assert kept["points"]["with_surface"] > 0.3 > kept["fixed"]["with_surface"]
    assert kept["points"]["on_screen"] < 0.3
    assert max(kept["fresh"].values()) == 0
    assert results["plan"]["planned_changes"] <= results["plan"]["alone_changes"]
    assert results["network"]["relative_difference"] < 1e-4
    assert torch.cuda.is_available() or results["frames"] == "not measured: no GPU"
    assert results["speed"]["points"] < results["speed"]["published_points"]


def test_a_frame_of_worldfm_is_what_is_said() -> None:
    """Of the published sizes, as the documentation states them: a pass, encoding, decoding."""
    found = count_tflop(WorldFMConfig(), AutoencoderConfig(), (512, 512))
    assert found == pytest.approx({"pass": 3.88, "encode": 1.12, "decode": 2.51}, abs=0.01)


def test_frames_of_worldfm_are_timed_where_there_is_a_device() -> None:
    """The same code as on a GPU, with small networks on the CPU: two steps take longer than one."""
    still = panorama_scene(*box_panorama(32), (64, 64))
    cameras = Cameras.from_poses(np.tile(np.eye(4), (4, 1, 1)), still.scene.intrinsics[0])
    found = time_frames(
        still.scene,
        cameras,
        torch.device("cpu"),
        network=WorldFMConfig(hidden_size=32, depth=1, num_heads=2),
        autoencoder=AutoencoderConfig((8, 8, 16, 16), layers_per_block=1, norm_num_groups=4),
        compiled=False,
        repeats=2,
    )
    assert found["one_step"]["roofline_frames_per_second"] > found["two_steps"]["roofline_frames_per_second"]
    assert all(0 < found[name]["share_of_roofline"] < 1 for name in ("one_step", "two_steps"))
    assert found["parts_ms"].keys() == {"render", "encode", "pass", "decode"}


def test_size_argument() -> None:
    assert size_argument("832x480") == (480, 832)
    for wrong in ("832", "832x", "axb", "1x2x3"):
        with pytest.raises(argparse.ArgumentTypeError, match="832x480"):
            size_argument(wrong)


def test_warm_up_does_not_count() -> None:
    calls: list[int] = []
    median_seconds(lambda: calls.append(1), repeats=3, warm_up=2)
    assert len(calls) == 5


def test_video_config_and_text_libraries_are_not_needed() -> None:
    """On a borrowed GPU machine they may be missing, and nothing can be installed there."""
    program = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("av", "omegaconf", "ftfy", "pydantic"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import bench, parity
import benches.geometry, benches.caption, benches.worldfm
bench.main("generate --random_weights --model tiny --size 32x16 --blocks 2 --device cpu --use_tae".split())
assert parity.main(["--golden", "tests/golden", "--cases", "dit", "mask_pack"]) == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
