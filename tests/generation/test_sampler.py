"""The sampler's algebra and the mask packing; their published numbers are in test_parity.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inspatio.errors import UsageError
from inspatio.generation.inspatio_world.condition import condition_channels, pack_mask
from inspatio.generation.sampler import add_noise, sample_block, shifted_sigmas, warp_steps, x0_from_flow


def test_published_levels() -> None:
    assert warp_steps([1000, 750, 500, 250], 5.0).mul(1000).tolist() == pytest.approx([1000, 937.5, 833.333, 625])


@given(st.floats(0.5, 12.0))
def test_levels_fall_and_shift_one_is_straight(shift: float) -> None:
    sigmas = shifted_sigmas(shift)
    assert sigmas[0] == pytest.approx(1.0)
    assert bool((sigmas.diff() < 0).all())
    torch.testing.assert_close(shifted_sigmas(1.0), torch.arange(1000, 0, -1) / 1000)


@pytest.mark.parametrize("steps", [[], [500, 750], [1001, 500], [500, 0], [500, 500]])
def test_steps_that_make_no_schedule(steps: list[int]) -> None:
    with pytest.raises(UsageError, match="denoising steps"):
        warp_steps(steps, 5.0)


@given(st.floats(0.0, 1.0))
def test_flow_undoes_noise(sigma: float) -> None:
    clean, noise = torch.randn(2, 1, 3, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x0_from_flow(add_noise(clean, noise, sigma), noise - clean, sigma), clean)


def test_a_perfect_network_gives_the_clean_block_after_any_step() -> None:
    clean = torch.randn(1, 3, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    sigmas = warp_steps([1000, 750, 500, 250], 5.0).tolist()
    noise = torch.randn(4, *clean.shape, generator=torch.Generator().manual_seed(1))
    steps: list[int] = []

    def flow(noisy: torch.Tensor, step: int) -> torch.Tensor:
        torch.testing.assert_close(noisy, add_noise(clean, noise[step], sigmas[step]))
        steps.append(step)
        return noise[step] - clean

    torch.testing.assert_close(sample_block(flow, noise, sigmas), clean)
    assert steps == [0, 1, 2, 3]


@given(st.integers(1, 4))
def test_packing_in_groups_equals_the_whole(groups: int) -> None:
    frames = 9 + 12 * groups
    mask = torch.randn(1, 1, frames, 16, 32, generator=torch.Generator().manual_seed(groups)).sign()
    whole = pack_mask(mask, first=True)
    parts = [pack_mask(mask[:, :, :9], first=True)]
    parts += [pack_mask(mask[:, :, i : i + 12], first=False) for i in range(9, frames, 12)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert whole.shape == (1, 3 + 3 * groups, 4, 2, 4)


def test_condition_order_is_mask_then_render() -> None:
    channels = condition_channels(torch.ones(1, 3, 4, 2, 2), torch.zeros(1, 3, 16, 2, 2))
    assert channels[0, 0, :, 0, 0].tolist() == [1.0] * 4 + [0.0] * 16
