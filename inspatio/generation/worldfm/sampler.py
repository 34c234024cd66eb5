"""WorldFM's sampler: a frame from noise in one or two steps, as plain functions in reading order.

A noisy latent at step t is ``x = signal x0 + noise e``: ``signal`` is sqrt(abar_t), ``noise`` sqrt(1 - abar_t), abar
the running product of the DDPM schedule with linear betas. The network predicts the velocity
``v = signal e - noise x0``, so that ``x0 = signal x - noise v``. (The paper calls the prediction eps; the published
code converts it as v, and that is what its weights were distilled for.) A step goes straight to x0, and the next one
starts from x0 with new noise at its own level. Everything here is float32. Sources: DDPM (arXiv 2006.11239),
progressive distillation (arXiv 2202.00512), InSpatio-WorldFM (arXiv 2603.11911) and its public code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

NUM_TRAIN_STEPS = 1000
BETA_START, BETA_END = 1e-4, 0.02


def alphas_cumprod() -> torch.Tensor:
    """The share of the signal's variance at every training step, 0 the cleanest: ``1000`` float32."""
    betas = torch.linspace(BETA_START, BETA_END, NUM_TRAIN_STEPS, dtype=torch.float64)
    return torch.cumprod(1.0 - betas, dim=0).float()


def signal_and_noise(step: int) -> tuple[float, float]:
    """How much of the clean latent and of the noise there is at a step of 0..999."""
    share = alphas_cumprod()[step]
    return float(share.sqrt()), float((1.0 - share).sqrt())


def x0_from_v(noisy: torch.Tensor, v: torch.Tensor, step: int) -> torch.Tensor:
    """The clean latent that a velocity at a step points to."""
    signal, noise = signal_and_noise(step)
    return signal * noisy - noise * v


def add_noise(clean: torch.Tensor, noise: torch.Tensor, step: int) -> torch.Tensor:
    """A clean latent brought to a step."""
    signal, amount = signal_and_noise(step)
    return signal * clean + amount * noise


def sample_frames(
    v: Callable[[torch.Tensor, int], torch.Tensor], noise: Callable[[int], torch.Tensor], steps: Sequence[int]
) -> torch.Tensor:
    """Clean latents of a batch of frames.

    Args:
        v: (noisy latents ``b c h w``, number of the step) -> velocity of the same shape.
        noise: unit noise ``b c h w`` for the step of that number; called once for each.
        steps: training steps from the noisiest down, 999 and 200 as published.
    """
    latents = noise(0)
    clean = latents
    for number, step in enumerate(steps):
        if number > 0:
            latents = add_noise(clean, noise(number), step)
        clean = x0_from_v(latents, v(latents, number).float(), step)
    return clean
