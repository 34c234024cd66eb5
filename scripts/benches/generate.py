"""``bench.py generate``: the neural generator end to end and part by part, on whatever device there is.

    python scripts/bench.py generate --random_weights --use_tae --device cuda

A made-up clip is rendered live along an orbit of ten degrees and goes through a whole session; the clip is made before
the clock starts. Measured are

    warm_up_seconds          loading aside: the first three blocks of the process, with whatever is compiled for them
    first_block_seconds      from the start of a session to its first frames on the host, after warm-up
    frames_per_second        from the start of a session to its last frames on the host, for every number of --blocks,
                             with reading, encoding, denoising and decoding overlapped as in production
    block_seconds            of those same runs: the time from block to block, median and slowest, the first one aside
    peak memory              of those same runs: it must not grow with the blocks
    steady_frames_per_second what the longest run has over the shortest, so that the start of a session does not count
    parts                    seconds a steady block of 12 frames spends in each part, one part at a time

Random weights have the published sizes and memory formats, so every figure but the picture is that of the published
ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
import torch
from benches.measure import Bench, fill, gpu_state, peak_memory, seconds_of, size_argument
from benches.render import YAW_DEG, made_up_scene

from inspatio.cameras import poses as cameras
from inspatio.cameras.cameras import Cameras, target_intrinsics
from inspatio.config import AutoencoderName, GeneratorConfig, Profile, load_profile
from inspatio.generation.base import drive
from inspatio.generation.inspatio_world import session as session_module
from inspatio.generation.inspatio_world.block_loop import BLOCK_FRAMES, FIRST_BLOCK_FRAMES
from inspatio.generation.inspatio_world.loading import PRECISIONS, assemble, load_causal, precision_dtype
from inspatio.generation.inspatio_world.session import CausalGenerator
from inspatio.models.attention import attend_from_environment, backend_from_environment, choose
from inspatio.models.wan.checkpoint import PUBLISHED, channels_last
from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.render import WarpRenderer
from inspatio.scene import Scene

MODELS = {
    "1.3b": PUBLISHED[1536],
    "14b": PUBLISHED[5120],
    "tiny": DiTConfig(dim=96, ffn_dim=160, num_heads=4, num_layers=3, freq_dim=32, text_dim=48, text_len=16),
}
PARTS = ("render", "encode", "prefill", "denoise", "decode")
WARM_UP_BLOCKS = 3
PART_BLOCKS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_network_arguments(parser)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 20, 100], help="lengths to measure [2 20 100]")


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`from_options`."""
    parser.add_argument("--config_path", type=Path, help="a profile [the defaults, which are inference_1.3b's]")
    parser.add_argument("--random_weights", action="store_true", help="no checkpoint: random numbers of --model's size")
    parser.add_argument("--model", choices=list(MODELS), default="1.3b", help="size of the random network [1.3b]")
    parser.add_argument("--size", type=size_argument, metavar="WxH", help="frame size [the profile's]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--use_tae", action="store_true", help="TAEHV as encoder and decoder")
    for side in ("encoder", "decoder"):
        parser.add_argument(f"--{side}", choices=get_args(AutoencoderName), help=f"video {side} [the profile's]")
    parser.add_argument("--precision", choices=list(PRECISIONS), help="[the profile's]")
    parser.add_argument("--compile_dit", action="store_true", help="compile the repeated layer")
    parser.add_argument("--cuda_graphs", action="store_true", help="replay steady blocks as CUDA graphs")
    parser.add_argument("--offload", action="store_true", help="layers visit the device in turn")


def from_options(options: argparse.Namespace) -> tuple[CausalGenerator, torch.device]:
    """The generator that the options of :func:`add_network_arguments` describe, and its device."""
    config, size, device = read_options(options)
    return make_generator(config, size, device, MODELS[options.model] if options.random_weights else None), device


def read_options(options: argparse.Namespace) -> tuple[GeneratorConfig, tuple[int, int], torch.device]:
    """The generator's config, the size of its frames and its device."""
    profile = load_profile(options.config_path) if options.config_path else Profile()
    both = {"encoder": "taehv", "decoder": "taehv"} if options.use_tae else {}
    given = both | {
        name: getattr(options, name) for name in ("encoder", "decoder", "precision") if getattr(options, name)
    }
    switched = {name: True for name in ("compile_dit", "cuda_graphs", "offload") if getattr(options, name)}
    config = replace(profile.generator, **given, **switched)
    return config, options.size or profile.size, torch.device(options.device)


