"""Golden cases of the Wan models and the loop over blocks.

The sets of the video autoencoders hold whole clips. Here each clip goes through in one group, and in the smallest
groups: the larger error of both counts, so that streaming is compared with the published numbers too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from einops import rearrange

from inspatio.evaluation.golden import EXACT_TOLERANCE, TOLERANCES, GoldenCase, Measured, Outputs, compare
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.inspatio_world.condition import condition_channels, pack_mask
from inspatio.generation.sampler import NUM_TRAIN_TIMESTEPS, add_noise, shifted_sigmas, warp_steps
from inspatio.models.wan.checkpoint import parse_config
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.text_encoder import make_network
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.models.weights import load_strict

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
    dit.load_state_dict(case.weights(prefix, shapes), assign=True)
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


def loop_blocks(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Yield ``b f c h w`` latents of each block through the whole sampler, under the shift of the set."""
    network = _load(case, "loop.", device, dtype)
    config = network.config
    frames, shape = 3 * case.manifest["blocks"], tuple(case.manifest["renoise_shapes"][0][1:])
    noise, source, render = (
        case.noise(f"loop.{name}", (1, frames, *shape)).to(device) for name in ("noise", "ref", "render")
    )
    mask = torch.where(case.noise("loop.mask", (1, frames, 4, *shape[1:])) > 0, 1.0, -1.0).to(device)

    def drawn(block: int) -> torch.Tensor:
        again = range(block * (len(STEPS) - 1), (block + 1) * (len(STEPS) - 1))
        fresh = [case.noise(f"loop.renoise{k}", (1, 3, *shape)).to(device) for k in again]
        return torch.stack([noise[:, 3 * block : 3 * block + 3], *fresh])

    shifts = _shifts(case)
    schedule = Schedule.make(network, STEPS, PUBLISHED_SHIFT if PUBLISHED_SHIFT in shifts else shifts[0])
    text = network.encode_text(case.noise("loop.text", (1, config.text_len, config.text_dim)))
    loop = BlockLoop(network, schedule, text)
    for block in range(case.manifest["blocks"]):
        part = slice(3 * block, 3 * block + 3)
        yield loop.step(source[:, part], condition_channels(mask[:, part], render[:, part]), drawn(block))


