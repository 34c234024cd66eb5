"""Measuring the example's geometry: the truth scores perfectly, a prior does not, and random networks are named so."""

from __future__ import annotations

from pathlib import Path

import evaluate_geometry
import numpy as np
import pytest
from support.paths import EXAMPLES

from inspatio.cameras.poses import invert
from inspatio.config import GeometryConfig
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.geometry.store import Geometry, GeometryWriter, load_geometry
from inspatio.media.fit import Fit

SMALL = (30, 52)
STRIDE = 24


def written(folder: Path, unit: float = 1.0, turned: float = 0.0) -> Geometry:
    """The truth in another unit, the world turned (about the vertical, radians), as a geometry folder."""
    folder.mkdir()
    poses = truth.source_world_to_camera()
    camera = Fit.make(truth.SIZE, SMALL, "stretch").intrinsics(truth.intrinsics())
    writer = GeometryWriter(folder, truth.SIZE, SMALL, len(poses))
    for frame, pose in enumerate(poses):
        writer.write(unit * truth.true_depth(frame, pose, camera, SMALL)[None])
    scaled = poses.copy()
    scaled[:, :3, 3] *= unit
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(turned), 0, np.sin(turned)], [0, 1, 0], [-np.sin(turned), 0, np.cos(turned)]]
    writer.finish(np.tile(truth.intrinsics(), (len(poses), 1, 1)), scaled @ turn, "relative", "truth", {})
    return load_geometry(folder)


@pytest.mark.parametrize(("unit", "turned"), [(1.0, 0.0), (0.25, 0.6)])
def test_the_truth_scores_perfectly_in_any_unit_and_world(tmp_path: Path, unit: float, turned: float) -> None:
    found = evaluate_geometry.measure(written(tmp_path / "truth", unit, turned), STRIDE)
    assert found.depth.abs_rel == pytest.approx(0, abs=1e-6)
    assert (found.depth.delta, found.depth.known) == (1, 1)
    assert found.poses.rotation_degrees == pytest.approx(0, abs=1e-5)
    assert found.poses.translation == pytest.approx(0, abs=1e-8)
    assert (found.depth.scale, found.poses.scale) == pytest.approx((1 / unit, 1 / unit))


def test_what_is_shipped_is_nearly_perfect_and_the_plane_is_not(tmp_path: Path) -> None:
    errors = {}
    for backend in ("files", "plane"):
        (tmp_path / backend).mkdir()
        geometry = evaluate_geometry.estimate(GeometryConfig(backend=backend), EXAMPLES, tmp_path / backend)
        errors[backend] = evaluate_geometry.measure(geometry, STRIDE)
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
    assert evaluate_geometry.main(["--geometry", "da3", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| geometry |")
    assert lines[2].startswith("| da3 | metres |")
    assert lines[2].count("|") == lines[0].count("|")
    assert "only prove that the measuring works" in lines[-1]


def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--folder", str(EXAMPLES), "--stride", "48"]
    assert evaluate_geometry.main(["--geometry", "da3", *options]) == 1
    assert "checkpoints/DA3: no such folder" in capsys.readouterr().err
    assert evaluate_geometry.main(options) == 0
    said = capsys.readouterr().out
    assert "| files |" in said
    assert "| plane |" in said
    assert "da3 was not measured: checkpoints/DA3: no such folder" in said