def run(options: argparse.Namespace) -> dict[str, Any]:
    config, size, device = read_options(options)
    generator, _ = from_options(options)
    results: dict[str, Any] = {
        "encoder": config.encoder,
        "decoder": config.decoder,
        "precision": config.precision,
        "size": size,
        "attention": choose(
            backend_from_environment(), generator.dit.device, generator.dit.dtype, generator.dit.config.head_size
        ),
    }

    def timed(blocks: int) -> tuple[float, list[float]]:
        """Seconds of a whole session, and from block to block."""
        made = clip(generator, blocks)
        ends: list[float] = []
        seconds = seconds_of(lambda: ends.extend(play(generator, *made)), device)
        return seconds, [after - before for before, after in pairwise(ends)]

    results["warm_up_seconds"] = round(timed(WARM_UP_BLOCKS)[0], 3)
    results["first_block_seconds"] = round(timed(1)[0], 3)
    results["runs"] = {}
    lasted: dict[int, float] = {}
    for blocks in options.blocks:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        lasted[blocks], steady = timed(blocks)
        results["runs"][str(blocks)] = {
            "frames_per_second": round(clip_length(blocks) / lasted[blocks], 3),
            "block_seconds": {"median": round(statistics.median(steady), 5), "slowest": round(max(steady), 5)}
            if steady
            else None,
            **peak_memory(device),
            "gpu": gpu_state(device),
        }
        print(f"{blocks:4d} blocks: {results['runs'][str(blocks)]}", flush=True)
    short, long = min(lasted), max(lasted)
    if short < long:
        more = BLOCK_FRAMES * (long - short)
        results["steady_frames_per_second"] = round(more / (lasted[long] - lasted[short]), 3)
    parts = time_parts(generator, device)
    for name, seconds in parts.items():
        print(f"{name:>8} {seconds * 1000:10.1f} ms a block {BLOCK_FRAMES / seconds:10.1f} frames/s", flush=True)
    results["part_seconds_per_block"] = {name: round(seconds, 5) for name, seconds in parts.items()}
    return results


def make_generator(
    config: GeneratorConfig, size: tuple[int, int], device: torch.device, random: DiTConfig | None
) -> CausalGenerator:
    """The profile's generator, or one of random weights; prompts are random embeddings in both."""
    renderer = WarpRenderer(device)
    if random is None:
        return load_causal(config, size, device, prompts=random_prompt, renderer=renderer)
    dtype = precision_dtype(config.precision)
    with torch.device("meta"):
        dit = CausalDiT(random, attend_from_environment())
    fill(dit, torch.device("cpu") if config.offload else device)
    dit.place(torch.device("cpu") if config.offload else device, dtype)
    with torch.device("meta"):
        encoder = WanEncoder() if config.encoder == "wan" else TaeEncoder()
        decoder = WanDecoder() if config.decoder == "wan" else TaeDecoder()
    for half in (encoder, decoder):
        fill(half, device)
        channels_last(half.to(dtype))
    width, length = random.text_dim, random.text_len
    return assemble(
        config,
        size,
        device,
        dit,
        encoder,
        decoder,
        prompts=lambda prompt: random_prompt(prompt, length, width),
        renderer=renderer,
    )


def random_prompt(prompt: str, length: int = 512, width: int = 4096) -> torch.Tensor:
    """Embeddings ``1 m c`` as if of a prompt."""
    return torch.randn(1, length, width, generator=torch.Generator().manual_seed(0))


def clip_length(blocks: int) -> int:
    """Frames in so many blocks."""
    return FIRST_BLOCK_FRAMES + (blocks - 1) * BLOCK_FRAMES


def clip(generator: CausalGenerator, blocks: int) -> tuple[Scene, Cameras]:
    """A made-up scene of so many blocks, and its target cameras."""
    count = clip_length(blocks)
    scene = made_up_scene(count, generator.options.size)
    orbit = cameras.orbit(0.0, np.linspace(0, YAW_DEG, count), scene.foreground_depth())
    return scene, Cameras.from_poses(cameras.invert(orbit), target_intrinsics(scene.intrinsics[0], scene.size))


def play(generator: CausalGenerator, scene: Scene, targets: Cameras) -> list[float]:
    """A whole session, its frames fetched to the host as the generate stage does; when each block was there."""
    return [time.perf_counter() for _ in drive(generator.start(scene, seed=0), targets)]


def time_parts(generator: CausalGenerator, device: torch.device) -> dict[str, float]:
    """The median seconds that steady blocks spend in each part, when nothing overlaps."""
    spent: dict[str, float] = {}

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        synchronise(device)
        start = time.perf_counter()
        yield
        synchronise(device)
        spent[part] = spent.get(part, 0.0) + time.perf_counter() - start

    scene, targets = clip(generator, PART_BLOCKS)
    session = generator.start(scene, seed=0)
    samples: dict[str, list[float]] = {part: [] for part in PARTS}
    done = block = 0
    # The session marks its parts for torch's profiler; here they are timed instead.
    with mock.patch.object(session_module, "record_function", timed):
        while done < len(targets):
            spent.clear()
            done += len(session.step(targets[done : done + session.block_frames]).frames)
            block += 1
            # The first block has a shorter context; the last one encodes no source ahead.
            if block > 1 and done < len(targets):
                for part in PARTS:
                    samples[part].append(spent[part])
    return {part: statistics.median(values) for part, values in samples.items()}


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


BENCH = Bench(add_arguments, run)
