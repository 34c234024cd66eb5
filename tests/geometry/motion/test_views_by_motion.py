"""Geometry of a few views of one place, whole steps apart, against the ray-cast room."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.pictures import write_picture
from support.scenes import psnr

from inspatio.cameras.poses import invert, relative_to_first
from inspatio.errors import ClipError
from inspatio.evaluation.cameras import pose_errors
from inspatio.evaluation.metrics import depth_errors
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.geometry.motion.backend import MotionGeometry
from inspatio.geometry.motion.features import match_views
from inspatio.geometry.motion.views import LEAST_BEFORE
from inspatio.geometry.scene import read_scene
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.media import open_source, probe_source
from inspatio.render import WarpRenderer, render_scene

SIZE = (288, 496)
LENS = truth.intrinsics().copy()
LENS[:2] *= SIZE[0] / truth.SIZE[0]
LENS[:2, 2] = (SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2
PLACES = [(0.0, 0.0, 0.0, 0.0), (0.5, -0.1, 0.05, -6.0), (-0.5, 0.05, 0.1, 6.0)]
"""Metres to the right, down and ahead of the first view, and degrees to the right."""


def poses() -> np.ndarray:
    made = np.tile(np.eye(4), (len(PLACES), 1, 1))
    for pose, (x, y, z, degrees) in zip(made, PLACES, strict=True):
        pose[:3, :3], pose[:3, 3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix(), (x, y, z)
    return invert(made)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views") / "room"
    for index, pose in enumerate(poses()):
        write_picture(folder / f"{index}.png", truth.true_view(0, pose, LENS, SIZE))
    return folder


def estimate(folder: Path, into: Path, backend: MotionGeometry | None = None) -> tuple[tuple[str, ...], Geometry]:
    into.mkdir()
    summary = (backend or MotionGeometry()).estimate(probe_source(folder), into, lambda done, total: None)
    assert summary.backend == "motion"
    return summary.notes, load_geometry(into)


def check(geometry: Geometry, chosen: list[int], *, abs_rel: float, degrees: float, path: float) -> None:
    def pairs():
        for place, index in enumerate(chosen):
            size = geometry.depth.shape[1:]
            lens = np.diag([size[1] / SIZE[1], size[0] / SIZE[0], 1.0]) @ LENS
            yield geometry.depth[place], truth.true_depth(0, poses()[index], lens, (size[0], size[1]))

    found = pose_errors(geometry.world_to_camera, relative_to_first(poses()[chosen]))
    depth = depth_errors(pairs)
    assert (depth.abs_rel < abs_rel, found.rotation_degrees < degrees, found.translation < path) == (True,) * 3, (
        depth,
        found,
    )


def test_views_half_a_metre_apart_have_their_cameras_and_depth(views: Path, tmp_path: Path) -> None:
    """Corners that are followed from view to view found nothing in common."""
    _, geometry = estimate(views, tmp_path / "g")
    check(geometry, [0, 1, 2], abs_rel=0.06, degrees=0.3, path=0.01)
    assert abs(geometry.intrinsics[0, 0, 0] / LENS[0, 0] - 1) < 0.03


def test_what_floats_before_what_other_views_see_is_dropped(views: Path, tmp_path: Path, monkeypatch) -> None:
    """Seen from where the first view was taken, the others' depth must not stand before what it shows."""
    seen = {}
    for limit in (LEAST_BEFORE, 1e9):
        monkeypatch.setattr("inspatio.geometry.motion.views.LEAST_BEFORE", limit)
        estimate(views, tmp_path / f"{limit}")
        scene = read_scene(probe_source(views), tmp_path / f"{limit}", SIZE)
        render = render_scene(WarpRenderer(), scene, 0, scene.cameras([0]))
        assert (render.masks > 0).mean() > 0.98
        seen[limit] = psnr(render.frames[0], scene.frames.read([0])[0])
    assert seen[LEAST_BEFORE] > seen[1e9] + 0.5, seen


def test_two_views_with_a_focal_length(views: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    for index in (0, 1):
        (folder / f"{index}.png").write_bytes((views / f"{index}.png").read_bytes())
    notes, geometry = estimate(folder, tmp_path / "g", MotionGeometry(focal=LENS[0, 0]))
    assert not notes
    check(geometry, [0, 1], abs_rel=0.06, degrees=0.2, path=0.01)


def test_matched_points_are_the_same_point(views: Path) -> None:
    """By the true depth, and no view has a point twice."""
    with open_source(probe_source(views)) as reader:
        frames = match_views([picture[..., 1] for picture in reader.read(range(len(PLACES)))])
    assert all(len(np.unique(frame.ids)) == len(frame.ids) for frame in frames)
    _, a, b = np.intersect1d(frames[0].ids, frames[1].ids, return_indices=True)
    assert len(a) > 150
    here, there = frames[0].points[a].astype(float), frames[1].points[b].astype(float)
    depth = truth.true_depth(0, poses()[0], LENS, SIZE)[tuple(np.rint(here).astype(int).T[::-1])]
    rays = np.concatenate([here, np.ones((len(here), 1))], axis=1) @ np.linalg.inv(LENS).T
    points = rays * depth[:, None] @ poses()[1][:3, :3].T + poses()[1][:3, 3]
    seen = points @ LENS.T
    error = np.linalg.norm(seen[:, :2] / seen[:, 2:] - there, axis=1)
    assert np.mean(error < 2) > 0.9


def test_a_mapper_that_crashes_is_one_line(views: Path, tmp_path: Path) -> None:
    backend = MotionGeometry(mapper=(sys.executable, "-c", "import os; os.abort()"))
    with pytest.raises(ClipError, match="signal 6") as caught:
        estimate(views, tmp_path / "g", backend)
    assert "\n" not in str(caught.value)


def test_views_of_other_places_are_named(views: Path, tmp_path: Path) -> None:
    folder = tmp_path / "apart"
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    write_picture(folder / "2.png", noise)
    for index in (0, 1):
        (folder / f"{index}.png").write_bytes((views / f"{index}.png").read_bytes())
    with pytest.raises(ClipError, match="view 3 has too little in common with the others"):
        estimate(folder, tmp_path / "g")
