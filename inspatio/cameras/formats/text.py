"""Read text files of numbers in lines, with ``#`` comments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inspatio.errors import UsageError
from inspatio.settings import parse_number

EXPECTED = "three lines (pitch, yaw, displacement), or a 4x4 matrix per line under '# camera_to_world'"

TIMING = ("zoom", "time")
"""The words that a line of keyframes of focal length, or of source time, begins with."""


@dataclass(frozen=True)
class Row:
    """A line of numbers; ``line`` counts from 1."""

    line: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class NumberFile:
    """A text file: its rows of finite numbers (at least one) and its comment lines as (line number, text).

    ``timing`` are rows that begin with a word: ``zoom`` and ``time`` keyframes.
    """

    path: Path
    rows: tuple[Row, ...]
    comments: tuple[tuple[int, str], ...]
    timing: dict[str, Row] = field(default_factory=dict)


def read_number_file(path: Path) -> NumberFile:
    """Read a trajectory file's numbers and comment lines.

    Raises:
        UsageError: the file is missing, not text, or empty, or a line between others is blank or not finite numbers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file, expected a trajectory: {EXPECTED}; there are some in traj/") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a NUL in it
        raise UsageError(f"{path}: cannot be read as text ({error}), expected a trajectory: {EXPECTED}") from None
    content: list[tuple[int, str]] = []
    comments: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        values, sign, comment = line.partition("#")
        if values.strip() or not sign:
            content.append((number, values.strip()))
        else:
            comments.append((number, comment.strip()))
    while content and not content[-1][1]:
        content.pop()
    while content and not content[0][1]:
        content.pop(0)
    if not content:
        raise UsageError(f"{path}: no numbers in it, expected a trajectory: {EXPECTED}")
    timing: dict[str, Row] = {}
    rows: list[Row] = []
    for number, values in content:
        name, _, rest = values.partition(" ")
        if name in TIMING:
            if name in timing:
                raise UsageError(f"{path}, line {number}: a second line of {name}, expected one")
            timing[name] = Row(number, _numbers(path, number, rest.strip()))
        else:
            rows.append(Row(number, _numbers(path, number, values)))
    if not rows:
        raise UsageError(f"{path}: no camera path in it, only {' and '.join(timing)}; expected {EXPECTED}")
    return NumberFile(path, tuple(rows), tuple(comments), timing)


def _numbers(path: Path, line: int, text: str) -> tuple[float, ...]:
    if not text:
        # A blank line between others is more likely a forgotten line of keyframes than a separator.
        raise UsageError(f"{path}, line {line}: blank, expected numbers. Write 0 for no change.")
    values = []
    for word in text.split():
        try:
            values.append(parse_number(word))
        except ValueError:
            raise UsageError(
                f"{path}, line {line}: got {word!r}, expected finite numbers separated by blanks"
            ) from None
    return tuple(values)
