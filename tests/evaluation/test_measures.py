"""Conventions by hand: every measure of a case that can be computed on paper."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.evaluation.baselines import blurred_holes, mean_colour, push_pull
from inspatio.evaluation.cameras import path_errors
from inspatio.evaluation.catalogue import METRICS, in_order, label_of
from inspatio.evaluation.colour import Colour
from inspatio.evaluation.metrics import Fidelity, psnr, similarity_map, sliced_distance
from inspatio.evaluation.regions import near_border, regions_of, seen_before, visible_at
from inspatio.evaluation.report import CONTROL, PREVIEW, Report
from inspatio.evaluation.statistics import differences, means
from inspatio.evaluation.temporal import Moment, Steadiness, revisit_figures, revisits

LENS = np.array([[50.0, 0, 29.5], [0, 50.0, 19.5], [0, 0, 1]])


def at(x: float, z: float = 0.0) -> Cameras:
    """One camera moved to the right and forward."""
    pose = np.eye(4)
    pose[0, 3], pose[2, 3] = -x, -z
    return Cameras.from_poses(pose[None], LENS)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 200, (40, 60, 3), dtype=np.uint8)


def test_images_of_a_known_error():
    """Half of the pixels are off by ten: 10 log10(255^2 / 50) dB over all, no error in the other half."""
    true = noise()
    image = true.copy()
    image[:, :30] += 10
    left = np.tile(np.arange(60) < 30, (40, 1))
    fidelity = Fidelity()
    fidelity.add(image, true, {"covered": ~left, "seen": left, "whole": left | True})
    found = fidelity.figures()
    assert found["psnr/whole"] == pytest.approx(10 * np.log10(255**2 / 50))
    assert found["psnr/seen"] == pytest.approx(10 * np.log10(255**2 / 100))
    assert found["psnr/covered"] == psnr(0) == 100
    assert found["ssim/seen"] < found["ssim/whole"] < found["ssim/covered"] < 1
    assert found["ssim/whole"] == pytest.approx(similarity_map(image, true).mean())
    assert "psnr/border" not in found


def test_psnr_is_that_of_torchmetrics():
    from torchmetrics.functional.image import peak_signal_noise_ratio

    image, true = noise(1), noise(2)
    ours = psnr(float(((image.astype(float) - true) ** 2).mean()))
    pair = (torch.from_numpy(each).double() for each in (image, true))
    library = peak_signal_noise_ratio(*pair, data_range=255.0)
    assert ours == pytest.approx(float(library), abs=1e-4)


def test_sharpness_and_patches_of_a_mixture():
    """Half-way to a flat grey a picture has half its gradients, and its patches half their spread."""
    true = np.random.default_rng(0).integers(0, 127, (64, 64, 3), dtype=np.uint8) * 2
    half = (true // 2 + 63).astype(np.uint8)
    fidelity = Fidelity()
    fidelity.add(half, true, {"whole": np.ones((64, 64), bool)})
    assert fidelity.figures()["sharpness/whole"] == pytest.approx(0.5, abs=0.01)
    patches = np.random.default_rng(1).normal(size=(500, 12)).astype(np.float32)
    assert sliced_distance(patches, patches[::-1]) == 0, "a set has no order"
    assert sliced_distance((patches / 2).astype(np.float32), patches) == pytest.approx(
        0.5 * np.sqrt(2 / np.pi), rel=0.05
    )


def test_path_errors_by_hand():
    """Two frames; the second is turned by 90 degrees too far and its camera is at 3 instead of 2."""
    true, estimated = np.tile(np.eye(4), (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1))
    true[1, :3, 3] = (0, 0, 2)
    estimated[1, :3, 3] = (0, 0, 3)
    estimated[1, :3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    found = path_errors(invert(estimated), invert(true), 4)
    assert found["rot_err_mean_deg"] == pytest.approx(45)
    assert found["rot_err_sum_rad"] == pytest.approx(np.pi / 4 * 4), "mean over two, sum over the clip's four"
    assert found["trans_err_abs_mean"] == pytest.approx(0.5 / 2)
    assert found["trans_err_rel_sum"] == pytest.approx(0, abs=1e-9), "each path divided by its own length"
    assert found["cam_mc_rel_mean"] == pytest.approx(2 / 2), "a quarter turn differs by sqrt(4) in the matrix"
    assert found["cam_mc_abs_mean"] == pytest.approx(np.sqrt(4 + 0.25) / 2)


def test_scale_counts_in_abs_only_and_the_first_pose_not_at_all():
    random = np.random.default_rng(0)
    true = np.tile(np.eye(4), (6, 1, 1))
    true[:, :3, :3] = Rotation.from_rotvec(random.normal(0, 0.1, (6, 3))).as_matrix()
    true[:, :3, 3] = random.normal(0, 1, (6, 3))
    larger = true.copy()
    larger[:, :3, 3] *= 1.5
    elsewhere = np.eye(4)
    elsewhere[:3, :3] = Rotation.from_euler("y", 30, degrees=True).as_matrix()
    found = path_errors(invert(elsewhere @ larger), invert(true), 6)
    assert found["rot_err_mean_deg"] == pytest.approx(0, abs=1e-5)
    assert found["trans_err_rel_mean"] == pytest.approx(0, abs=1e-8)
    centres = np.linalg.norm((np.linalg.inv(true[0]) @ true)[:, :3, 3], axis=1)
    assert found["trans_err_abs_mean"] == pytest.approx(0.5 * (centres / centres.max()).mean())
    assert "trans_err_rel_mean" not in path_errors(true[:1].repeat(3, 0), true[:1].repeat(3, 0), 3), "no path, no scale"


def test_regions_are_disjoint_and_a_border_has_two_sides():
    covered = np.ones((40, 60), bool)
    covered[10:30, 20:40] = False
    seen = np.zeros_like(covered)
    seen[:, :30] = True
    found = regions_of(covered, seen)
    assert (found["covered"].astype(int) + found["seen"] + found["unseen"] == 1).all()
    assert found["seen"].sum() == found["unseen"].sum() == 200
    border = near_border(covered, 3)
    assert border[7:13, 17:43].all()
    assert not border[:7].any()
    assert not border[13:27, 23:37].any()
    assert "seen" not in regions_of(covered, None)


def test_a_surface_is_followed_to_where_the_other_camera_sees_it():
    """A wall 5 away, seen from 0.5 further right: everything is 5 pixels further left; NaN is seen nowhere."""
    depth = np.full((40, 60), 5.0)
    columns, rows, visible = visible_at(depth, at(0.5), depth, at(0))
    assert np.allclose(columns - np.arange(60), 5, atol=1e-4)
    assert np.allclose(rows, np.arange(40)[:, None], atol=1e-4)
    assert visible[:, :54].all()
    assert not visible[:, 56:].any(), "outside the other picture"
    depth[3, 3] = np.nan
    assert not visible_at(depth, at(0.5), depth, at(0))[2][3, 3]
    hidden = np.full((40, 60), 5.0)
    hidden[:, 20:30] = 2.0
    assert not visible_at(np.full((40, 60), 5.0), at(0), hidden, at(0))[2][:, 20:30].any()


def test_what_another_frame_shows_has_been_seen():
    wall = np.full((40, 60), 5.0)
    blocked = wall.copy()
    blocked[:, :30] = 1.0
    sources = Cameras(np.stack([LENS] * 2), np.concatenate([at(0).world_to_camera, at(0).world_to_camera]))
    assert not seen_before(wall, at(0), np.stack([blocked, blocked]), sources, 0)[:, :30].any()
    assert seen_before(wall, at(0), np.stack([blocked, wall]), sources, 0).all()


def test_flicker_and_reprojection_by_hand():
    """A still wall whose result is 8 brighter in the second frame."""
    true, depth = noise(), np.full((40, 60), 5.0)
    covered = np.ones((40, 60), bool)
    covered[10:30, 20:40] = False
    before, after = (Moment(i, true + np.uint8(8 * i), depth, at(0), covered, true) for i in range(2))
    steadiness = Steadiness()
    steadiness.add(before, after)
    found = steadiness.figures()
    assert found["flicker/border"] == pytest.approx(8)
    assert found["reprojection_1/whole"] == found["reprojection_1/holes"] == pytest.approx(psnr(64))
    assert revisit_figures([(before, after)])["revisit/holes"] == pytest.approx(psnr(64))


def test_only_a_camera_that_was_elsewhere_comes_back():
    there = np.concatenate([at(0.1 * min(i, 20 - i)).world_to_camera for i in range(21)])
    assert revisits(there) == [(i, 20 - i) for i in range(6, -1, -1)]
    assert revisits(np.tile(np.eye(4), (21, 1, 1))) == []


def test_colour_by_hand():
    """The result has half the truth's saturation and contrast in the last third, and is 10 brighter there."""
    true = noise()
    grey = true.mean(axis=-1, keepdims=True)
    colour, covered = Colour(), np.ones((40, 60), bool)
    for frame in range(9):
        colour.add(np.clip(true + 10 * (frame > 5), 0, 255).astype(np.uint8), true, covered)
    assert colour.figures()["colour_drift/covered"] == pytest.approx(10)
    pale = Colour()
    pale.add((0.5 * true + 0.5 * grey).round().astype(np.uint8), true, covered)
    assert pale.figures()["saturation/covered"] == pytest.approx(0.5, abs=0.02)
    assert pale.figures()["contrast/covered"] == pytest.approx(1, abs=0.02)


