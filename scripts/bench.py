"""Measure speed and memory: one subcommand to each part of the product.

    python scripts/bench.py render [--frames 200] [--size 832x480] [--backend warper|ply] [--device cpu]
    python scripts/bench.py --help

Each warms up, repeats, and ends with one line of JSON: what was measured with which options, on which hardware, with
which versions, when. Subcommands are the modules of ``benches`` (``benches/measure.py`` says what they share).
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Sequence

import benches
from benches.measure import Bench, report


def known_benches() -> dict[str, Bench]:
    """Every bench, by the name of its module."""
    names = sorted(module.name for module in pkgutil.iter_modules(benches.__path__) if module.name != "measure")
    return {name: importlib.import_module(f"benches.{name}").BENCH for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure speed and memory of one part of the product.")
    subcommands = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    known = known_benches()
    for name, bench in known.items():
        subcommand = subcommands.add_parser(name, help=bench.help, description=bench.help)
        bench.add_arguments(subcommand)
    options = parser.parse_args(arguments)
    results = known[options.bench].run(options)
    print(report(vars(options), results))


if __name__ == "__main__":
    main()
