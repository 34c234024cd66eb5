"""``bench.py structure``: what a steady block of 12 frames launches and moves on a GPU, counted without one.

    python scripts/bench.py structure [--size 832x480]

The networks have their published sizes and run on torch's meta device in bfloat16: no weights, no GPU, a few seconds.
``counting.py`` has the rules. The autoencoders' parts are the source's and the render's encoding and the decoding of
one block, each as a session with render files calls it. The transformer's part is in ``structure_transformer.py``, the
session's in ``structure_session.py``.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from benches.counting import Counter, Counts
from benches.measure import Bench, size_argument
from benches.structure_session import session_waits
from benches.structure_transformer import count_graphs, count_transformer, fused_bytes

from inspatio.generation.inspatio_world.block_loop import BLOCK_FRAMES, FIRST_BLOCK_FRAMES
from inspatio.models.wan.autoencoder import LATENT_CHANNELS, SPATIAL_FACTOR
from inspatio.models.wan.cache import BLOCK_LATENTS
from inspatio.models.wan.checkpoint import channels_last
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder

AUTOENCODERS: dict[str, tuple[Any, Any]] = {"wan": (WanEncoder, WanDecoder), "taehv": (TaeEncoder, TaeDecoder)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=size_argument, metavar="WxH", default=(480, 832), help="frame size [832x480]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    transformer = count_transformer(options.size)
    whole = sum(transformer.values(), Counts())
    results: dict[str, Any] = {
        "transformer": {part: counts.summary() for part, counts in {**transformer, "block": whole}.items()}
        | {"layers_fused_gb": round(fused_bytes(options.size) / 1e9, 2), **count_graphs()}
    }
    print(f"transformer {results['transformer']}", flush=True)
    results["session_host_waits"] = session_waits()
    print(f"host waits of a session, at most, in a steady block: {results['session_host_waits']}", flush=True)
    for name in AUTOENCODERS:
        parts = count_autoencoder(name, options.size)
        whole = sum(parts.values(), Counts())
        results[name] = {part: counts.summary() for part, counts in {**parts, "block": whole}.items()}
        print(f"{name:>8} {results[name]['block']}", flush=True)
    return results


def count_autoencoder(name: str, size: tuple[int, int] = (480, 832)) -> dict[str, Counts]:
    """Counts of a steady block by part, with an encoder and a decoder of this name."""
    height, width = size
    with torch.device("meta"):
        halves: tuple[Any, Any] = tuple(half().to(torch.bfloat16) for half in AUTOENCODERS[name])
    encoder, decoder = halves
    for half in halves:
        channels_last(half)

    def video(frames: int) -> torch.Tensor:
        return torch.empty(1, 3, frames, height, width, device="meta", dtype=torch.bfloat16)

    latent_size = (height // SPATIAL_FACTOR, width // SPATIAL_FACTOR)
    latents = torch.empty(1, BLOCK_LATENTS, LATENT_CHANNELS, *latent_size, device="meta", dtype=torch.bfloat16)
    source, render, decoded = encoder.start(), encoder.start(), decoder.start()
    ahead = video(encoder.lookahead) if encoder.lookahead else None
    counts: dict[str, Counts] = {}
    with torch.no_grad(), Counter() as counter:
        # The second block is the first steady one.
        for frames in (FIRST_BLOCK_FRAMES, BLOCK_FRAMES):
            counts["encode source"] = counter.measure(encoder.encode, video(frames), source, ahead)
            counts["encode render"] = counter.measure(encoder.encode, video(frames), render, ahead)
            counts["decode"] = counter.measure(decoder.decode, latents, decoded)
    return counts


BENCH = Bench(add_arguments, run)
