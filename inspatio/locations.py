"""Where weights, profiles and trajectories are looked for, whatever the current folder is.

    weights                  home() / "checkpoints"
    profiles, trajectories   the shipped ones: configs/ and traj/ of the checkout, or their copies in an installed wheel
    what can be made again   cache()

``home()`` is INSPATIO_HOME if set, else the checkout that this package lies in, else the user's data folder. A relative
path in a profile is relative to it; a path on the command line is relative to the current folder, as everywhere.
Only the standard library is used, so that the downloader runs on a machine where nothing is installed.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

HOME_VARIABLE = "INSPATIO_HOME"
_PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """The repository that this package runs from; None where it was installed from a wheel."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "configs").is_dir() else None


def home() -> Path:
    """The folder that ``checkpoints/`` lies in."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    return checkout() or _user_data() / "inspatio"


def cache() -> Path:
    """The folder for what can be made again at any time: ``cache/`` in INSPATIO_HOME if set, else the user's cache."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser().absolute() / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inspatio"


def _user_data() -> Path:
    """The XDG base directory for data, which is also used on macOS."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")


def compiler_cache() -> Path:
    """Where compiled GPU kernels are kept, below the XDG base directory for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inspatio" / "inductor"


def in_home(path: Path | str) -> Path:
    """An absolute path from one that a profile gives relative to ``home()``."""
    return home() / path


def shown(path: Path | str) -> str:
    """A path as manifests and reports name it: relative to ``home()`` where it lies inside."""
    path = Path(path)
    return path.relative_to(home()).as_posix() if path.is_relative_to(home()) else str(path)


def shipped(kind: Literal["configs", "traj"]) -> Path:
    """The folder of profiles or trajectories that comes with the program."""
    return (checkout() or _PACKAGE) / kind


def find_trajectory(path: Path | str) -> Path:
    """Find a trajectory file: the path itself where it exists, else the shipped one of that name (also without .txt).

    What is found nowhere is returned unchanged, for the reader to refuse.
    """
    path = Path(path)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # a name that is too long or has a NUL, or a folder without permission
        return path
    if path.parent.name in ("", "traj"):
        for name in (path.name, f"{path.name}.txt"):
            candidate = shipped("traj") / name
            if candidate.is_file():
                return candidate
    return path


def tiny_checkpoints_command() -> str:
    """The command that makes the weights of the profile ``tiny``, as it works from the current folder."""
    root = checkout() or Path("the checkout")
    script = root / "scripts/make_tiny_checkpoints.py"
    script = script.relative_to(root) if Path.cwd() == root else script
    return f"python {shlex.quote(str(script))} {shlex.quote(str(in_home('checkpoints/tiny')))}"


def download_command(*arguments: str) -> str:
    """The command that downloads weights, as it works from the current folder."""
    root = checkout()
    if root is None:
        words = ["inspatio", "download"]
    else:
        script = root / "scripts" / "download.sh"
        words = ["bash", str(script.relative_to(root) if Path.cwd() == root else script)]
    return " ".join([*words[:1], *(shlex.quote(word) for word in words[1:]), *arguments])
