"""Laws of the networks that the golden numbers do not cover, and the arithmetic around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.transform import Rotation
from tiny import da3

from inspatio.models.depth_anything3 import backbone
from inspatio.models.depth_anything3.backbone import choose_reference, order_with_first
from inspatio.models.depth_anything3.checkpoint import open_folder
from inspatio.models.depth_anything3.heads import rotation_from_quaternion
from inspatio.models.depth_anything3.network import DepthNetwork, to_source_frame

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[DepthNetwork, ...]:
    folder = tmp_path_factory.mktemp("models")
    da3.write(folder, seed=3)
    return open_folder(folder / "DA3").load(CPU, torch.float32)


def images(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Frames that differ in contrast have class tokens that differ enough to make the choice of a reference stable.
    return torch.randn(count, 3, 42, 70, generator=generator) * torch.linspace(0.5, 2, count)[:, None, None, None]


def test_slices_equal_the_whole(networks: tuple[DepthNetwork, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    any_view, metric = networks
    whole, whole_single = any_view.any_view(images(7)), metric.single_frames(images(7))
    monkeypatch.setattr(backbone, "SLICE_TOKENS", 2 * 16)
    sliced, sliced_single = any_view.any_view(images(7)), metric.single_frames(images(7))
    for name in ("depth", "confidence", "world_to_camera", "intrinsics"):
        torch.testing.assert_close(getattr(sliced, name), getattr(whole, name), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sliced_single.depth, whole_single.depth, rtol=1e-4, atol=1e-5)


def test_single_frames_do_not_see_each_other(networks: tuple[DepthNetwork, ...]) -> None:
    together = networks[1].single_frames(images(5))
    for index in range(5):
        alone = networks[1].single_frames(images(5)[index : index + 1])
        torch.testing.assert_close(alone.depth[0], together.depth[index], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.sky[0], together.sky[index], rtol=1e-4, atol=1e-5)


def test_any_view_does_not_care_for_the_order(networks: tuple[DepthNetwork, ...]) -> None:
    """With three frames or more the reference is found by its looks, so frames come out as they went in."""
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    straight, shuffled = networks[0].any_view(images(6)), networks[0].any_view(images(6)[order])
    for name in ("depth", "confidence", "world_to_camera", "intrinsics"):
        torch.testing.assert_close(getattr(shuffled, name), getattr(straight, name)[order], rtol=1e-4, atol=1e-5)


def test_any_view_frames_do_see_each_other(networks: tuple[DepthNetwork, ...]) -> None:
    changed = images(4)
    changed[3] += 1
    first, second = networks[0].any_view(images(4)), networks[0].any_view(changed)
    assert (first.depth[0] - second.depth[0]).abs().max() > 1e-4


@given(st.integers(2, 30), st.integers(0, 29))
def test_reference_to_the_front_and_back(count: int, reference: int) -> None:
    order = order_with_first(reference % count, count)
    assert order[0] == reference % count
    torch.testing.assert_close(order[torch.argsort(order)], torch.arange(count))


def test_reference_is_the_typical_frame() -> None:
    """Lengths 1, 2, 3 with all else equal: the middle one."""
    tokens = torch.ones(3, 8) + torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    assert choose_reference(tokens * torch.tensor([[1.0], [2.0], [3.0]])) == 1


@settings(deadline=None)
@given(arrays.arrays(np.float64, 4, elements=st.floats(-3, 3)).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_quaternions_of_any_length(quaternion: np.ndarray) -> None:
    got = rotation_from_quaternion(torch.from_numpy(quaternion)[None].float())[0].numpy()
    np.testing.assert_allclose(got, Rotation.from_quat(quaternion).as_matrix(), atol=1e-5)


def test_intrinsics_reach_the_corners_alike() -> None:
    """The ray through the corner of the network's frame is the one through the corner of the source frame."""
    network, source = (28, 56), (100, 200)
    matrix = np.array([[[50.0, 0, 28], [0, 40.0, 14], [0, 0, 1]]])
    converted = to_source_frame(matrix, network, source)[0]
    # Corners lie half a pixel before the first pixel's centre.
    np.testing.assert_allclose((-0.5 - converted[0, 2]) / converted[0, 0], -28 / 50)
    np.testing.assert_allclose((99.5 - converted[1, 2]) / converted[1, 1], 14 / 40)


def test_half_precision_stays_near(tmp_path: Path) -> None:
    da3.write(tmp_path, seed=3)
    exact, rounded = (open_folder(tmp_path / "DA3-any-view").load(CPU, dtype)[0].any_view(images(4)) for dtype in (
        torch.float32, torch.bfloat16))  # fmt: skip
    assert rounded.depth.dtype == torch.float32
    assert ((rounded.depth - exact.depth).abs().max() / exact.depth.abs().max()) < 0.1
