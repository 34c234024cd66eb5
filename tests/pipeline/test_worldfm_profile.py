"""The pipeline with the frame model, at a tiny size with random weights in the published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.paths import ROOT
from support.runs import times

from inspatio.media import VideoReader
from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest


def run(*extra: str) -> int:
    trajectory = str(ROOT / "traj" / "orbit_left.txt")
    fixed = ["run", "--profile", "worldfm_tiny", "--input_dir", "clips", "--traj_txt_path", trajectory]
    return main([*fixed, "--disable_adaptive_frame", *extra])


def frames(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(range(len(reader))).astype(int)


def test_a_clip_becomes_a_video_and_is_made_again_only_where_it_must(here: Path) -> None:
    """Another noise is another result, in a folder of its own; the same command again writes nothing."""
    assert run() == 0
    folder = here / "output/clips/orbit_left"
    first, written = frames(folder / "one.mp4"), times(here / "output")
    assert first.shape[0] == 14
    assert first.std() > 5
    (clip,) = Manifest.open(folder, input=here / "clips", work=here / "output/clips").clips
    assert clip.output
    assert clip.output.generator == "worldfm"
    assert any("WorldFM" in path for path in clip.output.weights)
    assert run() == 0
    assert times(here / "output") == written
    assert run("--frame_noise", "fixed") == 1, "results with other noise are not replaced without --force"
    assert times(here / "output") == written
    assert run("--frame_noise", "fixed", "--output_folder", "other") == 0
    assert times(here / "output") == written
    assert np.abs(frames(here / "other/one.mp4") - first).mean() > 1
