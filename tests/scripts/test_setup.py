"""scripts/setup.sh and run_pipeline.sh: a checkout runs its own code, wherever it lies or is called from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

PYTHON_STAND_IN = f"""#!/usr/bin/env bash
# Notes what would be installed; runs everything else.
if [ "$1 $2 $3" = "-m pip install" ]; then echo "$*" >>"$(dirname "$0")/installed"; exit; fi
exec {sys.executable} "$@"
"""


def checkout(folder: Path) -> Path:
    """A checkout with a package that says where it lies, and an environment that notes what is installed into it."""
    for name in ("run_pipeline.sh", "scripts/setup.sh", "pyproject.toml", "constraints.txt", "requirements/base.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "inspatio/pipeline").mkdir(parents=True)
    for name in ("__init__", "pipeline/__init__", "pipeline/cli"):
        (folder / f"inspatio/{name}.py").touch()
    (folder / "inspatio/__main__.py").write_text("print(__file__)\n")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").write_text(PYTHON_STAND_IN)
    (folder / ".venv/bin/python").chmod(0o755)
    return folder


def run(folder: Path, cwd: Path, **variables: str) -> Path:
    """The file that run_pipeline.sh of a checkout runs."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "INSPATIO_PYTHON")}
    command = ["bash", str(folder / "run_pipeline.sh")]
    done = subprocess.run(command, cwd=cwd, env=environment | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def installs(folder: Path) -> list[str]:
    noted = folder / ".venv/bin/installed"
    return [line for line in noted.read_text().splitlines() if "--editable" in line] if noted.exists() else []


@pytest.fixture
def first(tmp_path: Path) -> Path:
    folder = checkout(tmp_path / "first")
    assert run(folder, tmp_path) == folder / "inspatio/__main__.py"
    return folder


def test_an_unchanged_checkout_is_set_up_once(first: Path, tmp_path: Path) -> None:
    run(first, tmp_path)
    assert len(installs(first)) == 1


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_checkout_is_set_up_again(first: Path, tmp_path: Path, how) -> None:
    """The stamp did not hold the place: a copy ran the first folder's code, a moved checkout had none to run."""
    second = tmp_path / "second"
    how(first, second)
    assert run(second, tmp_path) == second / "inspatio/__main__.py"
    assert len(installs(second)) == 2
    assert str(second) in installs(second)[-1]


@pytest.mark.parametrize("variables", [{}, {"INSPATIO_PYTHON": sys.executable}])
def test_the_current_folder_and_the_environment_do_not_replace_its_code(
    first: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """Called from inside another checkout, or with an environment that has another installed, that one's code ran."""
    second = checkout(tmp_path / "second")
    assert run(second, first, **variables) == second / "inspatio/__main__.py"
