from __future__ import annotations

import numpy as np
import pytest
from support.clips import write_clip

from inspatio.geometry.plane import PlaneGeometry, plane_depth, plane_intrinsics
from inspatio.geometry.store import GeometryDepth, load_geometry
from inspatio.media import VideoInfo, probe
from inspatio.media.fit import Fit


@pytest.fixture
def clip(tmp_path) -> VideoInfo:
    return probe(write_clip(tmp_path / "clips" / "clip.mp4", 5, (24, 32)))


@pytest.mark.parametrize("size", [(24, 32), (32, 24), (7, 9)])
def test_inverse_depth_is_linear_in_the_row_and_the_same_across(size):
    (depth,) = plane_depth(size, 1.5)
    assert depth.shape == size
    assert (depth == depth[:, :1]).all()
    inverse = 1 / depth[:, 0].astype(np.float64)
    np.testing.assert_allclose(np.diff(inverse), (1 - 1 / 1.5) / size[0], rtol=1e-4)
    half_row = np.diff(inverse)[0] / 2
    np.testing.assert_allclose([inverse[0] - half_row, inverse[-1] + half_row], [1 / 1.5, 1], rtol=1e-5)


@pytest.mark.parametrize("size", [(480, 832), (832, 480)])
def test_every_point_lies_on_one_plane(size):
    (depth,) = plane_depth(size, 1.5)
    rows, columns = np.indices(size)
    pixels = np.stack([columns, rows, np.ones(size)], axis=-1).reshape(-1, 3)
    points = (pixels @ np.linalg.inv(plane_intrinsics(size, 60.0)).T) * depth.reshape(-1, 1)
    normal, *_ = np.linalg.lstsq(points, np.ones(len(points)), rcond=None)
    np.testing.assert_allclose(points @ normal, 1, atol=1e-5)
    assert normal[1] > 0  # the plane's near side is below the camera (y points down)


def test_field_of_view_is_of_the_longer_side():
    wide, tall = plane_intrinsics((480, 832), 60.0), plane_intrinsics((832, 480), 60.0)
    assert wide[0, 0] == wide[1, 1] == tall[0, 0]
    edge = np.linalg.inv(wide) @ [831.5, 239.5, 1]
    np.testing.assert_allclose(np.rad2deg(np.arctan(edge[0])), 30)
    np.testing.assert_allclose(edge[1], 0, atol=1e-12)


def test_the_backend_says_it_is_a_prior(clip: VideoInfo, tmp_path):
    steps = []
    folder = tmp_path / "geometry"
    folder.mkdir()
    summary = PlaneGeometry().estimate(clip, folder, lambda done, total: steps.append((done, total)))
    geometry = load_geometry(folder)
    assert (summary.scale, geometry.scale, geometry.backend) == ("prior", "prior", "plane")
    assert "prior" in summary.notes[0]
    assert "Depth Anything 3" in summary.notes[1]
    assert steps[-1] == (clip.frame_count, clip.frame_count)
    assert geometry.depth.shape == (1, *clip.size)  # stored once, whatever the clip's length
    np.testing.assert_array_equal(geometry.world_to_camera, np.tile(np.eye(4), (clip.frame_count, 1, 1)))
    source = GeometryDepth(geometry, Fit.make(clip.size, (16, 16)))
    assert len(source) == clip.frame_count
    np.testing.assert_array_equal(*source.read([0, clip.frame_count - 1]))


def test_the_fingerprint_follows_the_options(clip: VideoInfo):
    assert PlaneGeometry().fingerprint(clip) == PlaneGeometry().fingerprint(clip)
    assert PlaneGeometry().fingerprint(clip) != PlaneGeometry(far_to_near=2.0).fingerprint(clip)
