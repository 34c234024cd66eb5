"""What is done to a sample before a teacher or the student sees it: drop-outs, further holes, noise on the render.

None of InSpatio-World's are published. Dropping the prompt makes guidance possible; dropping the reference or the
render teaches both of the tasks that joint distribution matching alternates between. Rectangles cut out of the render,
and noise on it, bring the errors of estimated depth into training, where depth may be the true one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from inspatio.training.config import DataConfig
from inspatio.training.draws import Draws
from inspatio.training.video import Clip, nothing_seen

MASK_CHANNELS = 4
RECTANGLES = 3


def augment(clip: Clip, config: DataConfig, draws: Draws) -> Clip:
    """A clip with what this sample's draws leave out or spoil."""
    if draws.uniform("drop text") < config.text_drop:
        clip = clip.without_text()
    if draws.uniform("drop reference") < config.reference_drop:
        clip = replace(clip, source=None)
    if draws.uniform("drop render") < config.render_drop:
        return replace(clip, condition=nothing_seen(clip.condition))
    if draws.uniform("cut holes") < config.hole_share:
        clip = replace(clip, condition=cut_rectangles(clip.condition, draws.numpy("holes"), nothing_seen))
    if config.render_noise:
        condition = clip.condition.clone()
        render = condition[:, :, MASK_CHANNELS:]
        noise = draws.noise(render.shape, "render noise").to(render.device)
        render += config.render_noise * noise
        clip = replace(clip, condition=condition)
    return clip


def cut_rectangles(
    latents: torch.Tensor, rng: np.random.Generator, emptied: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Latents ``... h w`` with rectangles, at the same place in all of them, replaced by what ``emptied`` makes of
    them."""
    height, width = latents.shape[-2:]
    spoilt = latents.clone()
    for _ in range(RECTANGLES):
        rows, columns = (int(rng.integers(1, max(2, side // 3 + 1))) for side in (height, width))
        row, column = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        hole = spoilt[..., row : row + rows, column : column + columns]
        hole.copy_(emptied(hole))
    return spoilt


def without_render(render: torch.Tensor) -> torch.Tensor:
    """WorldFM's render latents where nothing is seen."""
    return torch.zeros_like(render)