def test_fills_keep_what_is_covered():
    image, covered = noise(), np.ones((40, 60), bool)
    covered[10:30, 20:40] = False
    for fill in (mean_colour, push_pull, blurred_holes):
        filled = fill(
            np.where(covered[..., None], image, 0).astype(np.uint8) if fill != blurred_holes else image, covered
        )
        assert np.array_equal(filled[covered], image[covered])
    flat = np.full((40, 60, 3), 90, np.uint8)
    for fill in (mean_colour, push_pull):
        assert (fill(np.where(covered[..., None], flat, 0).astype(np.uint8), covered) == 90).all()


def test_statistics_by_hand():
    ours, theirs = {"a": {"psnr/whole": 21.0}, "b": {"psnr/whole": 31.0}}, {"a": {"psnr/whole": 20.0}, "b": {}}
    found = means(ours)["psnr/whole"]
    assert (found.mean, found.count) == (26.0, 2)
    assert found.error == pytest.approx(5.0)
    assert differences(ours, theirs)["psnr/whole"].mean == 1.0
    assert np.isnan(differences(ours, theirs)["psnr/whole"].error), "one clip has no spread"


def clips(psnr_unseen: list[float], sharpness: float) -> dict[str, dict[str, float]]:
    return {
        str(i): {"psnr/unseen": value, "sharpness/unseen": sharpness, "flip/unseen": 0.3}
        for i, value in enumerate(psnr_unseen)
    }


@pytest.mark.parametrize(("gain", "claim"), [(0.5, False), (2.0, True)])
def test_a_gain_that_blurring_reaches_too_is_no_claim(gain: float, claim: bool, tmp_path: Path):
    base = [18.0, 20.0, 22.0]
    methods = {
        PREVIEW: clips(base, 0.8),
        CONTROL: clips([each + 0.5 for each in base], 0.4),
        "ours": clips([each + gain + 0.01 * i for i, each in enumerate(base)], 0.7),
    }
    report = Report("title", methods, [PREVIEW, CONTROL])
    (line,) = report.claims()
    assert ("not a claim" in line) != claim
    assert "PSNR" in report.table()
    report.save(tmp_path / "report.json")
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["cpu_seconds"] > 0.1
    assert 0.05 < record["peak_memory_gib"] < 100
    assert Report.load(tmp_path / "report.json").methods == methods


def test_every_figure_has_a_label_and_a_place():
    names = {*METRICS, "psnr/unseen", "sfm_rot_err_mean_deg", "given_ate_share"}
    assert set(in_order(names)) == names
    assert len({label_of(name) for name in names}) == len(names)
