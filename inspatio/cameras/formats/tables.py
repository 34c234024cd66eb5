"""Read text files whose lines hold numbers: what the camera and geometry formats of other programs have in common."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.errors import ClipError
from inspatio.settings import parse_number


def read_numbers(path: Path, columns: int) -> NDArray[np.float64]:
    """Read a table of numbers, ``rows columns``; brackets and commas count as blanks, ``#`` starts a comment.

    Raises:
        ClipError: the file is missing, or a line (named) is not ``columns`` finite numbers.
    """
    rows = []
    for line, text in enumerate(read_lines(path), start=1):
        words = re.sub(r"[\[\],]", " ", text.partition("#")[0]).split()
        if not words:
            continue
        try:
            row = [parse_number(word) for word in words]
        except ValueError:
            row = []
        if len(row) != columns:
            raise ClipError(f"{path}, line {line}: got {text.strip()[:60]!r}, expected {columns} finite numbers")
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, columns)


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file.

    Raises:
        ClipError: the file is missing or not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClipError(f"{path}: cannot be read as text ({error})") from None
