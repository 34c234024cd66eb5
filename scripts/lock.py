"""Write the lock files of all dependencies: python scripts/lock.py [--upgrade]. Run it after changing pyproject.toml.

    requirements/base.txt       what the program needs: versions, and the hashes of all files on PyPI of each version
    requirements/<extra>.txt    what an extra of pyproject.toml adds, with what it depends on
    constraints.txt             the same versions, those of PyTorch and of all extras included, for `pip install -c`

One set of files serves Python 3.11 to 3.13 on Linux (x86-64 and ARM) and macOS: lines that concern some of them only
have markers. Versions that still fit stay; ``--upgrade`` takes the newest. scripts/setup.sh installs from these files,
and pip refuses a download with another hash.

PyTorch is in constraints.txt alone, since its builds (CPU, CUDA, ROCm) differ. What all builds depend on is in
``[tool.uv]`` of pyproject.toml. The extra ``flash`` is not locked: it is compiled against the PyTorch that is there.

Needs Python 3.11 and PyPI; uv, which resolves, is installed into a temporary environment.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.9"
UNLOCKED = {"flash"}
COMMAND = "python scripts/lock.py"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write requirements/*.txt and constraints.txt.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions [keep those that still fit]")
    options = parser.parse_args(arguments)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [name for name in project["project"]["optional-dependencies"] if name not in UNLOCKED]
    with tempfile.TemporaryDirectory() as folder:
        uv = install_uv(Path(folder))
        build = "\n".join(project["build-system"]["requires"])

        def compile_to(output: str, *more: str, besides: str = "") -> None:
            command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
            command += [
                "--annotation-style",
                "line",
                "--custom-compile-command",
                COMMAND,
                "--output-file",
                output,
                *more,
                "pyproject.toml",
            ]
            command += ["-"] if besides else []
            subprocess.run([*map(str, command)], cwd=ROOT, input=besides, text=True, check=True)

        every = [word for name in extras for word in ("--extra", name)]
        compile_to("constraints.txt", *every, *(["--upgrade"] if options.upgrade else []), besides=build)
        hashed = ["--generate-hashes", "--constraints", "constraints.txt", "--no-emit-package", "torch"]
        (ROOT / "requirements").mkdir(exist_ok=True)
        compile_to("requirements/base.txt", *hashed, besides=build)
        base = re.findall(r"^([\w.-]+)==", (ROOT / "requirements/base.txt").read_text(encoding="utf-8"), re.MULTILINE)
        for name in extras:
            known = [word for package in base for word in ("--no-emit-package", package)]
            compile_to(f"requirements/{name}.txt", *hashed, "--extra", name, *known)
        for path in (ROOT / "requirements").glob("*.txt"):
            if path.stem not in ("base", *extras):
                path.unlink()
    return 0


def install_uv(folder: Path) -> Path:
    """Install the pinned uv into a virtual environment of its own; returns the program."""
    venv.create(folder / "uv", with_pip=True)
    bin_folder = folder / "uv/bin"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([bin_folder / "pip", "install", "--quiet", UV], env=environment, check=True)
    return bin_folder / "uv"


if __name__ == "__main__":
    sys.exit(main())
