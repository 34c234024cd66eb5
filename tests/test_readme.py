"""What README shows works as it is written."""

from __future__ import annotations

import re

import pytest
import torch
from support.paths import ROOT

from inspatio.pipeline.options_markdown import options_markdown

README = (ROOT / "README.md").read_text(encoding="utf-8")

OTHER_PROGRAMS = {"--nnodes", "--nproc_per_node", "--rdzv_endpoint", "--golden", "--help", "--weights", "--profile"}
"""Options in README of torchrun, of scripts, and of commands that are not stages."""


class Enough(Exception):
    """Ends the example once it has shown what it should."""


def test_the_library_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 8
    printed: list[tuple[int, torch.Size]] = []

    def keep(*values) -> None:
        printed.append(values)
        if len(printed) == 2:
            raise Enough

    with pytest.raises(Enough):
        exec(compile(program, "README.md", "exec"), {"print": keep})
    (start, shape), (next_start, next_shape) = printed
    assert start == 0
    assert next_start == shape[0] > 0
    assert shape[1:] == next_shape[1:] == (480, 832, 3)


def test_every_option_it_names_exists() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z]\w+", README))
    assert named - OTHER_PROGRAMS - declared() == set()


def declared() -> set[str]:
    """Every option of every stage."""
    return set(re.findall(r"--\w+", options_markdown()))


def test_files_it_names_are_there() -> None:
    for path in re.findall(r"\]\((?!http|#)([^)#]+)\)", README):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"`((?:scripts|inspatio)/[\w/]+\.\w+)`", README):
        assert (ROOT / name).is_file(), name
