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
    results: list[bool] = []

    @settings(
        max_examples=CASES.get(name, 30),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example),
    )
    @given(reader.cases())
    def read(case: dict[str, bytes]) -> None:
        results.append(read_case(reader, case, tmp_path / "case"))

    read()
    assert False in results, "no case was refused: the damage does not reach the reader"
