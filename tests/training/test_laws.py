"""What training must satisfy whatever it is given: gradients, starts and averages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.networks import TINY, make_dit
from support.training import CPU, LATENTS, SIZE, random, write_network
from torch import nn

from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.sampler import add_noise, warp_steps
from inspatio.models.wan.dit import CausalDiT
from inspatio.training.config import OptimizerConfig, ProcessConfig
from inspatio.training.draws import Draws
from inspatio.training.lora import add_lora, merged_state
from inspatio.training.losses import bell_weight, matching_gradient, shifted_level
from inspatio.training.parallel import Processes
from inspatio.training.roles import Average, Role, load_clip_network, recompute_blocks, trainable
from inspatio.training.rollout import backpropagate, roll_out
from inspatio.training.video import BlockInputs, Clip, predict_clip

STEPS, SHIFT = (1000, 750, 500), 5.0


def make_clip() -> Clip:
    source, target = random(1, LATENTS, 16, *SIZE, seed=1), random(1, LATENTS, 16, *SIZE, seed=2)
    condition = random(1, LATENTS, 20, *SIZE, seed=3)
    text, no_text = random(1, TINY.text_len, TINY.text_dim, seed=4), random(1, TINY.text_len, TINY.text_dim, seed=5)
    return Clip("clip", source, target, condition, text, no_text)


def role_of(dit: CausalDiT) -> Role[CausalDiT]:
    return Role("student", trainable(dit), Processes(ProcessConfig(), CPU), OptimizerConfig())


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


class Gaussian(nn.Module):
    """A student whose samples are ``mean + spread * z``."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_spread = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.mean + self.log_spread.exp() * z


def posterior(mean: torch.Tensor, spread: torch.Tensor):
    """The exact denoiser of a Gaussian: the expected clean sample given a noisy one at a level."""

    def clean(noisy: torch.Tensor, level: float) -> torch.Tensor:
        share = (1 - level) * spread**2 / ((1 - level) ** 2 * spread**2 + level**2)
        return mean + share * (noisy - (1 - level) * mean)

    return clean


