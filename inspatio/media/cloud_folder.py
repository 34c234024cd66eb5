"""Folders of scanned places: which pictures a ``transforms_condition.json`` names, as public WorldFM writes it.

    {"frames": [{"path": "conditions/0000.png", ...}]}        paths are relative to the file

Their cameras are read by ``geometry/formats/worldfm.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inspatio.errors import ClipError
from inspatio.media.listing import CONDITIONS_FILE


def picture_names(folder: Path) -> tuple[str, ...]:
    """The reference pictures of a point cloud's folder, as its file spells them.

    Raises:
        ClipError: the file cannot be read, or a frame names no picture.
    """
    return tuple(entry["path"] for entry in read_entries(folder / CONDITIONS_FILE))


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The frames of a ``transforms_condition.json``: at least one, each with the ``path`` of a picture.

    Raises:
        ClipError: the file cannot be read, or a frame names no picture.
    """
    try:
        entries = [dict(frame) for frame in json.loads(path.read_text(encoding="utf-8"))["frames"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ClipError(
            f"{path}: cannot be read as reference cameras ({type(error).__name__}), expected an object with frames"
        ) from error
    if not entries:
        raise ClipError(f"{path}: got no frames, expected at least one reference picture")
    for number, entry in enumerate(entries):
        if not isinstance(entry.get("path"), str) or "\0" in entry["path"]:
            raise ClipError(f"{path}: frame {number}: got no path, expected that of a picture")
    return entries
