"""`inspatio doctor`: what this machine and these checkpoints can do, what is missing, and the exact next command."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inspatio.config import Profile
from inspatio.errors import UserError
from inspatio.models.checkpoints import DOWNLOAD, needs

PACKAGES = ("torch", "transformers", "numpy", "numba", "av", "opencv-python-headless")
OPTIONAL = {
    "flash-attn": "faster attention on NVIDIA GPUs: pip install -e '.[flash]'",
    "scikit-image": "scripts/evaluate.py: pip install -e '.[evaluation]'",
}


def examine(profiles: list[Profile]) -> int:
    """Print the report; the exit code says whether any of the profiles can run (0) or none (1).

    A profile that is looked at alone has its memory predicted too, which takes some seconds.
    """
    print("\n".join([*_machine(), "", *_packages(), ""]))
    ready = []
    for candidate in profiles:
        lines, complete = _profile(candidate, predict=len(profiles) == 1)
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


def _profile(profile: Profile, *, predict: bool) -> tuple[list[str], bool]:
    missing = [(need, path) for need in needs(profile) for path in need.missing]
    lines = [f"profile {profile.name}: {'ready' if not missing else 'weights are missing'} ({profile.description})"]
    lines += [f"  {need.stage}: {need.what}: no {path}" for need, path in missing]
    if predict and profile.generator.backend == "causal":
        lines += _memory(profile)
    if missing:
        lines.append(f"  next: {DOWNLOAD} --profile {profile.name}")
    else:
        lines.append(
            f"  next: bash run_pipeline.sh --profile {profile.name} --input_dir examples "
            "--traj_txt_path traj/x_y_circle_cycle.txt"
        )
    return lines, not missing


def _memory(profile: Profile) -> list[str]:
    """The device memory that generating needs, predicted from the config, as it is and with the leaner options."""
    from inspatio.generation.inspatio_world.loading import read_dit_config
    from inspatio.generation.inspatio_world.memory_estimate import estimate_memory
    from inspatio.models.wan.dit import PUBLISHED

    config = profile.generator
    try:
        network = read_dit_config(config)
    except UserError:  # not downloaded yet; the file's name says which of the published sizes it is
        network = PUBLISHED[5120 if "14b" in config.checkpoint_path.lower() else 1536]
    leaner = {
        "as it is": config,
        "--use_tae": replace(config, encoder="taehv", decoder="taehv"),
        "--use_tae --offload": replace(config, encoder="taehv", decoder="taehv", offload=True),
    }
    peaks = {options: estimate_memory(choice, network, profile.size).peak / 2**30 for options, choice in leaner.items()}
    said = ", ".join(f"{peak:.1f} GiB {options}" for options, peak in peaks.items())
    return [f"  memory to generate (estimated, without the CUDA context): {said}"]
