"""Measure speed and memory: one subcommand to each part of the product.

    python scripts/bench.py render [--frames 200] [--size 832x480] [--backend warper|ply] [--device cpu]
    python scripts/bench.py --help

Each warms up, repeats, and ends with one line of JSON: what was measured with which options, on which hardware, with
which versions, when. Each is a module of ``benches``;
``benches/measure.py`` says what they share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benches import caption, generate, geometry, preview, render, structure
from benches.measure import Bench, report

BENCHES: dict[str, Bench] = {
    "caption": caption.BENCH,
    "generate": generate.BENCH,
    "geometry": geometry.BENCH,
    "preview": preview.BENCH,
    "render": render.BENCH,
    "structure": structure.BENCH,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure speed and memory of one part of the product.")
    subcommands = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    for name, bench in BENCHES.items():
        subcommand = subcommands.add_parser(name, help=bench.help, description=bench.help)
        bench.add_arguments(subcommand)
    options = parser.parse_args(arguments)
    results = BENCHES[options.bench].run(options)
    print(report(vars(options), results))


if __name__ == "__main__":
    main()
