"""Measuring the example: what is shipped is nearly perfect, a prior is not, and random networks are named so."""

from __future__ import annotations

from pathlib import Path

import evaluate
import numpy as np
import pytest
from support.paths import EXAMPLES

from inspatio.cameras.poses import invert
from inspatio.config import GeometryConfig
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.evaluation.synthetic_room.measure import geometry_errors

STRIDE = 24


def test_what_is_shipped_is_nearly_perfect_and_the_plane_is_not(tmp_path: Path) -> None:
    errors = {}
    for backend in ("files", "plane"):
        (tmp_path / backend).mkdir()
        geometry = evaluate.estimate(GeometryConfig(backend=backend), EXAMPLES, tmp_path / backend)
        errors[backend] = geometry_errors(geometry, STRIDE)
    shipped, plane = errors["files"], errors["plane"]
    assert shipped.depth.abs_rel < 0.005
    assert shipped.depth.delta > 0.999
    assert shipped.poses.rotation_degrees < 1e-3
    assert shipped.poses.translation < 1e-3
    assert plane.depth.abs_rel > 0.05
    assert plane.depth.delta < 0.95
    turns = invert(truth.source_world_to_camera())[:, :3, :3]
    largest = np.rad2deg(np.arccos((np.trace(turns, axis1=1, axis2=2) - 1) / 2)).max()
    assert 0.3 * largest < plane.poses.rotation_degrees < largest  # it says that the camera stands still
    assert plane.poses.translation > 0.3


def test_random_networks_are_said_to_prove_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "configs").mkdir()
    (here / "configs/small.yaml").write_text("geometry: {model_path: checkpoints/tiny/DA3, longest: 56}\n")
    options = ["--folder", str(EXAMPLES), "--stride", str(STRIDE), "--profile", "small"]
    assert evaluate.main(["geometry", "--backend", "da3", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| geometry |")
    assert lines[2].startswith("| da3 | metres |")
    assert lines[2].count("|") == lines[0].count("|")
    assert "only prove that the measuring works" in lines[-1]


def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--folder", str(EXAMPLES), "--stride", "48"]
    assert evaluate.main(["geometry", "--backend", "da3", *options]) == 1
    assert "checkpoints/DA3: no such folder" in capsys.readouterr().err
    assert evaluate.main(["geometry", *options]) == 0
    said = capsys.readouterr().out
    assert "| files |" in said
    assert "| plane |" in said
    assert "da3 was not measured: " in said
