"""Lock files cover what pyproject.toml asks for; a wheel brings profiles and trajectories and runs from any folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path

import pytest
from lock import UNLOCKED
from packaging.requirements import Requirement
from support.clips import write_clip
from support.paths import ROOT

from inspatio.media import probe


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


def link_dependencies(wheel: Path, site: Path) -> None:
    """Link the packages that a wheel asks for, and what they ask for, from this environment into another one's."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        about = message_from_bytes(archive.read(name))
    waiting, linked = [*map(Requirement, about.get_all("Requires-Dist", []))], set()
    while waiting:
        requirement = waiting.pop()
        extras = {"extra": ""} if not requirement.extras else {"extra": next(iter(requirement.extras))}
        if requirement.name in linked or (requirement.marker and not requirement.marker.evaluate(extras)):
            continue
        linked.add(requirement.name)
        package = distribution(requirement.name)
        assert requirement.specifier.contains(package.version, prereleases=True), requirement
        waiting += map(Requirement, package.requires or [])
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(str(package.locate_file(top)))
    assert "pytest" not in linked


@pytest.mark.slow
def test_an_installed_wheel_makes_a_preview_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """Installed by pip into an environment of its own, with the packages of the wheel's own dependencies and no other.

    They are linked from this environment, so that nothing is downloaded; extras and development tools are not there.
    """
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    link_dependencies(wheel, site)
    environment = {key: value for key, value in os.environ.items() if key not in ("INSPATIO_HOME", "PYTHONPATH")}
    environment["XDG_DATA_HOME"] = str(tmp_path / "data")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, env=environment, check=True)
    write_clip(tmp_path / "here/clips/one.mp4", count=4)
    command = [tmp_path / "venv/bin/inspatio", "run", "--profile", "preview", "--input_dir", "clips"]
    command += ["--traj_txt_path", "orbit_left", "--disable_adaptive_frame"]
    done = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert probe(tmp_path / "here/output/clips/orbit_left/one.mp4").frame_count == 4
    command = [python, "-c", "import inspatio; print(inspatio.__file__)"]
    where = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(where.stdout.strip()) == site / "inspatio/__init__.py"


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def locked(name: str) -> dict[str, str]:
    """The packages of a lock file and what follows each name: version, marker, hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    lines = text.replace("\\\n", "").splitlines()
    return {line.partition("==")[0]: line.partition("==")[2] for line in lines if line and line.lstrip()[0] != "#"}


@pytest.mark.parametrize("extra", ["base", *sorted(EXTRAS.keys() - UNLOCKED)])
def test_lock_files_have_everything_that_is_asked_for(extra: str) -> None:
    """Where this fails, pyproject.toml was changed: run `python scripts/lock.py`."""
    wanted = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"] + EXTRAS.get(extra, [])
    packages = locked("base") | locked(extra)
    for requirement in map(Requirement, wanted):
        if requirement.name != "torch":
            version = re.match(r"[^ ;]+", packages[requirement.name.lower()])
            assert version
            assert version[0] in requirement.specifier


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_every_locked_package_has_hashes_and_one_version(path: Path) -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for name, rest in locked(path.stem).items():
        assert re.fullmatch(r"(\S+)( ; [^-]+)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", rest), name
        assert re.search(rf"^{re.escape(name)}=={re.escape(rest.split()[0])}(\s|$)", constraints, re.MULTILINE), name
