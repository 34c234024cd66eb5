"""Losses of training, as pure functions.

Flow matching: ``x = (1 - sigma) x0 + sigma e``, and the network predicts ``v = e - x0`` (``generation/sampler.py``).

Distribution matching (DMD, arXiv 2311.18828 and 2405.14867): the student's samples move along the difference of two
scores, that of its own samples and that of the data. Both scores are denoisers here, so the gradient with respect to a
sample ``x0`` is

    (fake(x_t) - real(x_t)) / mean |x0 - real(x_t)|

with one noisy ``x_t`` of ``x0``. It is zero where the two agree, and its length does not depend on the noise level.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from inspatio.generation.sampler import NUM_TRAIN_TIMESTEPS

Denoiser = Callable[[torch.Tensor, float], torch.Tensor]
"""(noisy sample, level) -> estimate of the clean sample."""


def shifted_level(share: float, shift: float, low: int = 0, high: int = NUM_TRAIN_TIMESTEPS) -> float:
    """The noise level (0..1) at a share (0..1) of training's times under a shifted schedule, held within two times.

    Source: Self-Forcing, where times are drawn evenly, then shifted, then clamped.
    """
    level = shift * share / (1.0 + (shift - 1.0) * share)
    return min(max(level, low / NUM_TRAIN_TIMESTEPS), high / NUM_TRAIN_TIMESTEPS)


def bell_weight(level: float, shift: float) -> float:
    """Weight of a level in flow matching: a bell over time, least 0 and on average 1 over the schedule's times.

    Source: DiffSynth-Studio's training weights, ``exp(-2 ((t - 500) / 1000)^2)`` less its least, which Self-Forcing and
    others kept.
    """
    times = torch.linspace(1, 0, NUM_TRAIN_TIMESTEPS + 1, dtype=torch.float64)[:-1]
    levels = shift * times / (1 + (shift - 1) * times)
    bell = _bell(levels)
    least = bell.min()
    return float((_bell(torch.tensor(level, dtype=torch.float64)) - least).clamp(min=0) / (bell - least).mean())


def _bell(levels: torch.Tensor) -> torch.Tensor:
    return torch.exp(-2 * (levels - 0.5) ** 2)


def flow_loss(flow: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Mean squared error of a predicted flow, in float32."""
    return (flow.float() - (noise - clean).float()).square().mean()


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance: ``unconditional + scale (conditional - unconditional)``.

    Self-Forcing writes ``conditional + g (conditional - unconditional)``; its g = 3 is a scale of 4 here.
    """
    return unconditional + scale * (conditional - unconditional)


def matching_gradient(
    clean: torch.Tensor, noisy: torch.Tensor, level: float, real: Denoiser, fake: Denoiser
) -> torch.Tensor:
    """The gradient of distribution matching with respect to the student's sample, for a mean over its elements.

    Args:
        clean: the student's sample, one of a batch (its normaliser is its own).
        noisy: the sample brought to ``level``.
        level: as the denoisers take it.
        real: the teacher's estimate of the clean sample, guidance included.
        fake: the fake score's estimate.
    """
    with torch.no_grad():
        x0, x_real, x_fake = (each.double() for each in (clean, real(noisy, level), fake(noisy, level)))
        gradient = (x_fake - x_real) / (x0 - x_real).abs().mean()
        return (torch.nan_to_num(gradient) / gradient.numel()).to(clean.dtype)


def structural_similarity(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """``b c h w`` SSIM around each pixel (Wang et al. 2004, here in even windows of 7 by 7), of values 0..1."""

    def mean(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, 7, stride=1, padding=3)

    mean_one, mean_other = mean(one), mean(other)
    spread = mean(one * one) - mean_one**2 + mean(other * other) - mean_other**2
    common = mean(one * other) - mean_one * mean_other
    level = (2 * mean_one * mean_other + 1e-4) / (mean_one**2 + mean_other**2 + 1e-4)
    return level * (2 * common + 9e-4) / (spread + 9e-4)


def missing_sharpness(
    made: torch.Tensor, goal: float, reference: torch.Tensor, truth: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """How much mean gradient a picture ``b 3 h w`` lacks of ``goal`` times a reference's, as a share of the truth's.

    Gradients are of the mean of the colours, as the suite measures sharpness; ``share`` (``b 1 h w``, its sum 1) weighs
    the pixels. Zero where nothing is missing.
    """

    def sharpness(picture: torch.Tensor) -> torch.Tensor:
        grey = picture.mean(dim=1, keepdim=True)
        corner = grey[..., :-1, :-1]
        lengths = ((grey[..., 1:, :-1] - corner) ** 2 + (grey[..., :-1, 1:] - corner) ** 2 + 1e-6).sqrt()
        return (lengths * share[..., :-1, :-1]).sum()

    with torch.no_grad():
        wanted, true = goal * sharpness(reference), sharpness(truth)
    return functional.relu(wanted - sharpness(made)) / (true + 1e-4)
