"""``bench.py agreement``: ways of computing the same thing held to each other, at the published size.

    python scripts/bench.py agreement --device cuda                            what no test on a CPU can tell
    python scripts/bench.py agreement --device cpu --model tiny --size 64x32   the same checks, small

    kernels     this project's own Triton kernels, on tiles that are not full and views, against their plain statements
    attention   every backend at the shapes of a block, keys and values being a view of the cache, against softmax
                written out in float32, on some of the queries
    block       four blocks from random weights: again, compiled, as CUDA graphs, both, and in 8 bits, against plain
                ones; ``relative`` is |difference| / |plain| over all latents
    overlap     the frames of a session whose parts have CUDA streams of their own, against plain order: equal
    renderers   frames and masks drawn on the device against the CPU's: share of values that are off by more than 1
    worldfm     a pass of WorldFM's network, compiled and in 8 bits, against a plain one

What this machine cannot do is listed under ``skipped`` with the reason. The exit status is 1 if anything fails.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from benches.generate import MODELS, clip, make_generator
from benches.measure import Bench, fill, size_argument

from inspatio.config import GeneratorConfig
from inspatio.generation.base import drive
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.inspatio_world.cuda_graphs import GraphedBlockLoop
from inspatio.models.attention import BACKENDS, attend_from_environment, attention, why_not
from inspatio.models.attention_8bit import GATE, attention_8bit, by_kernel
from inspatio.models.attention_8bit import plain as plain_attention_8bit
from inspatio.models.attention_8bit import why_not as why_not_8bit
from inspatio.models.compilation import why_it_fails
from inspatio.models.wan import norm
from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.wan.optimize import (
    compile_blocks,
    fuse_gelu,
    join_projections,
    quantize_fp8,
    round_attention,
    why_no_fp8,
)
from inspatio.models.worldfm.dit import LATENT_CHANNELS, WorldFM, WorldFMConfig
from inspatio.render import PointRenderer, WarpRenderer, render_scene

Outcome: TypeAlias = "tuple[str, float, float] | str"
"""Name, error and limit of a comparison; or what was skipped, and why."""

CHECKS = ("kernels", "attention", "overlap", "renderers", "worldfm", "block")
WAYS = ("again", "compiled", "graphs", "compiled graphs", "fp8")
STEPS, SHIFT = (1000, 750, 500, 250), 5.0
BLOCKS = 4
LIMITS = {
    "attention": {torch.float32: 1e-5, torch.bfloat16: 2e-2},
    "block": {torch.float32: 1e-4, torch.bfloat16: 3e-2},
    "fp8": 0.2,
    "norm kernel": 2**-7,
    "attention kernel": 0.03,
    "renderers": 2e-3,
}
"""Largest error allowed; roundings of bfloat16 add up over 30 layers, four steps and four blocks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS), help="[all]")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of computing a block [all]")
    parser.add_argument("--model", choices=list(MODELS), default="1.3b", help="size of the random network [1.3b]")
    parser.add_argument("--size", type=size_argument, metavar="WxH", default=(480, 832), help="frame size [832x480]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1")


