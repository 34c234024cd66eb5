"""Installed from a wheel, profiles and trajectories come along, and weights have a place of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    # Built from links, so that nothing is written into the checkout.
    for name in ("inspatio", "configs", "traj", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_has_every_module_profile_and_trajectory(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "inspatio").rglob("*.py")}
    for folder in ("configs", "traj"):
        expected |= {f"inspatio/{folder}/{path.name}" for path in (ROOT / folder).iterdir() if path.is_file()}
    assert expected <= names


def test_it_runs_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    program = """if True:
        import inspatio, inspatio.config, inspatio.locations as locations
        print(inspatio.__file__)
        print(locations.home())
        print(inspatio.config.find_profile("preview"))
        print(locations.find_trajectory("orbit_left"))
        print(len(inspatio.load_trajectory("traj/orbit_left.txt").camera_to_world(9, 1.0)))
        print(locations.download_command("taehv"))"""
    environment = {key: value for key, value in os.environ.items() if key != "INSPATIO_HOME"}
    environment |= {"PYTHONPATH": str(installed), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    package = installed / "inspatio"
    assert done.stdout.split("\n")[:6] == [
        str(package / "__init__.py"),
        str(tmp_path / "data/inspatio"),
        str(package / "configs/preview.yaml"),
        str(package / "traj/orbit_left.txt"),
        "9",
        "inspatio download taehv",
    ]
    help_text = subprocess.run(
        [sys.executable, "-m", "inspatio", "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert help_text.returncode == 0, help_text.stderr
