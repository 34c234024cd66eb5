"""The options of trajectories; imports nothing heavy, since every command's parser knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inspatio.settings import Settings, setting
from inspatio.types import Direction, FitMode


@dataclass(frozen=True, kw_only=True)
class TrajectoryOptions(Settings):
    """The path of the new camera, and what depends on it."""

    trajectory_path: Path | None = setting(
        None,
        "trajectory file: pitch, yaw, displacement, or matrices; this or --traj is needed",
        option="--traj_txt_path",
        metavar="TXT",
        changes="render",
        by_content=True,
    )
    trajectory_text: str | None = setting(
        None,
        "trajectory by name (orbit_left), expression (orbit(yaw=20)+zoom(2)), pose string (forward:36,turn-left:24) or "
        "file of any format; or several, comma-separated, each with a run folder of its own",
        option="--traj",
        metavar="TRAJECTORY",
        changes="render",
        by_content=True,
    )
    trajectory_direction: Direction | None = setting(
        None,
        "direction of the matrices of a trajectory file that does not name it",
        option="--traj_direction",
        changes="render",
    )
    output_folder: Path | None = setting(
        None,
        "renders and results",
        option="--output_folder",
        metavar="DIR",
        unset="output/<input name>/<trajectory name>",
    )
    fit: FitMode = setting(
        "crop",
        "how a source of another shape becomes the working frame: cut it, add borders, or distort it",
        option="--fit",
        changes="render",
    )