@torch.inference_mode()
def run(options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    checks: dict[str, Callable[[], Iterator[Outcome]]] = {
        "kernels": lambda: check_kernels(device),
        "worldfm": lambda: check_worldfm(options.model == "tiny", device, dtype, options.ways),
        "attention": lambda: check_attention(MODELS[options.model], options.size, device, dtype),
        "block": lambda: check_block(MODELS[options.model], options.size, device, dtype, options.ways),
        "overlap": lambda: check_overlap(options.model, options.size, device),
        "renderers": lambda: check_renderers(options.size, device),
    }
    results: dict[str, Any] = {"passed": True, "skipped": [], "measured": {}}
    for check in options.checks:
        for outcome in checks[check]():
            if isinstance(outcome, str):
                results["skipped"].append(outcome)
                print(f"skipped: {outcome}", flush=True)
                continue
            name, error, limit = outcome
            passed = error <= limit  # False for NaN
            results["passed"] &= passed
            results["measured"][name] = {"relative": error, "limit": limit}
            print(f"{name:<40} {error:10.2e} {limit:10.1e}  {'pass' if passed else 'FAIL'}", flush=True)
    return results


def check_kernels(device: torch.device) -> Iterator[Outcome]:
    if device.type != "cuda":
        yield "kernels: Triton kernels need an NVIDIA GPU"
        return
    random = torch.Generator().manual_seed(0)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random).to(device, torch.bfloat16)

    def error(work: Callable[[], torch.Tensor], expected: torch.Tensor) -> float:
        got: list[torch.Tensor] = []
        if reason := why_it_fails(lambda: got.append(work())):
            print(f"does not run: {reason}", flush=True)
        return relative(got[0], expected) if got else math.inf

    for frames, past, channels in ((1, 2, 96), (12, 2, 96), (4, 2, 192), (3, 1, 384)):
        gamma = tensor(channels)
        # Bands of longer frames: the rows beside them must stay as they are.
        whole = [tensor(count, 1000, channels) for count in (frames, past, past + frames)]

        def normed(work: Callable[..., None], gamma=gamma, whole=whole) -> torch.Tensor:
            x, tail, padded = (each.clone() for each in whole)
            work(x[:, 7:900], gamma, tail[:, 7:900], padded[:, 7:900])
            return torch.cat((tail, padded))

        name = f"norm kernel {frames}x893x{channels}"
        yield name, error(lambda f=normed: f(norm.by_kernel), normed(norm.plain)), LIMITS["norm kernel"]
    for n, m, d in ((5, 7, 32), (130, 100, 64), (1560, 4680, 128)):
        query, (key, value) = tensor(2, n, 3, d), (tensor(2, 2 * m, 3, d)[:, :m] for _ in range(2))
        expected = plain_attention_8bit(query, key + 3, value)
        name = f"attention kernel {n}x{m}x{d}"
        got = error(lambda q=query, k=key, v=value: by_kernel(q, k + 3, v), expected)
        yield name, got, LIMITS["attention kernel"]


def check_worldfm(tiny: bool, device: torch.device, dtype: torch.dtype, ways: list[str]) -> Iterator[Outcome]:
    config, side = (WorldFMConfig(hidden_size=96, depth=2, num_heads=4), 8) if tiny else (WorldFMConfig(), 64)
    with torch.device("meta"):
        blank = WorldFM(config, attend_from_environment())
    fill(blank, device)
    state = blank.state_dict()
    random = torch.Generator().manual_seed(0)
    pictures = [torch.randn(1, LATENT_CHANNELS, side, side, generator=random).to(device) for _ in range(3)]

    def predict(way: str) -> torch.Tensor:
        with torch.device("meta"):
            network = WorldFM(config, attend_from_environment())
        network.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
        network.place(device, dtype).requires_grad_(False)
        if way == "fp8":
            quantize_fp8(network, device)
        if way == "compiled":
            compile_blocks(network)
        return network(*pictures, network.time_modulation(torch.tensor([999])))

    plain = predict("plain")
    for way in ("compiled", "fp8"):
        if way not in ways:
            continue
        if way == "fp8" and (reason := why_no_fp8(device)):
            yield f"worldfm fp8: {reason}"
            continue
        limit = LIMITS["fp8"] if way == "fp8" else LIMITS["block"][dtype]
        yield f"worldfm {way}", relative(predict(way), plain), limit


