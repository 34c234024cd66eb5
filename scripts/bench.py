"""Measure speed and memory: one subcommand to each part of the product.

    python scripts/bench.py render [--frames 200] [--size 832x480] [--backend warper|ply] [--device cpu]
    python scripts/bench.py --help

Each warms up, repeats, and ends with one line of JSON: what was measured with which options, on which hardware, with
which versions, when. Each is a module of ``benches``;
``benches/measure.py`` says what they share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from benches.measure import Bench, report

BENCHES = {
    "agreement": "backends, compilation, graphs, streams and renderers held to each other at the published size",
    "breakdown": "where the time of steady blocks goes, by class of kernel",
    "caption": "images per second of Florence-2, random weights",
    "drift": "what hundreds of live blocks do to colours, sharpness and memory",
    "driver": "what thousands of clips cost the process that plans and records them",
    "faithful": "what --faithful keeps of the example, and how its holes meet what is kept",
    "generate": "frames per second of the neural generator, end to end and part by part",
    "geometry": "frames per second and memory of Depth Anything 3, random weights",
    "kernels": "single products, attentions and convolutions at the shapes of a block",
    "live": "how soon the live world answers, on loopback",
    "motion": "geometry by motion of the example: errors against the truth, time, memory, new views",
    "outlines": "what taking mixed pixels apart brings near the silhouettes of things, against the truth",
    "preview": "frames per second of the preview generator on the example",
    "render": "frames per second of a renderer, streamed in chunks",
    "structure": "kernels, bytes and host syncs of a steady block, counted without a GPU",
    "worldfm": "points, noise and references of WorldFM: quality against the truth, speed against the published order",
}
"""Every module of ``benches`` with a ``BENCH``. Only the one that is asked for is imported, so that a missing package
stops no other."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure speed and memory of one part of the product.")
    subcommands = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen: Bench | None = None
    for name, help in BENCHES.items():
        subcommand = subcommands.add_parser(name, help=help, description=help)
        if given[:1] == [name]:
            bench: Bench = import_module(f"benches.{name}").BENCH
            bench.add_arguments(subcommand)
            chosen = bench
    options = parser.parse_args(given)
    assert chosen is not None, "the parser lets only names of BENCHES through, and they come first"
    results = chosen.run(options)
    print(report(vars(options), results))
    return int(results.get("passed") is False)


if __name__ == "__main__":
    sys.exit(main())
