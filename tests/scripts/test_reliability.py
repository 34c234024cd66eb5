"""The campaigns of kills and fuzzing: short ones end without a fault, and docs/reliability.md is what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import kill_test
import pytest
import reliability
from support.paths import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("kind", kill_test.KINDS)
def test_disturbed_runs_end_with_the_files_of_an_undisturbed_one(kind: str, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    assert kill_test.main(["2", "--kind", kind, "--seed", "3", "--record", str(record)]) == 0
    (result,) = map(json.loads, record.read_text().splitlines())
    assert result["rounds"] == {kind: 2}
    assert sum(result["disturbances"][kind].values()) > 0


def test_the_report_is_made_of_the_recorded_campaigns() -> None:
    recorded = [json.loads(line) for line in reliability.RESULTS.read_text(encoding="utf-8").splitlines()]
    assert reliability.REPORT.read_text(encoding="utf-8") == reliability.report(recorded)
    assert all(each["date"] and each["command"] for each in recorded)
    assert str(ROOT) not in reliability.REPORT.read_text(encoding="utf-8")


def test_campaigns_of_one_kind_are_added_up() -> None:
    shared = {"date": "2026-01-02", "command": "c", "minutes": 30.0, "machine": "m", "commit": "0", "failures": []}
    kills = shared | {"what": "kills", "rounds": {"preview": 2}, "disturbances": {"preview": {"INT": 3}}}
    fuzz = shared | {"what": "fuzz", "cases": {"video": 5}, "refused": {"video": 4}, "failures": ["a fault"]}
    soak = shared | {"what": "soak", "profile": "tiny", "rounds": 7, "frames": 9, "memory": [5, 6], "files": [3, 3]}
    lines = reliability.report([kills, kills, fuzz, fuzz, soak]).splitlines()
    assert "| preview | INT | 6 | 4 |" in lines
    assert "| video | 10 | 8 |" in lines
    assert "| tiny | 0.50 | 7 | 9 | 5 | 6 | 3 | 3 |" in lines
    assert sum("a fault" in line for line in lines) == 2
