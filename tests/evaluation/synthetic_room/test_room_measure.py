"""Geometry of the example against the ray-cast truth: the truth scores perfectly in any unit and world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.evaluation.synthetic_room.measure import geometry_errors
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
    found = geometry_errors(written(tmp_path / "truth", unit, turned), STRIDE)
    assert found.depth.abs_rel == pytest.approx(0, abs=1e-6)
    assert (found.depth.delta, found.depth.known) == (1, 1)
    assert found.poses.rotation_degrees == pytest.approx(0, abs=1e-5)
    assert found.poses.translation == pytest.approx(0, abs=1e-8)
    assert (found.depth.scale, found.poses.scale) == pytest.approx((1 / unit, 1 / unit))
