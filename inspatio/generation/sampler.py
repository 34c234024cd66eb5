"""Few-step flow-matching sampling, as plain functions in reading order.

A noisy latent at level sigma is ``x = (1 - sigma) x0 + sigma e``; the network predicts the flow ``v = e - x0``, so that
``x0 = x - sigma v``. A step goes from a level straight to x0, and the next one starts from x0 with fresh noise at its
own level. Times are levels times 1000. Everything here is float32. Sources: flow matching (arXiv 2210.02747),
Self-Forcing (arXiv 2506.08009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from inspatio.errors import UsageError
from inspatio.types import LatentTensor

NUM_TRAIN_TIMESTEPS = 1000


def shifted_sigmas(shift: float) -> torch.Tensor:
    """The levels of all training steps, from 1 down, excluding 0: ``shift * s / (1 + (shift - 1) * s)``, float32."""
    sigmas = torch.linspace(1.0, 0.0, NUM_TRAIN_TIMESTEPS + 1)[:-1]
    return shift * sigmas / (1.0 + (shift - 1.0) * sigmas)


def warp_steps(steps: Sequence[int], shift: float) -> torch.Tensor:
    """The levels of some of the training steps, counted down from 1000, under the shifted schedule.

    Raises:
        UsageError: the steps do not fall from at most 1000 to at least 1.
    """
    falling = all(a > b for a, b in pairwise(steps))
    if not steps or not falling or steps[0] > NUM_TRAIN_TIMESTEPS or steps[-1] < 1:
        raise UsageError(f"denoising steps {list(steps)}: expected falling numbers between {NUM_TRAIN_TIMESTEPS} and 1")
    if shift <= 0:
        raise UsageError(f"schedule shift {shift}: expected a positive number")
    return shifted_sigmas(shift)[[NUM_TRAIN_TIMESTEPS - step for step in steps]]


def add_noise(clean: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
    """A clean latent brought to level ``sigma``."""
    return (1.0 - sigma) * clean + sigma * noise


def x0_from_flow(noisy: torch.Tensor, flow: torch.Tensor, sigma: float) -> torch.Tensor:
    """The clean latent that a flow at level ``sigma`` points to."""
    return noisy - sigma * flow


def sample_block(
    flow: Callable[[LatentTensor, int], LatentTensor], noise: torch.Tensor, sigmas: Sequence[float]
) -> LatentTensor:
    """One block from noise.

    Args:
        flow: (noisy latents ``b f c h w``, number of the step) -> flow of the same shape.
        noise: fresh unit noise for each step, ``s b f c h w``.
        sigmas: the level of each of the ``s`` steps, from 1 down.
    """
    assert len(noise) == len(sigmas), f"noise for {len(noise)} steps, expected {len(sigmas)}"
    latents = clean = noise[0]
    for step, sigma in enumerate(sigmas):
        if step > 0:
            latents = add_noise(clean, noise[step], sigma)
        clean = x0_from_flow(latents, flow(latents, step), sigma)
    return clean
