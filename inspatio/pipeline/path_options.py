"""The options of trajectories; imports nothing heavy, since every command's parser knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inspatio.settings import Settings, setting
from inspatio.types import Direction, ExportFormat, FitMode, PathFormat


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
    turn: bool = setting(
        True,
        "keep the profile's wide frame for portrait sources too, which else get one on its end (480x832)",
        off="--no_turn",
        changes="render",
    )


@dataclass(frozen=True, kw_only=True)
class PathOptions(Settings):
    """What `inspatio path` takes."""

    action: Literal["show", "convert"] | None = setting(
        None, "show: a picture and what the path is; convert: write it in another format", option="ACTION", unset="show"
    )
    trajectory_text: str | None = setting(
        None, "a trajectory, as for --traj", option="TRAJECTORY", metavar="TRAJECTORY", unset="none"
    )
    target: Path | None = setting(
        None, "the file to write: of show a .png, of convert a camera path", option="TARGET", unset="<trajectory>.png"
    )
    path_format: PathFormat | None = setting(None, "format to convert to", option="--to", unset="that of TARGET's name")
    scene: Path | None = setting(
        None,
        "the clip that the path is for: its points and source path are shown, and the path fitted to it",
        option="--scene",
        metavar="VIDEO",
        unset="none",
    )
    work_folder: Path | None = setting(
        None,
        "where an earlier run left the clip's geometry",
        option="--work_folder",
        metavar="DIR",
        unset="output/<input name>, else geometry is estimated",
    )
    trajectory_direction: Direction | None = setting(
        None, "direction of the matrices of a trajectory file that does not name it", option="--traj_direction"
    )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Settings):
    """What `inspatio export` takes."""

    export_format: ExportFormat | None = setting(None, "format to write", option="FORMAT", unset="none")
    clip: Path | None = setting(
        None,
        "the clip (a video, image, folder of views, scene folder or panorama) whose geometry is there",
        option="VIDEO",
        unset="none",
    )
    work_folder: Path | None = setting(
        None,
        "where an earlier run left the clip's geometry",
        option="--work_folder",
        metavar="DIR",
        unset="output/<input name>",
    )
    cameras: Path | None = setting(
        None,
        "<clip>.cameras.json of a result, whose cameras are animated beside the source's (glb, gltf)",
        option="--cameras",
        metavar="FILE",
        unset="none",
    )
    target: Path | None = setting(
        None, "file or folder to write", option="--to", metavar="PATH", unset="<work folder>/exports/<clip>"
    )
    frames: tuple[int, ...] | None = setting(
        None,
        "frames that the exported points come from, comma-separated",
        option="--frames",
        metavar="NUMBERS",
        unset="8 of all",
        least=0,
    )
