"""What a person sees while the pipeline runs: lines and progress bars on standard error, never in each other's way.

Only the stages and the command line speak; everything below them is silent and reports through its results.
"""

from __future__ import annotations

import sys

from tqdm import tqdm


def say(line: str) -> None:
    """One line, above any running bar."""
    tqdm.write(line, file=sys.stderr)


def bar(total: int, description: str, unit: str = "frame") -> tqdm:
    """A progress bar; into a file or a pipe it writes a line now and then only."""
    interactive = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        file=sys.stderr,
        dynamic_ncols=interactive,
        leave=False,
        mininterval=0.2 if interactive else 10.0,
        delay=0.0 if interactive else 10.0,
    )
