"""Read the clip list of the public code, ``new.json``.

It is a JSON list of objects with ``video_path``, ``text``, ``vggt_depth_path``, ``vggt_extrinsics_path`` and
``radius_ratio``. It is read if it is in the input folder, or if it is named instead of a folder
(``--input_dir clips/new.json``). Its text serves as the caption, its depth folder as the geometry; its ratio multiplies
the scene's foreground depth. Extrinsics are read from the depth folder, where the public code writes them too; a list
that names other ones is refused. The public code resolves paths against the current folder; here the list's own folder
is tried first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from inspatio.errors import UsageError

PUBLIC_NAME = "new.json"
EXTRINSICS = ("extrinsics.txt", "extrinsic.txt")
"""Of the converted depth folder, and of the one that Depth Anything 3's step writes."""


def _possible(path: str) -> str:
    if "\0" in path or any(len(os.fsencode(part)) > 255 for part in Path(path).parts):
        raise ValueError(f"got {path[:60]!r}, which has a NUL or a name of more than 255 bytes, expected a path")
    return path


_Path = Annotated[str, AfterValidator(_possible)]


class PublicClip(BaseModel):
    """One entry; unknown keys are ignored, since the public code adds keys of its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    video_path: _Path
    text: str = ""
    vggt_depth_path: _Path | None = None
    vggt_extrinsics_path: _Path | None = None
    """``extrinsics.txt`` in the depth folder."""
    radius_ratio: Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)] = 1.0
    """Multiplies the foreground depth."""


def read_public(path: Path) -> list[PublicClip]:
    """Read the entries of a ``new.json``; their paths become absolute.

    Raises:
        UsageError: not a clip list; the message names the file, the entry and the field.
    """
    try:
        entries = TypeAdapter(list[PublicClip]).validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise UsageError(
            f"{path}: {place}: {fault['msg']}; expected a list of clips with video_path and text"
        ) from error
    for number, entry in enumerate(entries):
        extrinsics, folder = entry.vggt_extrinsics_path, entry.vggt_depth_path
        if extrinsics and (folder is None or Path(extrinsics) not in [Path(folder, name) for name in EXTRINSICS]):
            raise UsageError(
                f"{path}: {number}.vggt_extrinsics_path: got {extrinsics}, expected {EXTRINSICS[0]} in the folder "
                f"vggt_depth_path ({folder}). Put geometry into one folder."
            )
    return [
        entry.model_copy(
            update={
                "video_path": _resolve(entry.video_path, path.parent),
                "vggt_depth_path": entry.vggt_depth_path and _resolve(entry.vggt_depth_path, path.parent),
            }
        )
        for entry in entries
    ]


def _resolve(path: str, folder: Path) -> str:
    beside = folder / path
    return str(beside if beside.exists() else Path(path).resolve())
