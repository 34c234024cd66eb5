"""Every golden case through the tool that the project keeps for it, and the tool itself: it must be able to fail."""

from __future__ import annotations

import json
from pathlib import Path

import parity
import pytest
import torch
from parity_cases.golden import GoldenCase, Measured, compare, judge, read_set, uniform
from safetensors.torch import save_file

GOLDEN = Path(__file__).parent / "golden"
CASES = {case.name: case for case in read_set(GOLDEN)}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    result = parity.run_case(CASES[name], parity.known_cases().get(name), torch.device("cpu"), torch.float32)
    assert result.passed, parity.format_row(result)


def tiny_set(folder: Path, values: torch.Tensor, case: str = "sum") -> Path:
    (folder / "manifest.json").write_text(json.dumps({"tag": "mine", "cases": {case: {}}}))
    save_file({"x": torch.arange(4.0), "total": values}, folder / f"{case}.safetensors")
    return folder


def total(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {"total": case.stored_input("x").sum(dim=0, keepdim=True)}


@pytest.mark.parametrize(("stored", "status"), [(6.0, 0), (6.1, 1), (float("nan"), 1)])
def test_exit_status(
    stored: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "known_cases", lambda: {"sum": total})
    assert parity.main(["--golden", str(tiny_set(tmp_path, torch.tensor([stored])))]) == status
    assert ("pass" if status == 0 else "FAIL") in capsys.readouterr().out


def test_case_without_code_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main(["--golden", str(tiny_set(tmp_path, torch.ones(1), case="nobody_knows"))]) == 1
    assert "no code for this case" in capsys.readouterr().out


def test_case_that_breaks_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(parity, "known_cases", lambda: {"sum": broken})
    assert parity.main(["--golden", str(tiny_set(tmp_path, torch.ones(1)))]) == 1


def test_output_left_out_fails(tmp_path: Path) -> None:
    case = read_set(tiny_set(tmp_path, torch.ones(1)))[0]
    assert "not computed: total, x" in (judge(case, {}, torch.float32).problem or "")
    case.stored_input("x")
    assert judge(case, {"total": Measured(0.0, 0.0)}, torch.float32).passed
    assert judge(case, {"total": torch.ones(2)}, torch.float32).measured["total"].error == float("inf")


def test_no_golden_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main(["--golden", str(tmp_path)]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_the_past_of_a_name_never_changes() -> None:
    """Values depend on name and place alone: a longer tensor begins with the shorter one."""
    assert (uniform("a", (7,))[:3] == uniform("a", (3,))).all()
    assert (uniform("a", (3,)) != uniform("b", (3,))).all()
    assert compare(torch.ones(2), torch.tensor([1.0, 2.0]), 0.4).error == 0.5
