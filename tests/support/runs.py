"""Runs of the whole pipeline without networks, at a small size, in the current folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from support.paths import ROOT

from inspatio.pipeline.cli import main

STILL, ORBIT = ROOT / "traj" / "still.txt", ROOT / "traj" / "orbit_left.txt"
LOCKS = (".lock", ".reading.lock", ".workers.lock")
PROFILE = """\
description: the preview at a size for tests
height: 48
width: 80
caption: {backend: sidecar}
geometry: {backend: auto}
generator: {backend: preview}
"""


def arguments(*extra: object, trajectory: Path = STILL, command: str = "run") -> list[str]:
    fixed = [command, "--config_path", "small.yaml", "--input_dir", "clips", "--traj_txt_path", trajectory]
    return [str(argument) for argument in [*fixed, *extra]]


def run(*extra: object, trajectory: Path = STILL, command: str = "run") -> int:
    return main(arguments(*extra, trajectory=trajectory, command=command))


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder and what is in it, but for the times that manifests keep."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            re.sub(rb'"(mtime_ns|seconds)": [\d.]+', b"", path.read_bytes())
            if path.name == "manifest.json"
            else path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in LOCKS
        for data in [path.read_bytes()]
    }


def times(folder: Path) -> dict[str, int]:
    """When every file but manifests and locks was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (*LOCKS, "manifest.json")
    }
