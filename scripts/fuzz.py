"""Damaged and odd files for every reader, for as long as you like: python scripts/fuzz.py --minutes 10 [--reader video]

Takes the strategies of the test suite (tests/support/strategies.py). Each reader in turn gets a round of new cases; one
that raises an undeclared exception, or takes too long, fails, and its case is saved. Needs the extra `dev`.

The last line is one JSON object: cases and refusals by reader, failures, date and command; ``--record`` also appends it
to a file for scripts/reliability.py. Exit status 1 on failures.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from reliability import keep

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.strategies import READERS, Case, read_case  # noqa: E402 - found by the line above

ROUND = 50


class Campaign:
    """Counts of a run; ``folder`` keeps the case that is being read, also when its reader kills the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.failures: list[str] = []

    def round(self, name: str, number: int, count: int = ROUND) -> None:
        """Read ``count`` cases drawn with a seed; a failure is saved under the reader's name."""
        reader = READERS[name]
        current = self.folder / "current" / name

        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example),
            phases=(Phase.generate,),  # finding a smaller case can take minutes, and the case itself is saved
            report_multiple_bugs=False,
        )
        @seed(number)
        @given(reader.cases())
        def read(case: Case) -> None:
            self.cases[name] += 1
            self.refused[name] += not read_case(reader, case, current)

        try:
            read()
        except Exception as error:  # noqa: BLE001 - every kind is a finding: it is shown, saved and counted
            kept = self.folder / f"{name} {number} {type(error).__name__}"
            shutil.copytree(current, kept, dirs_exist_ok=True)
            (kept / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
            self.failures.append(f"{name}: {type(error).__name__}")
            print(f"FAILED {name}: {error!r:.200}\n  saved in {kept}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fuzz the readers of files.")
    parser.add_argument("--minutes", type=float, default=1, help="how long [1]")
    parser.add_argument("--reader", choices=list(READERS), nargs="+", default=list(READERS), help="which ones [all]")
    parser.add_argument("--seed", type=int, help="of the first round [a new one each time]")
    parser.add_argument("--output", type=Path, help="where failing cases are kept [a new temporary folder]")
    parser.add_argument("--record", type=Path, help="file that the result is appended to")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # what readers say about files that they can do without
    first = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    campaign = Campaign(options.output or Path(tempfile.mkdtemp(prefix="inspatio-fuzz-")))
    print(f"seed {first}, failing cases in {campaign.folder}", flush=True)
    start = time.monotonic()
    number = first
    while number == first or time.monotonic() - start < 60 * options.minutes:
        for name in options.reader:
            campaign.round(name, number)
        number += 1
    for name in options.reader:
        print(f"{name:<12} {campaign.cases[name]:>8} cases, {campaign.refused[name]:>8} refused")
    readers = "" if options.reader == list(READERS) else f" --reader {' '.join(options.reader)}"
    result = keep(
        options.record,
        "fuzz",
        f"python scripts/fuzz.py --minutes {options.minutes:g}{readers} --seed {first}",
        (time.monotonic() - start) / 60,
        cases=dict(campaign.cases),
        refused=dict(campaign.refused),
        failures=campaign.failures,
    )
    print(json.dumps(result))
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())
