"""Readers raise what they declare and nothing else, whatever the file holds (``scripts/fuzz.py`` tries far more)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from support.strategies import READERS, read_case

CASES = {"geometry": 15, "video": 10}


@pytest.mark.parametrize("name", READERS)
def test_readers_raise_declared_errors_only(name: str, tmp_path: Path) -> None:
    reader = READERS[name]

    @settings(
        max_examples=CASES.get(name, 30),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(reader.cases())
    def read(case: dict[str, bytes]) -> None:
        read_case(reader, case, tmp_path / "case")

    read()
