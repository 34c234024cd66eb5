"""Time this code and the public code side by side in one process: one state dict, the same inputs, A B A B.

    python scripts/ab_public.py FOLDER                         FOLDER: a checkout of the public InSpatio-World code
    python scripts/ab_public.py FOLDER --device cuda --compile --output output/ab

The public code is never part of this project: it is imported from FOLDER, with small stand-ins for what it needs only
to load its classes (``STAND_INS`` below, printed with the result). Both sides get the same attention kernel, so that
what is compared is everything else; ``--attention public`` leaves the public side its own choice.

Every case runs both sides once, compares the outputs, and then times public, ours, public, ours ...: CPU seconds on a
CPU, wall seconds up to the end of the device's work on a GPU. The ratio is public / ours, so above 1 means that ours is
faster; the median of the pairs is given with the smallest and the largest. Weights are random. The result is one line
of JSON, written to ``--output`` after every case as well.

    dit          one steady block: prefill of six latent frames, four denoising steps of three with the sampler's
                 arithmetic (the public ``denoise_block``; its wrapper's conversion to x0 in float64 is retold)
    vae_encode   the Wan VAE's encoding of a clip's first 13 frames; ours in groups of 9 and 4, as a session does
    vae_decode   its decoding of 4 latents; ours 3 and 1
    tae_encode   TAEHV's encoding of 12 frames and the one before; ours in windows that remember (public: all at once)
    tae_decode   TAEHV's decoding of 4 latents; ours 3 and 1
    render       the forward splat of 12 frames, from frames and depth on the host to 8-bit frames and masks there
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from benches.measure import fill, report, size_argument
from benches.render import CHUNK, YAW_DEG, made_up_scene
from torch import nn

from inspatio.cameras import poses
from inspatio.cameras.cameras import Cameras, target_intrinsics
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.models.attention import attend_from_environment
from inspatio.models.wan.checkpoint import PUBLISHED, channels_last
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.optimize import compile_blocks, fuse_gelu, join_projections
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import LATENT_MEAN, LATENT_STD, WanDecoder, WanEncoder
from inspatio.render import WarpRenderer, render_scene

STAND_INS = {
    "diffusers": "ModelMixin is nn.Module, ConfigMixin and register_to_config do nothing",
    "wan, wan.modules, utils, pipeline": "packages without their __init__ files, which import other networks",
    "utils.wan_wrapper": "left out; its conversion of flow to x0 is retold in Wrapper",
    "datasets.utils": "left out; it makes trajectories",
    "torch.cuda.current_device": "answers with the CPU where the run is on the CPU",
    "PIL": "left out where it is not installed; it reads pictures",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
STEPS, SHIFT = (1000, 750, 500, 250), 5.0
FRAMES = 13

Work = Callable[[], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Setting:
    """What is compared on what."""

    public: Path
    device: torch.device
    dtype: torch.dtype
    size: tuple[int, int]
    layers: int
    compiled: bool
    own_attention: bool

    def random(self, *shape: int, seed: int = 0) -> torch.Tensor:
        values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return values.to(self.device, self.dtype)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time this code and the public code side by side.")
    parser.add_argument("public", type=Path, help="a checkout of the public InSpatio-World code")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="[all]")
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if on_gpu else "cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--dtype", choices=list(DTYPES), help="[bfloat16 on a GPU, float32 on a CPU]")
    parser.add_argument("--size", type=size_argument, metavar="WxH", help="[832x480 on a GPU, 224x128 on a CPU]")
    parser.add_argument("--layers", type=int, help="of the transformer [30 on a GPU, 4 on a CPU]")
    parser.add_argument("--pairs", type=int, default=5, help="timings of each side [5]")
    parser.add_argument("--compile", action="store_true", help="compile the transformer's layers on both sides")
    parser.add_argument("--attention", choices=["ours", "public"], default="ours", help="on the public side [ours]")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for ab_public.json, written as it goes")
    options = parser.parse_args(arguments)
    if not (options.public / "wan" / "modules" / "causal_model.py").is_file():
        parser.error(f"{options.public}: no wan/modules/causal_model.py in it, expected a checkout of the public code")
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    setting = Setting(
        public=options.public.resolve(),
        device=device,
        dtype=DTYPES[options.dtype or ("bfloat16" if cuda else "float32")],
        size=options.size or ((480, 832) if cuda else (128, 224)),
        layers=options.layers or (30 if cuda else 4),
        compiled=options.compile,
        own_attention=options.attention == "ours",
    )
    use_stand_ins(setting.public)
    results: dict[str, Any] = {"stand_ins": STAND_INS, "cases": {}}
    print(f"{'case':<12} {'public s':>9} {'ours s':>9} {'ratio':>6} {'pairs':>13} {'differ by':>10}")
    failed, line = False, ""
    for name in options.cases:
        try:
            with torch.inference_mode():
                results["cases"][name] = measured = compare(*CASES[name](setting), device, options.pairs)
        except Exception as error:  # noqa: BLE001 - the other cases are still worth measuring; the exit status is 1
            failed = True
            results["cases"][name] = {"error": f"{type(error).__name__}: {error}"}
            print(f"{name:<12} FAILED: {type(error).__name__}: {error}", flush=True)
        else:
            low, high = measured["pairs"]
            print(
                f"{name:<12} {measured['public_seconds']:9.3f} {measured['our_seconds']:9.3f} {measured['ratio']:6.2f} "
                f"{low:6.2f}-{high:<6.2f} {measured['differ_by']:10.1e}",
                flush=True,
            )
        line = report({**vars(options), "public": "the public code"}, results)
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / "ab_public.json").write_text(line + "\n", encoding="utf-8")
    print(line)
    return int(failed)


def compare(public: Work, ours: Work, device: torch.device, pairs: int) -> dict[str, Any]:
    """Compare the outputs of both sides, then time them in turn."""
    difference = max(differ_by(*both) for both in zip(public(), ours(), strict=True))
    timings: dict[str, list[float]] = {"public": [], "ours": []}
    for _ in range(pairs):
        for side, work in (("public", public), ("ours", ours)):
            timings[side].append(seconds(work, device))
    ratios = [a / b for a, b in zip(timings["public"], timings["ours"], strict=True)]
    return {
        "public_seconds": round(statistics.median(timings["public"]), 5),
        "our_seconds": round(statistics.median(timings["ours"]), 5),
        "ratio": round(statistics.median(ratios), 3),
        "pairs": [round(min(ratios), 3), round(max(ratios), 3)],
        "differ_by": difference,
    }


def differ_by(expected: torch.Tensor, got: torch.Tensor) -> float:
    """max |got - expected| / max |expected|; of 8-bit pictures the share of values that are off by more than a level,
    since splats at the edge of a hole may fall on either side of it."""
    assert expected.shape == got.shape, f"outputs of {tuple(got.shape)}, expected {tuple(expected.shape)}"
    apart = (got.double() - expected.double()).abs()
    if expected.dtype == torch.uint8:
        return float((apart > 1).double().mean())
    return float(apart.max() / expected.double().abs().max())


def seconds(work: Work, device: torch.device) -> float:
    if device.type != "cuda":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def use_stand_ins(public: Path) -> None:
    """Make the public modules importable without what they need only to be loaded; see ``STAND_INS``."""

    def module(name: str, **content: Any) -> None:
        sys.modules[name] = made = ModuleType(name)
        vars(made).update(content)

    def unchanged(function: Any) -> Any:
        return function

    module("diffusers")
    module("diffusers.configuration_utils", ConfigMixin=object, register_to_config=unchanged)
    module("diffusers.models")
    module("diffusers.models.modeling_utils", ModelMixin=nn.Module)
    for package in ("wan", "wan.modules", "utils", "pipeline"):
        module(package, __path__=[str(public / package.replace(".", "/"))])
    module("utils.wan_wrapper", WanDiffusionWrapper=None, WanTextEncoder=None, WanVAEWrapper=None)
    module("datasets")
    module("datasets.utils", generate_traj_txt=None)
    if importlib.util.find_spec("PIL") is None:
        module("PIL", Image=None)


# --- the transformer ------------------------------------------------------------------------------------------------


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


# --- the autoencoders -----------------------------------------------------------------------------------------------


def wan_pair(setting: Setting) -> tuple[Any, Any, Any, list[torch.Tensor]]:
    """Public VAE, our encoder and decoder with the same weights, and the public scale of latents."""
    with torch.device("meta"):
        encoder, decoder = WanEncoder(), WanDecoder()
    for half in (encoder, decoder):
        fill(half, setting.device)
        half.to(setting.dtype)
    with torch.device("meta"):
        public = importlib.import_module("wan.modules.vae").WanVAE_(
            dim=96, z_dim=16, temperal_downsample=[False, True, True]
        )
    # Copies, since ours are laid out for convolutions and the public ones stay as they were loaded.
    state = {name: value.clone() for half in (encoder, decoder) for name, value in half.state_dict().items()}
    public.load_state_dict(state, assign=True)
    scale = [torch.tensor(LATENT_MEAN), 1 / torch.tensor(LATENT_STD)]
    if setting.device.type == "cuda":
        for half in (encoder, decoder):
            channels_last(half)
    scale = [each.to(setting.device, setting.dtype) for each in scale]
    return public.requires_grad_(False).eval(), encoder.eval(), decoder.eval(), scale


def vae_encode(setting: Setting) -> tuple[Work, Work]:
    public, encoder, _, scale = wan_pair(setting)
    video = setting.random(1, 3, FRAMES, *setting.size).clamp(-1, 1)

    def run_ours() -> Sequence[torch.Tensor]:
        state = encoder.start()
        return [torch.cat([encoder.encode(part, state) for part in video.split([9, 4], dim=2)], dim=1)]

    return lambda: [public.encode(video, scale).transpose(1, 2)], run_ours


def vae_decode(setting: Setting) -> tuple[Work, Work]:
    public, _, decoder, scale = wan_pair(setting)
    latents = setting.random(1, 4, 16, *(side // 8 for side in setting.size))

    def run_ours() -> Sequence[torch.Tensor]:
        state = decoder.start()
        return [torch.cat([decoder.decode(part, state) for part in latents.split([3, 1], dim=1)], dim=2)]

    return lambda: [public.decode(latents.transpose(1, 2), scale).clamp(-1, 1)], run_ours


def tae_pair(setting: Setting) -> tuple[Any, Any, Any]:
    with torch.device("meta"):
        encoder, decoder = TaeEncoder(), TaeDecoder()
    for half in (encoder, decoder):
        fill(half, setting.device)
        half.to(setting.dtype)
    state = {name: value.clone() for half in (encoder, decoder) for name, value in half.state_dict().items()}
    with torch.device("meta"):
        public = importlib.import_module("utils.taehv").TAEHV(checkpoint_path=None)
    public.load_state_dict(state, assign=True)
    if setting.device.type == "cuda":
        for half in (encoder, decoder):
            channels_last(half)
    return public.requires_grad_(False).eval(), encoder.eval(), decoder.eval()


def tae_encode(setting: Setting) -> tuple[Work, Work]:
    public, encoder, _ = tae_pair(setting)
    video = setting.random(1, 3, FRAMES, *setting.size).clamp(-1, 1)

    def run_public() -> Sequence[torch.Tensor]:
        return [public.encode_video(video.transpose(1, 2) * 0.5 + 0.5, parallel=True, show_progress_bar=False)]

    def run_ours() -> Sequence[torch.Tensor]:
        state = encoder.start()
        first = encoder.encode(video[:, :, :9], state, video[:, :, 9:12])
        return [torch.cat([first, encoder.encode(video[:, :, 9:], state)], dim=1)]

    return run_public, run_ours


def tae_decode(setting: Setting) -> tuple[Work, Work]:
    public, _, decoder = tae_pair(setting)
    latents = setting.random(1, 4, 16, *(side // 8 for side in setting.size))

    def run_public() -> Sequence[torch.Tensor]:
        video = public.decode_video(latents, parallel=True, show_progress_bar=False)
        return [video.transpose(1, 2) * 2 - 1]

    def run_ours() -> Sequence[torch.Tensor]:
        state = decoder.start()
        return [torch.cat([decoder.decode(part, state) for part in latents.split([3, 1], dim=1)], dim=2)]

    return run_public, run_ours


# --- the renderer ---------------------------------------------------------------------------------------------------


def render(setting: Setting) -> tuple[Work, Work]:
    sys.path.insert(0, str(setting.public))
    spec = importlib.util.spec_from_file_location("public_render", setting.public / "scripts" / "render_point_cloud.py")
    assert spec is not None, "a file of that name has a loader"
    assert spec.loader is not None, "a file of that name has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    warper = module.DepthWarper()
    scene = made_up_scene(CHUNK, setting.size)
    orbit = poses.invert(poses.orbit(0.0, np.linspace(0, YAW_DEG, CHUNK), scene.foreground_depth()))
    targets = Cameras.from_poses(orbit, target_intrinsics(scene.intrinsics[0], scene.size))
    frames, depth = scene.read_frames(range(CHUNK)), scene.read_depth(range(CHUNK))
    source = scene.cameras(range(CHUNK))
    renderer = WarpRenderer(setting.device)

    def run_public() -> Sequence[torch.Tensor]:
        def on_device(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(values).to(setting.device, torch.float32)

        pictures = on_device(frames).permute(0, 3, 1, 2) / 127.5 - 1
        warped, seen = warper.forward_warp(
            pictures,
            None,
            on_device(depth)[:, None],
            on_device(source.world_to_camera),
            on_device(targets.world_to_camera),
            on_device(source.intrinsics),
            on_device(targets.intrinsics),
        )
        levels = ((warped + 1) * 127.5).round_().to(torch.uint8).permute(0, 2, 3, 1).cpu()
        return [levels, (seen[:, 0] * 255).to(torch.uint8).cpu()]

    def run_ours() -> Sequence[torch.Tensor]:
        made = render_scene(renderer, scene, 0, targets)
        return [torch.from_numpy(made.frames), torch.from_numpy(made.masks)]

    return run_public, run_ours


CASES: dict[str, Callable[[Setting], tuple[Work, Work]]] = {
    "dit": dit,
    "vae_encode": vae_encode,
    "vae_decode": vae_decode,
    "tae_encode": tae_encode,
    "tae_decode": tae_decode,
    "render": render,
}

if __name__ == "__main__":
    sys.exit(main())