def test_distribution_matching_finds_a_gaussian() -> None:
    """A sign, a normaliser, a noise schedule or a guidance that is off would end elsewhere."""
    mean, spread = torch.tensor([1.5, -0.7]), torch.tensor([0.5, 1.2])
    student = Gaussian()
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    generator = torch.Generator().manual_seed(0)
    for step in range(1000):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 1000)
        made = student(torch.randn(64, 2, generator=generator))
        level = shifted_level(float(torch.rand((), generator=generator)), SHIFT, 20, 980)
        clean = made.detach()
        noisy = add_noise(clean, torch.randn(64, 2, generator=generator), level)
        fake = posterior(student.mean.detach(), student.log_spread.detach().exp())
        optimizer.zero_grad()
        made.backward(matching_gradient(clean, noisy, level, posterior(mean, spread), fake))
        optimizer.step()
    torch.testing.assert_close(student.mean.detach(), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(student.log_spread.detach().exp(), spread, atol=0.1, rtol=0)


def test_no_gradient_where_fake_and_real_agree() -> None:
    clean, noisy = random(1, 3, 16, 4, 6, seed=1), random(1, 3, 16, 4, 6, seed=2)
    same = posterior(torch.zeros(()), torch.ones(()))
    assert not matching_gradient(clean, noisy, 0.5, same, same).any()
    other = posterior(torch.ones(()), torch.ones(()))
    assert matching_gradient(clean, noisy, 0.5, other, same).all()


def test_the_weight_over_time_is_one_on_average_and_zero_at_the_ends() -> None:
    shares = [(place + 0.5) / 1000 for place in range(1000)]
    weights = [bell_weight(shifted_level(share, SHIFT), SHIFT) for share in shares[::10]]
    assert sum(weights) / len(weights) == pytest.approx(1, abs=0.02)
    assert max(weights) <= bell_weight(0.5, SHIFT)
    assert bell_weight(1.0, SHIFT) == pytest.approx(0, abs=1e-6)


def test_the_base_model_is_what_it_was_until_it_is_trained(tmp_path: Path) -> None:
    """Columns for mask and render start at zero, and a clip without reference has positions of its own."""
    path = write_network(tmp_path / "base", base=True)
    dit, clip = load_clip_network(path, tmp_path), make_clip().as_text_to_video()
    shown = Clip("clip", None, clip.target, make_clip().condition, clip.text, clip.no_text)
    one, other = (predict_clip(dit, clip.target, 0.7, each) for each in (clip, shown))
    assert torch.equal(one, other)
    # A cache with the positions of a clip alone, from 0 on, as the base model has them.
    cache = dit.make_functional_cache(*SIZE, context_latents=0, block_latents=LATENTS)
    text = dit.encode_text(clip.text)
    dit.prefill(clip.target[:, :0], dit.time_modulation(0.0), text, cache)
    plain = dit.denoise(clip.target, clip.condition, dit.time_modulation(700.0), text, cache)
    torch.testing.assert_close(one, plain, atol=2e-5, rtol=1e-4)


def test_a_roll_out_is_what_inference_generates() -> None:
    """The cache that keeps gradients and the one that writes in place give the same clip."""
    role, clip = role_of(make_dit()), make_clip()
    sigmas = tuple(warp_steps(STEPS, SHIFT).tolist())
    draws = Draws(seed=0, step=0, number=0)
    path = roll_out(role, clip, sigmas, len(sigmas) - 1, draws)
    with torch.inference_mode():
        dit = make_dit()
        loop = BlockLoop(dit, Schedule.make(dit, STEPS, SHIFT), dit.encode_text(clip.text))
        assert clip.source is not None
        blocks = []
        for index in range(clip.blocks):
            part = slice(3 * index, 3 * index + 3)
            noise = draws.noise((len(sigmas), *clip.target[:, part].shape), f"block {index}")
            blocks.append(loop.step(clip.source[:, part], clip.condition[:, part], noise))
    torch.testing.assert_close(path.clip, torch.cat(blocks, dim=1), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("through_context", [True, False])
@pytest.mark.parametrize("exit_step", [0, 2])
def test_gradients_block_by_block_add_up_to_the_whole_clips(through_context: bool, exit_step: int) -> None:
    sigmas = tuple(warp_steps(STEPS, SHIFT).tolist())
    draws, clip = Draws(seed=0, step=0, number=0), make_clip()
    gradient = random(1, LATENTS, 16, *SIZE, seed=9)
    role = role_of(make_dit())
    path = roll_out(role, clip, sigmas, exit_step, draws)
    backpropagate(role, clip, path, gradient, through_context=through_context)

    whole = trainable(make_dit())
    blocks: list[torch.Tensor] = []
    for index in range(clip.blocks):
        noise = draws.noise((exit_step + 1, *clip.target[:, :3].shape), f"block {index}")
        inputs = BlockInputs.of(clip, index, blocks[-1].detach() if blocks else None)
        latents = clean = noise[0]
        for step, sigma in enumerate(sigmas[: exit_step + 1]):
            if step:
                latents = add_noise(clean.detach(), noise[step], sigma)
            text = whole.encode_text(clip.text)
            cache = whole.make_functional_cache(*SIZE)
            with torch.set_grad_enabled(through_context):
                whole.prefill(inputs.context, whole.time_modulation(0.0), text, cache)
            time = whole.time_modulation(sigma * 1000)
            clean = latents - sigma * whole.denoise(latents, inputs.condition, time, text, cache)
        blocks.append(clean)
    made = torch.cat(blocks, dim=1)
    torch.testing.assert_close(path.clip, made.detach(), atol=2e-6, rtol=1e-5)
    (made * gradient).sum().backward()
    parts, expected = gradients(role.network), gradients(whole)
    assert parts.keys() == expected.keys()
    length = torch.stack([each.norm() for each in expected.values()]).norm()
    for name in parts:
        assert (parts[name] - expected[name]).norm() <= 1e-6 * length, name


def test_recomputing_layers_changes_no_gradient() -> None:
    clip, noise = make_clip(), random(1, LATENTS, 16, *SIZE, seed=8)
    found = []
    for recompute in (False, True):
        dit = trainable(make_dit())
        if recompute:
            recompute_blocks(dit)
        predict_clip(dit, noise, 0.6, clip).square().mean().backward()
        found.append(gradients(dit))
    plain, recomputed = found
    assert plain.keys() == recomputed.keys() == dict(make_dit().named_parameters()).keys()
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


def test_low_rank_additions_start_at_nothing_and_can_be_added_in() -> None:
    clip, noise = make_clip(), random(1, LATENTS, 16, *SIZE, seed=8)
    original, adapted = make_dit(), trainable(make_dit())
    add_lora(adapted, 4, 0.5, torch.Generator().manual_seed(0))
    before = predict_clip(original, noise, 0.6, clip)
    assert torch.equal(predict_clip(adapted, noise, 0.6, clip), before)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    for parameter in trained.values():
        parameter.data += 0.1 * random(*parameter.shape, seed=7)
    state = merged_state(adapted, dict(adapted.named_parameters()))
    assert state.keys() == original.state_dict().keys()
    original.load_state_dict(state)
    after = predict_clip(original, noise, 0.6, clip)
    torch.testing.assert_close(predict_clip(adapted, noise, 0.6, clip), after, atol=1e-4, rtol=1e-4)
    assert (after - before).abs().max() > 0.01
    share = sum(p.numel() for p in trained.values()) / sum(p.numel() for p in adapted.parameters())
    assert 0 < share < 0.2


def test_the_average_follows_the_weights() -> None:
    values = {"w": torch.zeros(3)}
    average = Average(values, 0.9)
    values["w"] += 1
    for count in range(1, 4):
        average.update(values)
        torch.testing.assert_close(average.values["w"], torch.full((3,), 1 - 0.9**count))
