"""Measures against the synthetic room: the truth scores perfectly in any unit, flicker and holes by known amounts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.scenes import room

from inspatio.evaluation.regions import View, border_flicker, near_border
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.evaluation.synthetic_room.measure import TrueViews, ViewErrors, geometry_errors
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


def still_views(count: int) -> list[View]:
    """A wall of noise with a hole in its middle, seen from one place; the result is the truth."""
    true = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mask = np.ones((40, 60), bool)
    mask[10:30, 20:40] = False
    depth = np.full((40, 60), 2.0, np.float32)
    return [View(place, true, mask, true, true, depth, np.eye(4)) for place in range(count)]


def test_a_perfect_clip_has_no_error() -> None:
    errors = ViewErrors.of(still_views(3))
    assert errors.whole.psnr > 100
    assert errors.whole.ssim == pytest.approx(1)
    assert errors.flicker == [0, 0]
    assert errors.hole_share == pytest.approx(20 * 20 / (40 * 60))


def test_flicker_is_the_change_beyond_the_truths_own_at_borders_only() -> None:
    before, after = still_views(2)
    brighter = np.where(after.true < 250, after.true + 5, after.true).astype(np.uint8)
    border = near_border(after.mask, 3)
    expected = np.abs(brighter.astype(float) - after.true).mean(axis=-1)[border].mean()
    assert border_flicker(before, replace(after, result=brighter), truth.intrinsics()) == pytest.approx(
        expected, rel=1e-5
    )
    elsewhere = np.where(border[..., None], after.true, brighter)
    assert border_flicker(before, replace(after, result=elsewhere), truth.intrinsics()) == 0
    assert border[7:13, 17:43].all()
    assert not border[:7].any()
    assert not border[13:27, 23:37].any()


def test_true_views_are_kept_and_made_again_only_when_the_camera_changes(tmp_path: Path, monkeypatch) -> None:
    made: list[tuple[int, tuple[int, int]]] = []
    shrunk = np.diag([SMALL[1] / truth.SIZE[1], SMALL[0] / truth.SIZE[0], 1]) @ truth.intrinsics()
    true_view = truth.true_view

    def small(frame: int, pose: np.ndarray, camera=None, size=truth.SIZE) -> np.ndarray:
        made.append((frame, size))
        return true_view(frame, pose, shrunk if camera is None else camera, SMALL)

    # Before the patch, since the room is made once for all tests.
    adapted, cameras = room().select([3, 3, 4]), np.tile(np.eye(4), (3, 1, 1))
    monkeypatch.setattr(truth, "true_view", small)
    views = TrueViews(adapted, cameras, tmp_path)
    assert np.array_equal(views.image(0), views.image(1))
    assert not np.array_equal(views.image(0), views.image(2))
    whole = [frame for frame, size in made if size == truth.SIZE]
    assert whole == [3, 4], "equal views of one moment are made once"
    TrueViews(adapted, cameras @ truth.source_world_to_camera()[9], tmp_path).image(0)
    assert len(list(tmp_path.iterdir())) == 3
