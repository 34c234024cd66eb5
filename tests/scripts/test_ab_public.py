"""The comparison with the public code, as far as it goes without that code."""

from __future__ import annotations

from importlib import import_module

import ab_public
import pytest
import torch

HOST = torch.device("cpu")


def test_every_case_has_its_function() -> None:
    for module, function in ab_public.CASES.values():
        assert callable(getattr(import_module(f"ab_cases.{module}"), function))


def test_a_folder_without_the_public_code_is_refused(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ab_public.main([str(tmp_path)])
    assert "causal_model.py" in capsys.readouterr().err


def test_both_sides_run_in_turn_and_the_ratio_is_public_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    clock = iter([0.0, 6.0, 6.0, 8.0] * 2)
    monkeypatch.setattr(ab_public.time, "process_time", lambda: next(clock))

    def side(name: str, value: float) -> ab_public.Work:
        return lambda: (runs.append(name), [torch.tensor([2.0, value])])[1]

    measured = ab_public.compare(side("public", 1.0), side("ours", 1.5), HOST, 2)
    assert runs == ["public", "ours"] * 3
    assert measured["ratio"] == 3
    assert measured["differ_by"] == 0.25


def test_pictures_differ_by_the_share_of_values_that_are_off_by_more_than_a_level() -> None:
    expected = torch.tensor([10, 10, 10, 10], dtype=torch.uint8)
    assert ab_public.differ_by(expected, torch.tensor([10, 11, 9, 13], dtype=torch.uint8)) == 0.25
