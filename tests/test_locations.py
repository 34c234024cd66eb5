"""Weights, profiles and trajectories are found from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import ROOT

from inspatio import locations
from inspatio.config import find_profile, load_profile


def test_home_is_the_variable_then_the_checkout_then_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPATIO_HOME", str(tmp_path / "mine"))
    assert locations.home() == tmp_path / "mine"
    monkeypatch.delenv("INSPATIO_HOME")
    assert locations.home() == ROOT
    monkeypatch.setattr(locations, "checkout", lambda: None)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert locations.home() == tmp_path / "data/inspatio"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert locations.home() == Path.home() / ".local/share/inspatio"


def test_paths_of_a_profile_are_relative_to_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPATIO_HOME", str(tmp_path))
    text = "geometry: {model_path: checkpoints/DA3-BASE, metric_path: /weights/metric}\n"
    (tmp_path / "mine.yaml").write_text(text)
    geometry = load_profile(tmp_path / "mine.yaml").geometry
    assert geometry.model_path == str(tmp_path / "checkpoints/DA3-BASE")
    assert geometry.metric_path == "/weights/metric"
    assert locations.shown(geometry.model_path) == "checkpoints/DA3-BASE"
    assert locations.shown("/weights/metric") == "/weights/metric"


@pytest.mark.parametrize("given", ["traj/orbit_left.txt", "orbit_left.txt", "orbit_left"])
def test_shipped_files_are_found_from_anywhere(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert locations.find_trajectory(given) == ROOT / "traj/orbit_left.txt"
    assert find_profile("preview") == ROOT / "configs/preview.yaml"


def test_an_existing_trajectory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "orbit_left.txt"
    mine.write_text("0\n0\n0\n")
    assert locations.find_trajectory("orbit_left.txt").resolve() == mine
    elsewhere = Path("somewhere/orbit_left.txt")
    assert locations.find_trajectory(elsewhere) == elsewhere  # another folder's file is not replaced by ours


def test_advice_works_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    assert locations.download_command("DA3") == "bash scripts/download.sh DA3"
    monkeypatch.chdir(tmp_path)
    assert locations.download_command("DA3") == f"bash {ROOT}/scripts/download.sh DA3"
    monkeypatch.setattr(locations, "checkout", lambda: None)
    assert locations.download_command("DA3") == "inspatio download DA3"
