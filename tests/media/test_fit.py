"""Pixels, depth and cameras go through one Fit and stay together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from inspatio.media.fit import Fit
from inspatio.types import FitMode

law = settings(deadline=None, max_examples=40)
sides = st.one_of(st.integers(8, 120), st.sampled_from([16, 208, 480]))
sizes = st.tuples(sides, sides)
modes = st.sampled_from(["crop", "pad", "stretch"])


def camera(size: tuple[int, int], focal: float = 0.9) -> np.ndarray:
    height, width = size
    return np.array([[focal * width, 0, 0.47 * width], [0, focal * width, 0.53 * height], [0, 0, 1.0]])


def centre_of_mass(image: np.ndarray) -> np.ndarray:
    """(row, column) of an ``h w`` image."""
    weight = image.astype(np.float64)
    return (np.mgrid[: image.shape[0], : image.shape[1]] * weight).sum((1, 2)) / weight.sum()


class TestShape:
    @law
    @given(source=sizes, target=sizes, mode=modes)
    def test_everything_comes_out_at_the_target(self, source, target, mode: FitMode) -> None:
        fit = Fit.make(source, target, mode)
        assert fit.image(np.zeros((*source, 3), np.uint8)).shape == (*target, 3)
        assert fit.image(np.zeros(source, np.uint8)).shape == target
        assert fit.depth(np.zeros(source, np.float32)).shape == target

    @law
    @given(source=sizes, target=sizes)
    def test_crop_covers_and_pad_stays_inside(self, source, target) -> None:
        crop, pad = Fit.make(source, target, "crop"), Fit.make(source, target, "pad")
        for axis in (0, 1):
            assert crop.scaled[axis] >= target[axis]
            assert pad.scaled[axis] <= target[axis]
        assert any(crop.scaled[axis] == target[axis] for axis in (0, 1))
        assert any(pad.scaled[axis] == target[axis] for axis in (0, 1))

    @law
    @given(source=sizes, target=sizes)
    def test_crop_never_leaves_black(self, source, target) -> None:
        fit = Fit.make(source, target, "crop")
        assert fit.image(np.full((*source, 3), 200, np.uint8)).min() == 200
        assert fit.depth(np.full(source, 3.0, np.float32)).min() == 3

    @law
    @given(source=sizes, target=sizes)
    def test_pad_keeps_everything_and_fills_with_nothing(self, source, target) -> None:
        fit = Fit.make(source, target, "pad")
        image = fit.image(np.full((*source, 3), 200, np.uint8))
        depth = fit.depth(np.full(source, 3.0, np.float32))
        inside = np.zeros(target, bool)
        top, left = fit.offset
        inside[top : top + fit.scaled[0], left : left + fit.scaled[1]] = True
        assert top >= 0
        assert left >= 0
        assert inside.sum() == fit.scaled[0] * fit.scaled[1], "the whole picture lies inside the frame"
        assert np.array_equal(image[..., 0] == 200, inside)
        assert np.array_equal(depth == 3, inside)
        assert not image[~inside].any()
        assert not depth[~inside].any()

    @law
    @given(source=sizes, target=sizes, mode=modes)
    def test_the_middle_stays_the_middle(self, source, target, mode: FitMode) -> None:
        fit = Fit.make(source, target, mode)
        for axis in (0, 1):
            assert 2 * fit.offset[axis] + fit.scaled[axis] == target[axis]

    @law
    @given(source=sizes, target=sizes, mode=st.sampled_from(["crop", "pad"]))
    def test_shapes_are_kept(self, source, target, mode: FitMode) -> None:
        """Both axes are scaled alike, but for rounding to whole pixels (to every other one, to stay in the middle)."""
        fit = Fit.make(source, target, mode)
        ratio = (max if mode == "crop" else min)(target[0] / source[0], target[1] / source[1])
        for axis in (0, 1):
            assert abs(fit.scaled[axis] - source[axis] * ratio) < 2 + 1e-6

    @law
    @given(size=sizes, mode=modes)
    def test_same_size_is_the_identity(self, size, mode: FitMode) -> None:
        fit = Fit.make(size, size, mode)
        image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        assert fit.is_identity
        assert np.array_equal(fit.image(image), image)
        assert np.array_equal(fit.depth(image[..., 0]), image[..., 0])
        assert np.allclose(fit.intrinsics(camera(size)), camera(size))

    @law
    @given(source=sizes, target=sizes, mode=modes)
    def test_natural_frames_have_the_natural_size(self, source, target, mode: FitMode) -> None:
        fit = Fit.make(source, target, mode)
        assert fit.natural(np.zeros((2, *target, 3), np.uint8)).shape == (2, *fit.natural_size, 3)

    @law
    @given(source=sizes, target=sizes)
    def test_natural_takes_the_padding_off(self, source, target) -> None:
        fit = Fit.make(source, target, "pad")
        assert fit.natural(fit.image(np.full((*source, 3), 200, np.uint8))[None]).min() == 200

    @law
    @given(source=st.tuples(st.integers(100, 2000), st.integers(100, 2000)))
    def test_natural_gives_a_stretched_frame_its_shape_back(self, source) -> None:
        height, width = Fit.make(source, (480, 832), "stretch").natural_size
        assert width / height == pytest.approx(source[1] / source[0], rel=0.03)
        assert height * width == pytest.approx(480 * 832, rel=0.03)

    def test_the_published_shape(self) -> None:
        assert Fit.make((900, 1920), (480, 832)) == Fit((900, 1920), (480, 832), (480, 1024), (0, -96))

    @pytest.mark.parametrize("bad", [((0, 5), (5, 5), "crop"), ((5, 5), (5, 0), "pad"), ((5, 5), (5, 5), "fill")])
    def test_wrong_arguments(self, bad) -> None:
        with pytest.raises(ValueError, match="got"):
            Fit.make(*bad)


class TestAgreement:
    @law
    @given(source=sizes, target=sizes, mode=modes, x=st.floats(0, 1), y=st.floats(0, 1))
    def test_intrinsics_move_rays_as_pixels_are_moved(self, source, target, mode: FitMode, x: float, y: float) -> None:
        """The point seen at source pixel (u, v) is seen by the fitted camera at the fitted pixel."""
        fit = Fit.make(source, target, mode)
        u, v = x * source[1] - 0.5, y * source[0] - 0.5
        ray = np.linalg.inv(camera(source)) @ [u, v, 1]
        seen = fit.intrinsics(camera(source)) @ ray
        expected = [
            (u + 0.5) * fit.scaled[1] / source[1] - 0.5 + fit.offset[1],
            (v + 0.5) * fit.scaled[0] / source[0] - 0.5 + fit.offset[0],
        ]
        assert seen[:2] / seen[2] == pytest.approx(expected, abs=1e-6)

    @law
    @given(
        source=st.tuples(st.integers(60, 300), st.integers(60, 300)),
        target=st.tuples(st.integers(60, 300), st.integers(60, 300)),
        mode=modes,
        x=st.floats(0.2, 0.8),
        y=st.floats(0.2, 0.8),
    )
    @example(source=(60, 60), target=(60, 69), mode="pad", x=0.78125, y=0.5)  # the source's border cuts the spot
    def test_a_point_projects_where_the_image_shows_it(self, source, target, mode, x, y) -> None:
        """The centre of mass of a soft spot moves as the fitted camera says, to a tenth of half a pixel."""
        fit = Fit.make(source, target, mode)
        # Smaller than a quarter, the spot would be a single pixel and its centre of mass a guess.
        assume(all(0.25 < fit.scaled[axis] / source[axis] < 4 for axis in (0, 1)))
        rows, columns = np.mgrid[: source[0], : source[1]]
        deviation = 6
        squared = (columns - x * source[1]) ** 2 + (rows - y * source[0]) ** 2
        spot = (255 * np.exp(-squared / (2 * deviation**2))).astype(np.uint8)
        row, column = centre_of_mass(spot)
        a, b, c = fit.intrinsics(camera(source)) @ np.linalg.inv(camera(source)) @ [column, row, 1]
        expected = np.array([b / c, a / c])
        if mode == "crop":  # the frame must not cut the spot
            reach = 3 * deviation * np.array([fit.scaled[axis] / source[axis] for axis in (0, 1)])
            assume(np.all(expected > reach))
            assume(np.all(expected < np.array(target) - reach))
        assert np.abs(centre_of_mass(fit.image(spot)) - expected).max() < 0.05

    @law
    @given(source=sizes, target=sizes, mode=modes)
    def test_depth_is_the_nearest_source_pixel(self, source, target, mode: FitMode) -> None:
        """Depth that is its own column and row number: each fitted pixel holds the source pixel that its ray hits."""
        fit = Fit.make(source, target, mode)
        rows, columns = np.mgrid[: source[0], : source[1]]
        depth = fit.depth((rows * source[1] + columns + 1).astype(np.float32))
        back = np.linalg.inv(fit.intrinsics(np.eye(3)))
        v, u = np.nonzero(depth)
        number = depth[v, u].astype(int) - 1
        hit = back @ np.stack([u, v, np.ones_like(u)])
        assert np.abs(number % source[1] - hit[0]).max(initial=0) <= 0.5 + 1e-6
        assert np.abs(number // source[1] - hit[1]).max(initial=0) <= 0.5 + 1e-6

    @law
    @given(source=sizes, target=sizes, mode=modes, factor=st.integers(1, 4))
    def test_maps_of_another_resolution(self, source, target, mode: FitMode, factor: int) -> None:
        """Depth and intrinsics given at a multiple of the source's size are fitted to the same frame."""
        fit = Fit.make(source, target, mode)
        finer = (source[0] * factor, source[1] * factor)
        assert fit.depth(np.full(finer, 2.0, np.float32)).shape == target
        at_source = camera(source)
        scaled = np.diag([factor, factor, 1.0]) @ at_source
        scaled[:2, 2] += 0.5 * factor - 0.5
        assert np.allclose(fit.intrinsics(scaled, finer), fit.intrinsics(at_source))

    @law
    @given(source=sizes, target=sizes, mode=modes)
    def test_intrinsics_come_back(self, source, target, mode: FitMode) -> None:
        """The fit that undoes the scaling and the shift undoes what happened to the cameras."""
        fit = Fit.make(source, target, mode)
        to_target = fit.intrinsics(np.eye(3))
        stack = np.stack([camera(source), camera(source, 1.7)])
        assert np.allclose(np.linalg.inv(to_target) @ fit.intrinsics(stack), stack)

    @law
    @given(source=sizes, target=sizes, mode=modes)
    def test_place_is_the_second_half_of_image(self, source, target, mode: FitMode) -> None:
        fit = Fit.make(source, target, mode)
        scaled = np.random.default_rng(0).integers(0, 255, (*fit.scaled, 3), dtype=np.uint8)
        assert np.array_equal(fit.place(scaled), replace(fit, source=fit.scaled).image(scaled))

    def test_depth_invents_nothing_between_surfaces(self) -> None:
        depth = np.where(np.arange(100) < 50, 1.0, 9.0)[None].repeat(60, 0).astype(np.float32)
        for mode in ("crop", "pad", "stretch"):
            assert set(np.unique(Fit.make((60, 100), (77, 131), mode).depth(depth))) <= {0.0, 1.0, 9.0}
