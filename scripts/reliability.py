"""Make docs/reliability.md: python scripts/reliability.py [RESULTS.jsonl ...]

Counts come from docs/reliability.jsonl, one JSON object for each campaign: what was tried, how often, what went
wrong, with date, command, duration, machine and commit. scripts/kill_test.py, fuzz.py and soak.py append such an
object to the file that their option ``--record`` names. Files named here are added to docs/reliability.jsonl first; a
campaign that is there already is not added twice. A ``note`` may be written into an object by hand: what became of its
failures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, REPORT = ROOT / "docs/reliability.jsonl", ROOT / "docs/reliability.md"


def keep(record: Path | None, what: str, command: str, minutes: float, **counts: Any) -> dict[str, Any]:
    """A campaign's result with date, machine and commit, appended to the file ``record``, if any."""
    result = {
        "what": what,
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "minutes": round(minutes, 1),
        "machine": _machine(),
        "commit": _commit(),
        **counts,
    }
    if record is not None:
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
    return result


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"


def _commit() -> str:
    """The checkout's commit, with a + where files have changed since; "unknown" without git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=7"], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make docs/reliability.md from the results of campaigns.")
    parser.add_argument("results", type=Path, nargs="*", help="files of results to add to docs/reliability.jsonl")
    options = parser.parse_args(arguments)
    known = list(_lines([RESULTS])) if RESULTS.is_file() else []
    new = [line for line in _lines(options.results) if line not in known]
    RESULTS.write_text("".join(f"{line}\n" for line in [*known, *new]), encoding="utf-8")
    REPORT.write_text(report([json.loads(line) for line in [*known, *new]]), encoding="utf-8")
    print(f"{REPORT.relative_to(ROOT)}: {len(known) + len(new)} campaigns, {len(new)} of them new")
    return 0


def _lines(paths: Iterable[Path]) -> Iterable[str]:
    for path in paths:
        yield from (line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def report(results: Sequence[dict[str, Any]]) -> str:
    """The text of docs/reliability.md."""

    def where(each: dict[str, Any]) -> tuple[str, str]:
        return each["machine"], each["commit"]

    of = {what: [each for each in results if each["what"] == what] for what in ("kills", "fuzz", "soak")}
    lines = [
        "# Reliability",
        "",
        "How often the program was disturbed, and what happened. Made by `python scripts/reliability.py` from",
        "`docs/reliability.jsonl`; the last table has command, date, machine and commit of each campaign.",
        "",
        "## Killed runs",
        "",
        "`scripts/kill_test.py` disturbs a run up to three times at random moments, continues it, and compares every",
        "file with that of an undisturbed run, byte by byte.",
        "",
        *_kills(of["kills"]),
        "",
        "## Damaged and odd files",
        "",
        "`scripts/fuzz.py` reads files of every format with bytes flipped, cut out and put in, and values replaced.",
        "Each must be read, or refused with an error that the reader declares, within 10 seconds.",
        "",
        *_fuzz(of["fuzz"]),
        "",
        "## Long runs",
        "",
        "`scripts/soak.py` runs the pipeline over the same clips in one process again and again, and compares the",
        "files of every round with those of the first, and memory and open files at the end with those at first.",
        "",
        *_soak(of["soak"]),
        "",
        "## Campaigns",
        "",
        *_table(
            ("date", "command", "minutes", "wrong", "machine", "commit"),
            [
                (
                    each["date"],
                    f"`{each['command']}`",
                    each["minutes"],
                    len(each["failures"]),
                    each["machine"],
                    each["commit"],
                )
                for each in results
            ],
        ),
        "",
        *_failures(results),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _failures(results: Sequence[dict[str, Any]]) -> list[str]:
    """One paragraph for each campaign in which something was wrong."""
    wrong = [each for each in results if each["failures"]]
    if not wrong:
        return ["Nothing was wrong in any of them."]
    found = [(each, " / ".join(dict.fromkeys(each["failures"]))) for each in wrong]
    return [
        "What was wrong:",
        "",
        *(f"- `{each['command']}`: {what}. {each.get('note', '')}".rstrip() for each, what in found),
    ]


def _kills(results: Sequence[dict[str, Any]]) -> list[str]:
    rows: Counter[tuple[str, str]] = Counter()
    rounds: Counter[str] = Counter()
    for each in results:
        rounds.update(each["rounds"])
        for kind, ways in each["disturbances"].items():
            rows.update({(kind, way): count for way, count in ways.items()})
    cells = [(kind, way, count, rounds[kind]) for (kind, way), count in sorted(rows.items())]
    return _table(
        ("run", "disturbance", "times", "rounds of this run"),
        [*cells, ("all", "", sum(rows.values()), sum(rounds.values()))],
    )


def _fuzz(results: Sequence[dict[str, Any]]) -> list[str]:
    cases: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for each in results:
        cases.update(each["cases"])
        refused.update(each["refused"])
    rows = [(name, count, refused[name]) for name, count in sorted(cases.items())]
    return _table(("reader", "cases", "of them refused"), [*rows, ("all", cases.total(), refused.total())])


def _soak(results: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (
            each["profile"],
            f"{each['minutes'] / 60:.2f}",
            each["rounds"],
            each["frames"],
            *each["memory"],
            *each["files"],
        )
        for each in results
    ]
    return _table(
        ("profile", "hours", "rounds", "frames", "MiB at first", "at the end", "open files at first", "at the end"),
        rows,
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    return [line(columns), line("---" for _ in columns), *map(line, rows)]


if __name__ == "__main__":
    sys.exit(main())
