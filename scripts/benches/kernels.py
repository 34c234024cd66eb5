"""``bench.py kernels``: single kernels at the shapes of a block, which decide what is worth optimising.

python scripts/bench.py kernels --device cuda

ceilings       an 8192^3 product and a copy of 1 GiB: what this device reaches at all
products       the transformer's, plain, with GELU in the product, and in 8 bits with the rounding of their input
attention      every backend at the four shapes of self-attention and at the prompt's
convolutions   the widest of the autoencoders, channels first and channels last
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from benches.measure import Bench, gpu_state, median_seconds
from torch import nn

from inspatio.models.attention import BACKENDS, attention, why_not
from inspatio.models.wan.checkpoint import PUBLISHED
from inspatio.models.wan.optimize import Float8Linear, LinearGelu, why_no_fp8

CONVOLUTIONS = {
    "wan 96, 6 frames 480x832": (nn.Conv3d, 96, (1, 96, 6, 482, 834), 3),
    "wan 192, 6 frames 240x416": (nn.Conv3d, 192, (1, 192, 6, 242, 418), 3),
    "wan 384, 5 frames 120x208": (nn.Conv3d, 384, (1, 384, 5, 122, 210), 3),
    "taehv 64, 12 frames 480x832": (nn.Conv2d, 64, (12, 64, 480, 832), 3),
    "taehv 256, 3 frames 60x104": (nn.Conv2d, 256, (3, 256, 60, 104), 3),
}
"""Module, channels, input and kernel size, by name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=1560, help="of a latent frame [1560, as at 832x480]")
    parser.add_argument("--repeats", type=int, default=20, help="timings of each kernel [20]")
    parser.add_argument("--no_convolutions", action="store_true", help="leave the convolutions out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1")


@torch.inference_mode()
def run(options: argparse.Namespace) -> dict[str, Any]:
    device, config = torch.device(options.device), PUBLISHED[1536]
    results: dict[str, Any] = {"skipped": []}

    def micros(work: Callable[[], object]) -> float:
        return round(1e6 * median_seconds(work, repeats=options.repeats, warm_up=3, device=device), 1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, dtype=torch.bfloat16)

    def note(group: str, name: str, work: Callable[[], object]) -> None:
        results.setdefault(group, {})[name] = taken = micros(work)
        print(f"{group:>12} {name:<44} {taken:12.1f} us", flush=True)

    if device.type == "cuda":
        a, b, big = random(8192, 8192), random(8192, 8192), random(2**29)
        note("ceilings", "product 8192^3", lambda: a @ b)
        note("ceilings", "copy of 1 GiB", big.clone)
        del a, b, big
    no_fp8 = why_no_fp8(device)
    if no_fp8:
        results["skipped"].append(f"8-bit products: {no_fp8}")
    for frames in (3, 6):
        rows = frames * options.tokens
        widths = [(config.dim, 3 * config.dim), (config.dim, config.dim)]
        widths += [(config.dim, config.ffn_dim), (config.ffn_dim, config.dim)]
        for inner, outer in widths:
            linear = nn.Linear(inner, outer, device=device, dtype=torch.bfloat16)
            x = random(rows, inner)
            note("products", f"{rows}x{inner}x{outer}", lambda linear=linear, x=x: linear(x))
            if outer == config.ffn_dim:
                fused = LinearGelu(inner, outer, device=device, dtype=torch.bfloat16)
                gelu = nn.GELU(approximate="tanh")
                note("products", f"{rows}x{inner}x{outer}, GELU after", lambda f=linear, x=x, g=gelu: g(f(x)))
                note("products", f"{rows}x{inner}x{outer}, GELU within", lambda f=fused, x=x: f(x))
            if no_fp8 is None:
                rounded = Float8Linear(linear)
                note("products", f"{rows}x{inner}x{outer}, 8 bits", lambda f=rounded, x=x: f(x))
    shapes = [(3, 9 * options.tokens), (3, 6 * options.tokens), (6, 6 * options.tokens), (3, config.text_len)]
    for frames, attended in shapes:
        query = random(1, frames * options.tokens, config.num_heads, config.head_size)
        key, value = (random(1, attended, config.num_heads, config.head_size) for _ in range(2))
        for backend in BACKENDS[:-1]:
            name = f"{backend} {query.shape[1]}x{attended}"
            if reason := why_not(backend, query.device, query.dtype, config.head_size):
                results["skipped"].append(f"{name}: {reason}")
                continue
            note("attention", name, lambda q=query, k=key, v=value, b=backend: attention(q, k, v, b))
    if not options.no_convolutions:
        for name, (kind, channels, shape, side) in CONVOLUTIONS.items():
            last = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
            for layout, memory_format in (("first", torch.contiguous_format), ("last", last)):
                layer = kind(channels, channels, side, device=device, dtype=torch.bfloat16)
                layer = layer.to(memory_format=memory_format)
                x = random(*shape).contiguous(memory_format=memory_format)
                note("convolutions", f"{name}, channels {layout}", lambda f=layer, x=x: f(x))
    results["gpu"] = gpu_state(device)
    return results


BENCH = Bench(add_arguments, run)
