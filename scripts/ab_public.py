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
    depth        the small any-view network of Depth Anything 3 on six frames of 504x280 (``--depth``: a checkout of its
                 public code), without the ray half of the head, which ours does not compute
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from ab_cases.setting import STAND_INS, Setting, Work, use_stand_ins
from benches.measure import report, size_argument

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time this code and the public code side by side.")
    parser.add_argument("public", type=Path, help="a checkout of the public InSpatio-World code")
    parser.add_argument("--depth", type=Path, metavar="FOLDER", help="a checkout of the public Depth Anything 3 code")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), help="[all; depth if --depth is given]")
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
        depth=options.depth.resolve() if options.depth else None,
    )
    use_stand_ins(setting.public)
    results: dict[str, Any] = {"stand_ins": STAND_INS, "cases": {}}
    print(f"{'case':<12} {'public s':>9} {'ours s':>9} {'ratio':>6} {'pairs':>13} {'differ by':>10}")
    failed, line = False, ""
    for name in options.cases or [name for name in CASES if name != "depth" or options.depth]:
        try:
            with torch.inference_mode():
                results["cases"][name] = measured = compare(*prepare(name, setting), device, options.pairs)
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
        line = report({**vars(options), "public": "the public code", "depth": bool(options.depth)}, results)
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / "ab_public.json").write_text(line + "\n", encoding="utf-8")
    print(line)
    return int(failed)


def prepare(name: str, setting: Setting) -> tuple[Work, Work]:
    """Both sides of a case: the public code's work and ours."""
    module, function = CASES[name]
    make: Callable[[Setting], tuple[Work, Work]] = getattr(import_module(f"ab_cases.{module}"), function)
    return make(setting)


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


CASES = {
    "dit": ("transformer", "dit"),
    "vae_encode": ("autoencoders", "vae_encode"),
    "vae_decode": ("autoencoders", "vae_decode"),
    "tae_encode": ("autoencoders", "tae_encode"),
    "tae_decode": ("autoencoders", "tae_decode"),
    "render": ("render", "render"),
    "depth": ("depth_anything3", "depth"),
}
"""Module of ``ab_cases`` and function. A module is imported when its case comes: a missing package fails no other."""

if __name__ == "__main__":
    sys.exit(main())
