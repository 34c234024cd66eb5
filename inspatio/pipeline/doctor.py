"""Report what this machine can do with which weights, and their licences: `inspatio doctor`, `inspatio licenses`.

Every profile gets the exact next command: the download where weights are missing, else a first run.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inspatio.config import Profile
from inspatio.errors import UserError
from inspatio.locations import HOME_VARIABLE, home, shown
from inspatio.models.checkpoints import advice, checkpoint_of, needs

PLATFORMS = "Linux, Python 3.11 to 3.13, NVIDIA GPU or CPU (macOS and Windows under WSL: not tested)"
PACKAGES = ("torch", "transformers", "numpy", "numba", "av", "opencv-python-headless")
OPTIONAL = {
    "flash-attn": "faster attention on NVIDIA GPUs: pip install -e '.[flash]'",
    "torchmetrics": "inspatio evaluate: EXTRAS=evaluation bash scripts/setup.sh",
}


def examine(profiles: list[Profile]) -> int:
    """Print the report of `inspatio doctor`; the exit code is 0 if any of the profiles can run, else 1.

    Memory is predicted for a single profile only, since that takes some seconds.
    """
    print("\n".join([*_machine(), "", *_packages(), ""]))
    ready = []
    for candidate in profiles:
        lines, complete = _profile(candidate, predict=len(profiles) == 1)
        print("\n".join(lines))
        if complete:
            ready.append(candidate.name)
    return 0 if ready else 1


def examine_weights(profile: Profile) -> int:
    """Print the report of `inspatio doctor --weights`; the exit code is 1 if anything failed."""
    import torch

    from inspatio.pipeline.weights_check import check_weights

    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"profile {profile.name}: weights on {device}")
    failures = 0
    for finding in check_weights(profile, device):
        print(finding, flush=True)
        failures += finding.passed is False
    print(f"{failures} failed" if failures else "nothing failed")
    return 1 if failures else 0


def print_licenses(profiles: list[Profile]) -> int:
    """Print the report of `inspatio licenses`."""
    for profile in profiles:
        lines = [f"profile {profile.name}"]
        for need in needs(profile):
            status = "missing" if need.missing else "in place"
            lines.append(f"  {need.stage:>8}: {need.what} at {shown(need.path)} ({status}): {need.license}")
        if len(lines) == 1:
            lines.append("  no weights, nothing but this program (Apache-2.0)")
        print("\n".join(lines))
    return 0


def _machine() -> list[str]:
    import torch

    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    lines = [
        "machine",
        f"  {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {pages * page / 2**30:.0f} GiB memory, "
        f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free on this disk",
        f"  supported: {PLATFORMS}",
        f"  weights are looked for in {home() / 'checkpoints'} (set {HOME_VARIABLE} for another place)",
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            lines.append(f"  GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
        lines += _gpu_libraries()
    else:
        lines.append("  no CUDA GPU: profile preview runs well here; the networks run, but slowly")
    return lines


def _gpu_libraries() -> list[str]:
    """What the generator will use on the first GPU, and what is known to be wrong with it."""
    import torch

    from inspatio.models.attention import backend_from_environment, choose
    from inspatio.models.cudnn import fault_in_half
    from inspatio.models.wan.optimize import why_no_fp8

    device, cudnn = torch.device("cuda:0"), torch.backends.cudnn.version()
    attention = choose(backend_from_environment(), device, torch.bfloat16, 128)
    no_fp8 = why_no_fp8(device)
    lines = [
        f"  CUDA {torch.version.cuda}, cuDNN {cudnn}, attention: {attention}, "
        f"precision fp8: {no_fp8 or 'possible'} (no release of this program has run on a GPU yet)"
    ]
    if fault := fault_in_half(torch.__version__, cudnn):
        lines.append(f"  warning: {fault}. Install PyTorch 2.10 or later, or use --use_tae")
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9):
        lines.append("  note: before PyTorch 2.9 RMS norms are several kernels each; 2.10 or later is faster")
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
    lines += [f"  {need.stage}: {need.what}: missing {shown(path)}" for need, path in missing]
    if predict and profile.generator.backend == "causal":
        lines += _memory(profile)
    elif predict and profile.generator.backend == "worldfm":
        lines += _worldfm_memory(profile)
    if missing:
        lines.append(f"  next: {advice(profile)}")
    else:
        lines.append(
            f"  next: inspatio run --profile {profile.name} --input_dir FOLDER_OF_VIDEOS --traj_txt_path orbit_left"
        )
    return lines, not missing


def _memory(profile: Profile) -> list[str]:
    """Predict the device memory of generating, with the profile's options and with leaner ones."""
    from inspatio.generation.inspatio_world.memory_estimate import estimate_memory
    from inspatio.models.wan.checkpoint import PUBLISHED, read_config

    config = profile.generator
    try:
        network = read_config(Path(config.checkpoint_path), Path(config.wan_path))
    except UserError:  # not downloaded yet; its folder's name says which of the published networks it is
        row = checkpoint_of(Path(config.checkpoint_path))
        if row is None or row.width is None:
            return ["  memory to generate: not predicted, the size of this network is not known yet"]
        network = PUBLISHED[row.width]
    leaner = {
        "as it is": config,
        "--use_tae": replace(config, encoder="taehv", decoder="taehv"),
        "--use_tae --offload": replace(config, encoder="taehv", decoder="taehv", offload=True),
    }
    peaks = {options: estimate_memory(choice, network, profile.size).peak for options, choice in leaner.items()}
    return [_peaks(peaks)]


def _worldfm_memory(profile: Profile) -> list[str]:
    """The same for WorldFM; of weights that are not there the published sizes are taken."""
    from inspatio.generation.worldfm.memory_estimate import estimate_worldfm_memory
    from inspatio.models.worldfm.autoencoder import AutoencoderConfig
    from inspatio.models.worldfm.checkpoint import read_autoencoder_config, read_config
    from inspatio.models.worldfm.dit import WorldFMConfig

    config = profile.generator
    try:
        network = read_config(Path(config.checkpoint_path))
        autoencoder = read_autoencoder_config(Path(config.image_vae_path))
    except UserError:
        network, autoencoder = WorldFMConfig(), AutoencoderConfig()
    choices = {"as it is": config, "--offload": replace(config, offload=True)}
    if config.precision == "fp8":  # which does not go together with offload
        del choices["--offload"]
    return [
        _peaks(
            {
                options: estimate_worldfm_memory(choice, network, autoencoder, profile.size).peak
                for options, choice in choices.items()
            }
        )
    ]


def _peaks(peaks: dict[str, int]) -> str:
    said = ", ".join(f"{peak / 2**30:.1f} GiB {options}" for options, peak in peaks.items())
    return f"  memory to generate (estimated, without the CUDA context): {said}"
