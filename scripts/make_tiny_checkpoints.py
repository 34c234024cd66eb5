"""Tiny networks with random weights in the published layout: python scripts/make_tiny_checkpoints.py [FOLDER]

For trying the whole pipeline on any machine, and for its tests: every file that a profile reads is there, under the
published names, a few megabytes in all. What they compute means nothing. Profiles ``tiny`` and ``worldfm_tiny`` use
them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tiny import da3, florence, wan, worldfm


def _florence(folder: Path, seed: int) -> None:
    """One network in both published layouts."""
    florence.write(folder / "Florence-2-large", seed)
    florence.write(folder / "Florence-2-large-original", seed, "original")


PARTS: dict[str, Callable[[Path, int], object]] = {
    "wan": wan.write,
    "florence": _florence,
    "da3": da3.write,
    "worldfm": worldfm.write,
}
"""What can be written, and how, into the checkpoints folder."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write tiny checkpoints in the published layout.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("checkpoints/tiny"), help="[checkpoints/tiny]")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights [0]")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS), help="parts to write [all]")
    options = parser.parse_args(arguments)
    for part in options.only:
        PARTS[part](options.folder, options.seed)
    files = [path for path in sorted(options.folder.rglob("*")) if path.is_file()]
    for path in files:
        print(f"{path.stat().st_size / 1e3:9.1f} kB  {path}")
    print(f"{sum(path.stat().st_size for path in files) / 1e6:9.1f} MB in {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