def check_attention(
    config: DiTConfig, size: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> Iterator[Outcome]:
    tokens = size[0] * size[1] // 256
    room = 9 * tokens
    random = torch.Generator().manual_seed(0)

    def tensor(count: int) -> torch.Tensor:
        shape = (1, count, config.num_heads, config.head_size)
        return torch.randn(shape, generator=random).to(device, dtype)

    keys, values, some = tensor(room), tensor(room), slice(None, None, max(1, tokens // 16))
    for queries, attended in ((3, 9), (3, 6), (6, 6), (3, 3)):
        query = tensor(queries * tokens)
        key, value = keys[:, : attended * tokens], values[:, : attended * tokens]
        exact = attention(query[:, some].float(), key.float(), value.float(), "math")
        for backend in BACKENDS[:-1]:
            name = f"attention {backend} {query.shape[1]}x{key.shape[1]}"
            if reason := why_not(backend, query.device, dtype, config.head_size):
                yield f"{name}: {reason}"
                continue
            got = attention(query, key, value, backend)[:, some].float()
            yield name, relative(got, exact), LIMITS["attention"][dtype]
        if device.type == "cuda" and (reason := why_not_8bit(device)):
            yield f"attention in 8 bits: {reason}"
            continue
        got = attention_8bit(query, key, value)[:, some]
        yield f"attention in 8 bits {query.shape[1]}x{key.shape[1]}", relative(got.float(), exact), GATE


def check_block(
    config: DiTConfig, size: tuple[int, int], device: torch.device, dtype: torch.dtype, ways: list[str]
) -> Iterator[Outcome]:
    with torch.device("meta"):
        blank = CausalDiT(config, attend_from_environment())
    fill(blank, device)
    state = blank.state_dict()

    def network() -> CausalDiT:
        with torch.device("meta"):
            dit = CausalDiT(config, attend_from_environment())
        dit.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
        return dit.place(device, dtype).requires_grad_(False)

    plain = blocks(network(), size, BlockLoop)
    on_gpu = device.type == "cuda"
    for way in ways:
        name, dit = f"block {way}", network()
        limit = LIMITS["fp8"] if way == "fp8" else 0.0 if way == "again" else LIMITS["block"][dtype]
        if "graphs" in way and not on_gpu:
            yield f"{name}: CUDA graphs need an NVIDIA GPU"
            continue
        if way == "fp8" and (reason := why_no_fp8(device)):
            yield f"{name}: {reason}"
            continue
        if way == "fp8":
            round_attention(quantize_fp8(dit, device), device)
        if on_gpu and way != "again":
            fuse_gelu(dit)
        if "compiled" in way:
            compile_blocks(join_projections(dit))
        make_loop = GraphedBlockLoop if "graphs" in way else BlockLoop
        yield name, relative(blocks(dit, size, make_loop), plain), limit


def blocks(dit: CausalDiT, size: tuple[int, int], make_loop: Callable[..., BlockLoop]) -> torch.Tensor:
    """Latents of the first blocks of a made-up clip, computed on a stream as a session's are."""
    rows, columns = (side // 8 for side in size)
    random = torch.Generator().manual_seed(1)

    def latents(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, rows, columns, generator=random).to(dit.device)

    text = dit.encode_text(torch.randn(1, dit.config.text_len, dit.config.text_dim, generator=random))
    stream = torch.cuda.Stream(dit.device) if dit.device.type == "cuda" else None
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream(dit.device))
    with torch.cuda.stream(stream):
        loop = make_loop(dit, Schedule.make(dit, STEPS, SHIFT), text)
        made = [loop.step(latents(1, 3, 16), latents(1, 3, 20), latents(len(STEPS), 1, 3, 16)) for _ in range(BLOCKS)]
    if stream is not None:
        stream.synchronize()
    return torch.cat(made)


def check_overlap(model: str, size: tuple[int, int], device: torch.device) -> Iterator[Outcome]:
    if device.type != "cuda":
        yield "overlap: CUDA streams need an NVIDIA GPU"
        return
    generator = make_generator(GeneratorConfig(encoder="taehv", decoder="taehv"), size, device, MODELS[model])
    generator.renderer = WarpRenderer("cpu")  # whose frames are the same every time
    together = frames(generator)
    generator.streams = type(generator.streams).make(device, overlap=False)
    yield "overlap against plain order", relative(frames(generator), together), 0.0


def frames(generator: Any) -> torch.Tensor:
    scene, targets = clip(generator, BLOCKS)
    made = [block.frames.clone() for block in drive(generator.start(scene, seed=0), targets)]
    return torch.cat(made).float()


def check_renderers(size: tuple[int, int], device: torch.device) -> Iterator[Outcome]:
    if device.type == "cpu":
        yield "renderers: the device is the CPU"
        return
    for name, kind in (("warper", WarpRenderer), ("ply", PointRenderer)):
        generator = argparse.Namespace(options=argparse.Namespace(size=size))
        scene, targets = clip(generator, 2)  # pyright: ignore[reportArgumentType] - it reads the size alone
        expected, got = (render_scene(kind(where), scene, 0, targets[:12]) for where in ("cpu", device))
        for part in ("frames", "masks"):
            apart = np.abs(getattr(got, part).astype(int) - getattr(expected, part)) > 1
            yield f"renderers {name} {part}", float(apart.mean()), LIMITS["renderers"]


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected.double()).norm() / expected.double().norm())


BENCH = Bench(add_arguments, run)
