"""What is read: the options of every command that works on clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inspatio.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class InputOptions(Settings):
    """What is read, and where what does not depend on the trajectory is kept."""

    input: Path = setting(
        Path(),
        "folder of videos, images, folders of views, and 1.5 scene folders; or one of these; or a new.json clip list",
        option="--input_dir",
        metavar="PATH",
        required=True,
    )
    views: bool = setting(
        False, "the images of --input_dir are views of one place (as those of a subfolder always are)", option="--views"
    )
    clips: tuple[str, ...] | None = setting(
        None,
        "only these clips, by name or pattern (a,b*), comma-separated",
        option="--clips",
        metavar="NAMES",
        unset="all",
    )
    limit: int | None = setting(
        None, "only the first N of the clips", option="--limit", metavar="N", unset="all", least=1
    )
    work_folder: Path | None = setting(
        None,
        "captions and geometry, shared by all trajectories",
        option="--work_folder",
        metavar="DIR",
        unset="output/<input name>",
    )
