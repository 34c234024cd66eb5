"""The report of geometry that is known: it must say what is there, and warn of what is wrong, not of what is right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.true_scene import SIZE, ShadedFrames, scene, write_geometry

from inspatio.export.report import describe, write_report
from inspatio.export.report_picture import picture
from inspatio.geometry.depth_anything3.stitching import View


def still(view: View) -> View:
    poses = np.tile(np.eye(4), (len(view.depth), 1, 1))
    return View(view.depth[:1].repeat(len(view.depth), axis=0), view.confidence, view.intrinsics, poses)


def test_true_scene_has_no_warnings(tmp_path: Path) -> None:
    truth = scene(20)
    report = describe(write_geometry(tmp_path, truth))
    assert report.moving
    assert report.camera_turn == pytest.approx(25, abs=1)
    assert report.camera_shift == pytest.approx(2.5, abs=0.1)
    assert report.unknown == 0
    assert report.sky is None
    assert report.median_depth == pytest.approx(float(np.median(truth.depth)), rel=0.05)
    assert report.field_of_view == pytest.approx((55.9, 60.5), abs=0.2)
    assert report.warnings == ()
    assert any("camera moves" in sentence for sentence in report.sentences)


def test_still_camera(tmp_path: Path) -> None:
    report = describe(write_geometry(tmp_path, still(scene(6))))
    assert not report.moving
    assert any("camera is static" in sentence for sentence in report.sentences)


def test_small_turns_keep_their_digits(tmp_path: Path) -> None:
    view = still(scene(3))
    angle = np.deg2rad(0.01)
    view.world_to_camera[1, :2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert describe(write_geometry(tmp_path, view)).camera_turn == pytest.approx(0.01, rel=1e-6)


def test_sky_and_holes_are_counted(tmp_path: Path) -> None:
    view = scene(4)
    sky = np.zeros(view.depth.shape, bool)
    sky[:, : SIZE[0] // 2] = True
    view.depth[:, :, : SIZE[1] // 2] = 0
    report = describe(write_geometry(tmp_path, view, sky=sky))
    assert report.sky == pytest.approx(0.5)
    assert report.unknown == pytest.approx(0.5)
    assert any("unknown" in warning for warning in report.warnings)


def test_nothing_but_sky_and_nothing_at_all(tmp_path: Path) -> None:
    view = scene(2)
    report = describe(write_geometry(tmp_path / "sky", view, sky=np.ones(view.depth.shape, bool)))
    assert report.depth_range == (0, 0)
    assert any("sky" in warning for warning in report.warnings)
    view.depth[:] = 0
    geometry = write_geometry(tmp_path / "nothing", view)
    assert any("100%" in warning for warning in describe(geometry).warnings)
    assert picture(geometry, ShadedFrames(view)).dtype == np.uint8


@pytest.mark.parametrize(("focal", "says"), [(4.0, "expected 10 to 120"), (3000.0, "expected 10 to 120")])
def test_extreme_field_of_view(focal: float, says: str, tmp_path: Path) -> None:
    view = scene(3)
    view.intrinsics[:, 0, 0] = view.intrinsics[:, 1, 1] = focal
    assert any(says in warning for warning in describe(write_geometry(tmp_path, view)).warnings)


def test_prior_and_flat(tmp_path: Path) -> None:
    assert any("prior" in warning for warning in describe(write_geometry(tmp_path / "a", scene(2), "prior")).warnings)
    view = scene(2)
    view.depth[:] = 3
    assert any("same everywhere" in warning for warning in describe(write_geometry(tmp_path / "b", view)).warnings)


def test_cut_is_noticed(tmp_path: Path) -> None:
    view = scene(12)
    view.depth[6:] *= 2
    view.world_to_camera[6:, :3, 3] += 5
    warnings = describe(write_geometry(tmp_path, view)).warnings
    assert any("depth jumps by" in warning and "frame 6" in warning for warning in warnings)
    assert any("camera jumps by" in warning and "frame 6" in warning for warning in warnings)


def test_files(tmp_path: Path) -> None:
    view = scene(5)
    geometry = write_geometry(tmp_path / "geometry", view)
    report = write_report(geometry, ShadedFrames(view), tmp_path / "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.png", "report.txt"]
    assert (tmp_path / "report" / "report.txt").read_text().splitlines() == list(report.sentences)
    image = cv2.imread(str(tmp_path / "report" / "report.png"))
    assert image is not None
    assert image.std() > 10


def test_picture_colours_near_red_and_far_blue(tmp_path: Path) -> None:
    view = scene(1)
    view.depth[0, :, :35], view.depth[0, :, 35:] = 1.0, 10.0
    drawn = picture(write_geometry(tmp_path, view), ShadedFrames(view)).astype(int)
    row = drawn[144 + 26 + 20 + 60]  # the middle of the depth tile: a tile, its label and its margin lie above
    near, far = row[60], row[180]
    assert near[0] > near[2]
    assert far[2] > far[0]
