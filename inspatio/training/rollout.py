"""The student's own clip as it generates it, and the gradient of a loss on the clip, block by block.

    path = roll_out(role, clip, sigmas, exit_step, draws)          without gradients; path.clip is 1 f 16 h w
    backpropagate(role, clip, path, gradient)                     with the loss's gradient at every latent

Self-forcing (arXiv 2506.08009): each block is generated as at inference, behind the student's own previous block, and
stops at one denoising step that all blocks and all processes share. Gradients run through that step alone, and never
from a block into those before it.

Backpropagation goes block by block (InSpatio-World, arXiv 2604.07209): the roll-out keeps no graph, the loss looks at
the whole clip and gives its gradient at every latent, then each block is computed again with a graph, its context and
cache included, takes its part of the gradient and frees its graph. Memory is that of one block whatever the clip's
length, and the sum is the gradient of the whole clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inspatio.generation.sampler import sample_block
from inspatio.models.wan.cache import BLOCK_LATENTS
from inspatio.models.wan.dit import CausalDiT
from inspatio.training.draws import Draws
from inspatio.training.roles import Role
from inspatio.training.video import BlockInputs, BlockPass, Clip
from inspatio.types import LatentTensor


@dataclass(frozen=True)
class ExitStep:
    """What is needed to compute a block's last step again: its inputs, and the noisy latents that came to it."""

    block: BlockInputs
    noisy: LatentTensor
    level: float


@dataclass(frozen=True)
class RollOut:
    """A generated clip ``1 f 16 h w`` without graph, and the last step of every block."""

    clip: LatentTensor
    exits: list[ExitStep]


def roll_out(role: Role[CausalDiT], clip: Clip, sigmas: tuple[float, ...], exit_step: int, draws: Draws) -> RollOut:
    """Generate a clip of the length of ``clip.target``; every block leaves the schedule after ``exit_step`` (from
    0)."""
    levels = sigmas[: exit_step + 1]

    def generate(dit: CausalDiT) -> tuple[list[LatentTensor], list[ExitStep]]:
        text = dit.encode_text(clip.text)
        blocks: list[LatentTensor] = []
        exits: list[ExitStep] = []
        for index in range(clip.blocks):
            inputs = BlockInputs.of(clip, index, blocks[-1] if blocks else None)
            passes = BlockPass(dit, inputs, text)
            arrived: list[LatentTensor] = []

            def flow(
                noisy: LatentTensor, step: int, passes: BlockPass = passes, arrived: list = arrived
            ) -> LatentTensor:
                arrived.append(noisy)
                return passes.flow(noisy, levels[step])

            shape = (len(levels), *clip.target[:, :BLOCK_LATENTS].shape)
            noise = draws.noise(shape, f"block {index}").to(clip.target.device)
            blocks.append(sample_block(flow, noise, levels))
            exits.append(ExitStep(inputs, arrived[-1], levels[-1]))
        return blocks, exits

    with torch.no_grad():
        blocks, exits = role.run(generate)
    return RollOut(torch.cat(blocks, dim=1), exits)


def backpropagate(
    role: Role[CausalDiT], clip: Clip, path: RollOut, gradient: LatentTensor, *, through_context: bool = True
) -> None:
    """Add the student's gradient of a loss whose gradient at the generated clip is known.

    Args:
        role: the student, whose parameters take the gradient.
        clip: what was rolled out.
        path: the roll-out.
        gradient: ``1 f 16 h w``, of the loss with respect to ``path.clip``.
        through_context: also through the keys and values of the context.
    """
    for index, last in enumerate(path.exits):
        part = gradient[:, index * BLOCK_LATENTS : (index + 1) * BLOCK_LATENTS]

        def block(dit: CausalDiT, last: ExitStep = last) -> LatentTensor:
            text = dit.encode_text(clip.text)
            return BlockPass(dit, last.block, text, through_context=through_context).clean(last.noisy, last.level)

        role.run(block).backward(part)
