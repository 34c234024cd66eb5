"""`inspatio doctor`: what this machine and these checkpoints can do, what is missing, and the exact next command."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inspatio.checkpoints import DOWNLOAD, needs
from inspatio.config import Profile

PACKAGES = ("torch", "transformers", "numpy", "numba", "av", "opencv-python-headless")
OPTIONAL = {
    "flash-attn": "faster attention on NVIDIA GPUs: pip install -e '.[flash]'",
    "viser": "the interactive viewer: pip install -e '.[viewer]'",
    "scikit-image": "scripts/evaluate_example.py: pip install -e '.[evaluation]'",
}


def examine(profiles: list[Profile]) -> int:
    """Print the report; the exit code says whether any of the profiles can run (0) or none (1)."""
    print("\n".join([*_machine(), "", *_packages(), ""]))
    ready = []
    for candidate in profiles:
        lines, complete = _profile(candidate)
        print("\n".join(lines))
        if complete:
            ready.append(candidate.name)
    return 0 if ready else 1


def _machine() -> list[str]:
    import torch

    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    lines = [
        "machine",
        f"  {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {pages * page / 2**30:.0f} GiB memory, "
        f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free on this disk",
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            lines.append(f"  GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    else:
        lines.append("  no CUDA GPU: profile preview runs well here; the networks run, but slowly")
    return lines


def _packages() -> list[str]:
    lines = ["packages", "  " + ", ".join(f"{name} {version(name)}" for name in PACKAGES)]
    for name, use in OPTIONAL.items():
        try:
            lines.append(f"  {name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"  {name} is not installed (optional; {use})")
    return lines


def _profile(profile: Profile) -> tuple[list[str], bool]:
    missing = [(need, path) for need in needs(profile) for path in need.missing]
    lines = [f"profile {profile.name}: {'ready' if not missing else 'weights are missing'} ({profile.description})"]
    lines += [f"  {need.stage}: {need.what}: no {path}" for need, path in missing]
    if missing:
        lines.append(f"  next: {DOWNLOAD} --profile {profile.name}")
    else:
        lines.append(
            f"  next: bash run_pipeline.sh --profile {profile.name} --input_dir examples "
            "--traj_txt_path traj/x_y_circle_cycle.txt"
        )
    return lines, not missing