def loop_figures(latents: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compute what the set stores of latents ``b f c h w``; each figure is indexed by frame in some axis."""
    return {
        "latents.every4th": latents[..., ::4, ::4],
        "per_frame_mean": latents.mean(dim=(0, 2, 3, 4)),
        "per_frame_std": latents.std(dim=(0, 2, 3, 4)),
    }


def block_loop(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    return loop_figures(torch.cat(list(loop_blocks(case, device, dtype)), dim=1))


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


def lengths(case: GoldenCase, kind: str) -> list[int]:
    """The clip lengths of a case, from its tensors' names (``encode13``: 13)."""
    return sorted(int(name.removeprefix(kind)) for name in case.stored if name.startswith(kind))


VAE_TOLERANCES = {**TOLERANCES, torch.bfloat16: 1e-1}
"""With random weights, rounding the VAE's weights alone to bfloat16 and computing in float32 is off by 4e-2 already."""


def worst(case: GoldenCase, name: str, tolerance: float, *results: torch.Tensor) -> Measured:
    """The result that is furthest from the stored tensor."""
    measured = [compare(result, case.stored[name], tolerance) for result in results]
    return max(measured, key=lambda m: (m.error != m.error, m.error))


def load_half(
    model: torch.nn.Module,
    weights: dict[str, torch.Tensor],
    omitted: tuple[str, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """An encoder or a decoder from a case's weights without the other half's."""

    def rename(key: str) -> str | None:
        return None if key.startswith(omitted) else key

    load_strict(model, weights, source=Path("golden set"), rename=rename, device=device, dtype=dtype)


def wan_vae(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    weights = case.weights("vae.")
    width = case.manifest["dim"]
    encoder, decoder = WanEncoder(width), WanDecoder(width)
    for model, other in ((encoder, ("decoder.", "conv2.")), (decoder, ("encoder.", "conv1."))):
        load_half(model, weights, other, device, dtype)
    outputs: dict[str, Measured] = {}
    for t in lengths(case, "encode"):
        shape = (1, 3, t, *(8 * side for side in case.stored[f"encode{t}"].shape[-2:]))
        video = case.noise(f"vae.video{t}", shape).clamp(-1, 1).to(device, dtype)
        whole = encoder.encode(video, encoder.start())
        state = encoder.start()
        groups = [video[:, :, :1], *video[:, :, 1:].split(4, dim=2)] if t > 1 else [video]
        cut = torch.cat([encoder.encode(group, state) for group in groups], dim=1)
        outputs[f"encode{t}"] = worst(
            case, f"encode{t}", VAE_TOLERANCES[dtype], *(x.transpose(1, 2) for x in (whole, cut))
        )

        latents = case.stored[f"encode{t}"].transpose(1, 2).to(device, dtype)
        whole = decoder.decode(latents, decoder.start())
        state = decoder.start()
        cut = torch.cat([decoder.decode(latent, state) for latent in latents.split(1, dim=1)], dim=2)
        outputs[f"decode{t}"] = worst(case, f"decode{t}", VAE_TOLERANCES[dtype], whole, cut)
    return outputs


def taehv(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    weights = case.weights("tae.")
    width = case.keys["encoder.0.weight"][0]
    encoder, decoder = TaeEncoder(width), TaeDecoder(width)
    for model, other in ((encoder, "decoder."), (decoder, "encoder.")):
        load_half(model, weights, (other,), device, dtype)
    outputs: dict[str, Measured] = {}
    for t in lengths(case, "encode"):
        _, f, _, h, w = case.stored[f"encode{t}"].shape
        frames = (case.noise(f"tae.video{t}", (1, t, 3, 8 * h, 8 * w)) * 0.25 + 0.5).clamp(0, 1)
        video = (frames.transpose(1, 2) * 2 - 1).to(device, dtype)
        # A group is 1 + 4 k frames; those beyond, of clips that are not, are the frames that follow it.
        count = 4 * f - 3
        whole = encoder.encode(video[:, :, :count], encoder.start(), video[:, :, count:])
        state = encoder.start()
        cut = [encoder.encode(video[:, :, :1], state, video[:, :, 1:4])]
        cut += [encoder.encode(video[:, :, i : i + 4], state, video[:, :, i + 4 : i + 7]) for i in range(1, count, 4)]
        outputs[f"encode{t}"] = worst(case, f"encode{t}", TOLERANCES[dtype], whole, torch.cat(cut, dim=1))
    for f in lengths(case, "decode"):
        _, _, _, h, w = case.stored[f"decode{f}"].shape
        latents = case.noise(f"tae.latent{f}", (1, f, 16, h // 8, w // 8)).to(device, dtype)
        whole = decoder.decode(latents, decoder.start())
        state = decoder.start()
        cut = torch.cat([decoder.decode(latent, state) for latent in latents.split(1, dim=1)], dim=2)
        outputs[f"decode{f}"] = worst(
            case, f"decode{f}", TOLERANCES[dtype], *(x.transpose(1, 2) * 0.5 + 0.5 for x in (whole, cut))
        )
    return outputs


TEXT_TOLERANCES = {**TOLERANCES, torch.bfloat16: 1e-1}
"""With random weights, rounding the weights alone to bfloat16 and computing in float32 is off by 6e-2 already."""


def umt5(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    network = make_network(case.weights("t5."), Path("golden set"), device=device, dtype=dtype)
    ids, mask = case.stored_input("ids").to(device), case.stored_input("mask").to(device)
    embeddings = torch.zeros(*ids.shape, network.config.d_model, device=device, dtype=dtype)
    # As in use: each prompt on its own, without its padding.
    for row, (prompt, present) in enumerate(zip(ids, mask.bool(), strict=True)):
        embeddings[row, present] = network(input_ids=prompt[present][None]).last_hidden_state[0]
    return {"embeds": compare(embeddings, case.stored["embeds"], TEXT_TOLERANCES[dtype])}
