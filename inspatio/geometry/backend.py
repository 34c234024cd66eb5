"""What every geometry backend gives, whatever it is: a geometry folder.

A backend reads a clip and writes, into a folder made for it, the files that ``geometry/folder.py`` describes
(depth maps that can be memory-mapped, ``cameras.json``). Geometry is of the whole upright source frame and does not
depend on ``--fit`` or the trajectory, so it is kept once per clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inspatio.media import VideoInfo
from inspatio.types import Progress, ScaleKind


@dataclass(frozen=True)
class GeometrySummary:
    """What a backend says of its result; kept in the manifest beside the folder."""

    backend: str
    scale: ScaleKind
    frame_count: int
    notes: tuple[str, ...] = ()
    """What the user should know of it, one sentence each (a prior is a prior, a fallback was taken)."""


class GeometryBackend(Protocol):
    """Makes the geometry of a clip."""

    def fingerprint(self, video: VideoInfo) -> dict[str, Any]:
        """What the result depends on besides the video: name, version, options, weights, input files (JSON values)."""
        ...

    def estimate(self, video: VideoInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Write the clip's geometry into the empty ``folder``.

        Raises:
            ClipError: this clip has no geometry by this backend; the message says why and what to do.
        """
        ...
