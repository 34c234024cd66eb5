"""A steady block of the transformer by both codes."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from ab_cases.setting import Setting, Work
from benches.measure import fill
from torch import nn

from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.models.attention import attend_from_environment
from inspatio.models.wan.checkpoint import PUBLISHED
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.optimize import compile_blocks, fuse_gelu, join_projections

STEPS, SHIFT = (1000, 750, 500, 250), 5.0


class Wrapper:
    """The public ``WanDiffusionWrapper`` around its network: axes, and flow to x0 in float64."""

    def __init__(self, network: nn.Module, scheduler: Any) -> None:
        self.network, self.scheduler = network, scheduler

    def __call__(
        self,
        noisy_image_or_video: torch.Tensor,
        conditional_dict: dict[str, Any],
        timestep: torch.Tensor,
        kv_cache: list[dict[str, torch.Tensor]],
        kv_size: tuple[int, int],
        render_latent_input: torch.Tensor,
        freqs_offset: int,
    ) -> Any:
        flow = self.network(
            noisy_image_or_video.permute(0, 2, 1, 3, 4).contiguous(),
            t=timestep,
            context=conditional_dict["prompt_embeds"],
            seq_len=10**6,
            kv_cache=kv_cache,
            kv_size=kv_size,
            render_latent_input=render_latent_input.permute(0, 2, 1, 3, 4).contiguous(),
            freqs_offset=freqs_offset,
        ).permute(0, 2, 1, 3, 4)
        if kv_size[1] < 0:
            return flow
        flat, noisy, at = flow.flatten(0, 1), noisy_image_or_video.flatten(0, 1), timestep.flatten(0, 1)
        exact, xt, sigmas, times = (
            x.double().to(flow.device) for x in (flat, noisy, self.scheduler.sigmas, self.scheduler.timesteps)
        )
        index = torch.argmin((times.unsqueeze(0) - at.unsqueeze(1)).abs(), dim=1)
        clean = (xt - sigmas[index].reshape(-1, 1, 1, 1) * exact).to(flat.dtype)
        return flow, clean.unflatten(0, flow.shape[:2])


def dit(setting: Setting) -> tuple[Work, Work]:
    """One steady block of both."""
    config = replace(PUBLISHED[1536], num_layers=setting.layers)
    rows, columns = (side // 8 for side in setting.size)
    attend = attend_from_environment()
    with torch.device("meta"):
        ours = CausalDiT(config, attend)
    fill(ours, setting.device)
    ours.place(setting.device, setting.dtype)
    network = public_network(setting, config, ours.state_dict())
    scheduler_class = importlib.import_module("utils.scheduler").FlowMatchScheduler
    scheduler = scheduler_class(shift=SHIFT, sigma_min=0.0, extra_one_step=True)
    scheduler.set_timesteps(1000, training=True)
    denoise_block = importlib.import_module("pipeline.causal_inference").denoise_block
    wrapper = Wrapper(network, scheduler)

    def latents(channels: int, seed: int) -> torch.Tensor:
        return setting.random(1, 3, channels, rows, columns, seed=seed)

    source, previous, mask_and_render = latents(16, 1), latents(16, 2), latents(20, 3)
    noise = torch.randn(len(STEPS), 1, 3, 16, rows, columns, generator=torch.Generator().manual_seed(4))
    noise = noise.to(setting.device, setting.dtype)
    prompt = setting.random(1, config.text_len, config.text_dim, seed=5)
    times = torch.cat((scheduler.timesteps.cpu(), torch.zeros(1)))[1000 - torch.tensor(STEPS)]
    tokens = rows * columns // 4
    cache_shape = (1, 6 * tokens, config.num_heads, config.head_size)
    cache = [
        {part: torch.zeros(cache_shape, device=setting.device, dtype=setting.dtype) for part in ("k", "v")}
        for _ in range(config.num_layers)
    ]

    class SameNoise:
        """The scheduler, whose fresh noise (drawn all the same) is replaced by the block's, so that outputs compare."""

        def __init__(self) -> None:
            self.drawn = 0

        def add_noise(self, clean: torch.Tensor, fresh: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            self.drawn += 1
            return scheduler.add_noise(clean, noise[self.drawn].flatten(0, 1), at)

    zeros = torch.zeros_like(source)
    context = torch.cat([torch.cat([part, zeros[:, :, :4], zeros], dim=2) for part in (source, previous)], dim=1)

    def run_public() -> Sequence[torch.Tensor]:
        with on_its_device(setting.device):
            clean, _ = denoise_block(
                wrapper,
                SameNoise(),
                noise[0],
                {"prompt_embeds": prompt},
                cache,
                context_frames=context,
                render_block=mask_and_render,
                denoising_kv_size=6 * tokens,
                denoising_steps=times,
            )
        return [clean]

    if setting.device.type == "cuda":
        fuse_gelu(ours)
    if setting.compiled:
        compile_blocks(join_projections(ours))
    schedule = Schedule.make(ours, STEPS, SHIFT)
    loop = BlockLoop(ours, schedule, ours.encode_text(prompt))
    unit = noise.float()

    def run_ours() -> Sequence[torch.Tensor]:
        loop.previous = previous
        return [loop.step(source, mask_and_render, unit)]

    return run_public, run_ours


def on_its_device(device: torch.device) -> AbstractContextManager[Any]:
    """Without a GPU, answer the public code's question for the current CUDA device with the CPU."""
    if device.type == "cuda":
        return torch.cuda.device(device)
    return mock.patch.object(torch.cuda, "current_device", return_value=device)


def public_network(setting: Setting, config: Any, state: dict[str, torch.Tensor]) -> nn.Module:
    module = importlib.import_module("wan.modules.causal_model")
    layers = importlib.import_module("wan.modules.model")
    if setting.own_attention:
        attend = attend_from_environment()

        def same_kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **_: Any) -> torch.Tensor:
            return attend(q, k, v)

        vars(module)["attention"] = vars(layers)["flash_attention"] = same_kernel
        vars(layers)["FLASH_ATTN_2_AVAILABLE"] = True  # takes the branch that calls flash_attention
    with torch.device("meta"):
        network = module.CausalWanModel(
            in_dim=config.in_dim,
            dim=config.dim,
            ffn_dim=config.ffn_dim,
            freq_dim=config.freq_dim,
            text_dim=config.text_dim,
            text_len=config.text_len,
            out_dim=config.out_dim,
            num_heads=config.num_heads,
            num_layers=config.num_layers,
        )
    network.load_state_dict(state, assign=True)
    network.to(setting.dtype).requires_grad_(False).eval()
    if setting.compiled:
        for block in network.blocks:
            block.compile(mode="max-autotune-no-cudagraphs" if setting.device.type == "cuda" else None)
    return network
