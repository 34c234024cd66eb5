"""Trajectories by what a user writes: a file, a shipped name, a pose string, or an expression; or a list of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from inspatio.cameras.expressions import PRESETS, Term, is_expression, number, parse_expression, split
from inspatio.cameras.formats import TrajectoryFile, read_trajectory
from inspatio.cameras.moves import is_move, parse_moves
from inspatio.cameras.trajectory import Trajectory
from inspatio.errors import UsageError
from inspatio.locations import find_trajectory, shipped
from inspatio.types import Direction

MAX_REACH = 1e3
"""The largest scale of an imported path, and the farthest that a followed one may go, in foreground depths."""
_MAX_NAME = 80


@dataclass(frozen=True)
class NamedTrajectory:
    """A trajectory, what it was asked for as, the files it was read from, and what to tell the user about it."""

    text: str
    trajectory: Trajectory
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name for its results, safe for a folder."""
        if Path(self.text).exists():
            return Path(self.text).stem
        return re.sub(r"[^\w.=-]+", "_", self.text).strip("_.")[:_MAX_NAME] or "trajectory"

    @property
    def is_file(self) -> bool:
        """Whether it is one file's content and nothing else."""
        return len(self.files) == 1 and self.text == str(self.files[0])


def split_trajectories(text: str) -> list[str]:
    """The trajectories of a comma-separated list; neighbouring moves are one pose string.

    Raises:
        UsageError: brackets are not closed, or an entry is empty.
    """
    if _is_there(Path(text)):
        return [text]
    found: list[str] = []
    for part in (part.strip() for part in split(text, ",")):
        if not part:
            raise UsageError(f"--traj {text!r}: got an empty entry, expected a trajectory")
        if found and is_move(part) and all(is_move(each) for each in found[-1].split(",")):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def load_named(
    text: str, direction: Direction | None, follow: Callable[[Path, float | None], TrajectoryFile]
) -> NamedTrajectory:
    """The trajectory that a text names.

    Args:
        text: a path, the name of a shipped trajectory, a pose string or an expression.
        direction: the direction of matrices in a file that does not name it.
        follow: the camera of a clip or of a path file, scaled to the foreground (``geometry/followed.py``).

    Raises:
        UsageError: it names none; one line with what was got and expected.
    """
    path = find_trajectory(text)
    if not _is_there(path):
        if all(is_move(part) for part in text.split(",")):
            return NamedTrajectory(text, parse_moves(text))
        if is_expression(text) or text in PRESETS:
            return _expression(text, direction, follow)
        if "/" not in text and "." not in text:
            raise UsageError(f"--traj {text[:60]}: there is none of that name; expected {_known()}")
    return load_file(path, direction)


def load_file(path: Path, direction: Direction | None) -> NamedTrajectory:
    """The trajectory of a file, or of a shipped one by its name.

    Raises:
        UsageError: there is no such file, or it is not a trajectory.
    """
    path = find_trajectory(path)
    found = read_trajectory(path, direction)
    return NamedTrajectory(str(path), found.trajectory, found.files, found.notes)


def _expression(
    text: str, direction: Direction | None, follow: Callable[[Path, float | None], TrajectoryFile]
) -> NamedTrajectory:
    files: list[Path] = []
    notes: list[str] = []

    def load(term: Term) -> Trajectory:
        found = _file_term(term, direction, follow)
        files.extend(found.files)
        notes.extend(found.notes)
        return found.trajectory

    trajectory = parse_expression(text, load)
    return NamedTrajectory(" ".join(text.split()), trajectory, tuple(files), tuple(notes))


def _file_term(
    term: Term, direction: Direction | None, follow: Callable[[Path, float | None], TrajectoryFile]
) -> TrajectoryFile:
    """The trajectory of ``path(FILE, ..)``, ``follow(FILE, ..)`` or the name of a shipped file."""
    known = {"path": ("scale", "direction", "source"), "follow": ("reach",)}.get(term.name)
    if known is None:
        path = find_trajectory(term.name)
        if term.positional or term.named or not _is_there(path):
            raise UsageError(f"--traj {term.text}: there is none of that name; expected {_known()}")
        return read_trajectory(path, direction)
    unknown = [key for key in term.named if key not in known]
    if len(term.positional) != 1 or unknown:
        usage = ", ".join(["FILE", *(f"{key}=.." for key in known)])
        raise UsageError(f"{term.text}: expected {term.name}({usage})")
    path = find_trajectory(term.positional[0])
    if term.name == "follow":
        reach = term.named.get("reach")
        return follow(path, None if reach is None else number(term, "reach", reach, 0, MAX_REACH))
    given = term.named.get("direction")
    if given is not None and given not in get_args(Direction):
        raise UsageError(f"{term.text}: direction: got {given}, expected {' or '.join(get_args(Direction))}")
    scale = number(term, "scale", term.named.get("scale", "1"), 1 / MAX_REACH**2, MAX_REACH**2)
    source = term.named.get("source")
    chosen: Direction | None = direction if given is None else cast("Direction", given)
    return read_trajectory(path, chosen, scale=scale, source=None if source is None else Path(source))


def _known() -> str:
    names = sorted(path.stem for path in shipped("traj").glob("*.txt"))
    return f"a file, one of {', '.join(names)}, or {', '.join(f'{name}(..)' for name in [*PRESETS, 'path', 'follow'])}"


def _is_there(path: Path) -> bool:
    try:
        return Path(str(path).partition("#")[0]).exists()
    except (OSError, ValueError):
        return False
