"""``bench.py caption``: images per second of Florence-2, and where the time goes.

Networks of the published sizes with random weights (nothing to download; the work is the same), images of noise. Random
weights would end an answer anywhere, so that every answer is made to have ``--tokens`` tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.measure import Bench, fill, median_seconds, peak_memory
from tiny import florence
from transformers import Florence2ForConditionalGeneration

from inspatio.captioning.florence import Florence2Captioner
from inspatio.models.florence2.checkpoint import FlorenceFolder

MODELS = {"large": florence.LARGE, "base": florence.BASE, "tiny": florence.TINY}
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=list(MODELS), default="large", help="whose sizes [large]")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="batch sizes [1 4 16]")
    parser.add_argument("--tokens", type=int, default=100, help="length of each answer [100]")
    parser.add_argument("--repeats", type=int, default=3, help="timings of each, of which the median counts [3]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    parser.add_argument("--dtype", choices=list(DTYPES), help="precision [float16 on a GPU, float32 on a CPU]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    dtype = DTYPES[options.dtype or ("float16" if device.type == "cuda" else "float32")]
    with tempfile.TemporaryDirectory() as folder:
        florence.write_settings(Path(folder), "original", MODELS[options.model])
        files = FlorenceFolder.read(Path(folder))
    model = random_network(files, device, dtype)
    results: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    for batch in options.batches:
        captioner = Florence2Captioner(model, files, batch_size=batch, max_new_tokens=options.tokens)
        captioner.model.generation_config.min_new_tokens = options.tokens
        results[f"batch_{batch}"] = measure(captioner, batch, options.tokens, options.repeats, device)
    return results


def measure(
    captioner: Florence2Captioner, batch: int, tokens: int, repeats: int, device: torch.device
) -> dict[str, Any]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    images = list(np.random.default_rng(0).integers(0, 256, (batch, 480, 832, 3), dtype=np.uint8))

    @torch.inference_mode()
    def look() -> None:
        captioner.model.model.get_image_features(captioner.encode(images)["pixel_values"])

    looking = median_seconds(look, repeats=repeats, device=device)
    whole = median_seconds(lambda: captioner.caption(images), repeats=repeats, device=device)
    return {
        "images_per_second": round(batch / whole, 3),
        "tokens_per_second": round(batch * tokens / whole, 1),
        "vision_share": round(looking / whole, 3),
        **peak_memory(device),
    }


def random_network(
    files: FlorenceFolder, device: torch.device, dtype: torch.dtype
) -> Florence2ForConditionalGeneration:
    """A network whose weights keep activations in range, made on the device."""
    with torch.device("meta"):
        model = Florence2ForConditionalGeneration(files.config)
    fill(model.to(dtype), device)  # pyright: ignore[reportArgumentType]
    model.tie_weights()
    return model.eval()


BENCH = Bench(add_arguments, run)
