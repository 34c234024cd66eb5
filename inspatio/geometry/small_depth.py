"""The small Depth Anything 3 models (Apache-2.0) that ``auto`` takes, if downloaded, where a camera stands still."""

from __future__ import annotations

from pathlib import Path

from inspatio.locations import download_command, in_home
from inspatio.models.checkpoints import CHECKPOINTS, CONFIG, SAFETENSORS

SMALL_DEPTH = ("DA3-BASE", "DA3-SMALL")
"""Models that a CPU can run, the better first."""


def small_depth_folder() -> Path | None:
    """The folder of the best of :data:`SMALL_DEPTH` that is downloaded; None where there is none."""
    folders = [in_home(Path("checkpoints") / name) for name in SMALL_DEPTH]
    return next((each for each in folders if all((each / name).is_file() for name in (CONFIG, SAFETENSORS))), None)


def small_depth_offer() -> str:
    """How to get the smallest of them: command, size and licence, as a clause."""
    row = CHECKPOINTS[SMALL_DEPTH[-1]]
    gigabytes = 4 * float(row.parameters.split()[0])  # float32
    return f"{download_command(row.name)} (about {gigabytes:.1f} GB, {row.license})"
