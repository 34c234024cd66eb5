"""The generator: its schedule, its mask packing, its network, and the loop over blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from einops import rearrange

from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.inspatio_world.condition import condition_channels, pack_mask
from inspatio.generation.sampler import NUM_TRAIN_TIMESTEPS, add_noise, shifted_sigmas, warp_steps
from inspatio.models.wan.checkpoint import parse_config
from inspatio.models.wan.dit import CausalDiT
from parity_cases.golden import EXACT_TOLERANCE, CaseFunction, GoldenCase, Outputs, compare, weight

STEPS = (1000, 750, 500, 250)
PUBLISHED_SHIFT = 5.0


def _load(case: GoldenCase, prefix: str, device: torch.device, dtype: torch.dtype) -> CausalDiT:
    """The case's network; a set that lists no keys for it has those of the config."""
    config = parse_config(case.manifest["config"])
    with torch.device("meta"):
        dit = CausalDiT(config)
    shapes = {key: tuple(value.shape) for key, value in dit.state_dict().items()}
    listed = {key: tuple(shape) for key, shape in case.manifest.get("keys", shapes).items()}
    assert listed == shapes, f"keys or shapes differ in {sorted(set(listed.items()) ^ set(shapes.items()))}"
    state = {key: weight(f"{case.tag}.{prefix}{key}", shape) for key, shape in shapes.items()}
    dit.load_state_dict(state, assign=True)
    return dit.place(device, dtype)


def _shifts(case: GoldenCase) -> list[float]:
    """The schedule shifts of the set, from the names of its scheduler case's tensors."""
    names = case.cases["scheduler"]["tensors"]
    return sorted({float(match[1]) for name in names if (match := re.fullmatch(r"shift([\d.]+)\.sigmas", name))})


def dit(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """Both context sizes: the cache a context pass leaves, then the flow at the times that the set names."""
    network = _load(case, "dit.", device, dtype)
    height, width = case.manifest["latent_hw"]
    config = network.config
    text = network.encode_text(case.noise("dit.text", (1, config.text_len, config.text_dim)))

    def latents(name: str, frames: int, channels: int = config.out_dim) -> torch.Tensor:
        return rearrange(case.noise(name, (1, channels, frames, height, width)), "b c f h w -> b f c h w").to(device)

    render = latents("dit.render", 3, config.in_dim - config.out_dim)
    noisy = latents("dit.noisy", 3)
    cache = network.make_cache(height, width)
    outputs: dict[str, torch.Tensor] = {}
    for frames in (3, 6):
        network.prefill(latents(f"dit.context{frames}", frames), network.time_modulation(0.0), text, cache)
        for layer in range(config.num_layers):
            outputs[f"context{frames}.k{layer}"] = cache.keys[layer][:, : cache.length].clone()
            outputs[f"context{frames}.v{layer}"] = cache.values[layer][:, : cache.length].clone()
        for name in case.stored:
            if match := re.fullmatch(rf"context{frames}\.t([\d.]+)\.flow", name):
                flow = network.denoise(noisy, render, network.time_modulation(float(match[1])), text, cache)
                outputs[name] = rearrange(flow, "b f c h w -> b c f h w")
    return outputs


def block_loop(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """Three blocks through the whole sampler, under the shift of the set's own scheduler case."""
    network = _load(case, "loop.", device, dtype)
    config = network.config
    frames, shape = 3 * case.manifest["blocks"], tuple(case.manifest["renoise_shapes"][0][1:])
    noise, source, render = (
        case.noise(f"loop.{name}", (1, frames, *shape)).to(device) for name in ("noise", "ref", "render")
    )
    mask = torch.where(case.noise("loop.mask", (1, frames, 4, *shape[1:])) > 0, 1.0, -1.0).to(device)
    fresh = [
        case.noise(f"loop.renoise{k}", (3, *shape))[None].to(device)
        for k in range(len(case.manifest["renoise_shapes"]))
    ]

    def draws() -> Iterator[torch.Tensor]:
        for block, first in enumerate(range(0, frames, 3)):
            yield noise[:, first : first + 3]
            yield from fresh[block * (len(STEPS) - 1) : (block + 1) * (len(STEPS) - 1)]

    drawn = draws()

    def draw(shape: Sequence[int]) -> torch.Tensor:
        return next(drawn)

    shifts = _shifts(case)
    schedule = Schedule.make(network, STEPS, PUBLISHED_SHIFT if PUBLISHED_SHIFT in shifts else shifts[0])
    text = network.encode_text(case.noise("loop.text", (1, config.text_len, config.text_dim)))
    loop = BlockLoop(network, schedule, text, draw)
    blocks = []
    for first in range(0, frames, 3):
        part = slice(first, first + 3)
        blocks.append(loop.step(source[:, part], condition_channels(mask[:, part], render[:, part])))
    latents = torch.cat(blocks, dim=1)
    return {
        "latents.every4th": latents[..., ::4, ::4],
        "per_frame_mean": latents.mean(dim=(0, 2, 3, 4)),
        "per_frame_std": latents.std(dim=(0, 2, 3, 4)),
    }


def scheduler(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """Levels, times, the warped steps, and x0 noised to each of them, for every shift in the set."""
    clean, fresh = (case.noise(f"sch.{name}", (3, 16, 4, 6)) for name in ("x0", "noise"))
    outputs: dict[str, torch.Tensor] = {}
    for shift in _shifts(case):
        prefix = f"shift{shift:g}"
        sigmas = shifted_sigmas(shift)
        warped = warp_steps(STEPS, shift)
        outputs[f"{prefix}.sigmas"] = sigmas
        outputs[f"{prefix}.timesteps"] = sigmas * NUM_TRAIN_TIMESTEPS
        outputs[f"{prefix}.warped"] = warped * NUM_TRAIN_TIMESTEPS
        for step, sigma in enumerate(warped.tolist()):
            outputs[f"{prefix}.noisy{step}"] = add_noise(clean, fresh, sigma)
    return {name: compare(value, case.expected[name], EXACT_TOLERANCE) for name, value in outputs.items()}


def mask_pack(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    """Masks of several lengths, packed whole."""
    outputs: dict[str, torch.Tensor] = {}
    for name in case.stored:
        count = int(name.removeprefix("pack"))
        mask = torch.where(case.noise(f"mask.{count}", (1, 1, count, 48, 64)) > 0, 1.0, -1.0).to(device)
        outputs[name] = pack_mask(mask, first=True)
    return {name: compare(value, case.expected[name], EXACT_TOLERANCE) for name, value in outputs.items()}


CASES: dict[str, CaseFunction] = {
    "dit": dit,
    "block_loop": block_loop,
    "scheduler": scheduler,
    "mask_pack": mask_pack,
}
