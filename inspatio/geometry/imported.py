"""The backend ``files``: geometry that already lies beside the clip, of this package's format or of a foreign one.

For ``clip.mp4`` it is looked for in ``clip.geometry/``, then in ``clip/``. The format is told by what is in the folder,
not by its name: a geometry folder (``folder.py``), a folder of the public Depth Anything 3 step, a COLMAP dense
workspace, a TUM RGB-D sequence. It is converted into the work folder frame by frame; the input is never written to.

The names of the geometry folder's own reader and writer are found here too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from inspatio.errors import ClipError
from inspatio.geometry.backend import GeometrySummary
from inspatio.geometry.formats import colmap, da3, native, tum
from inspatio.geometry.store import (
    Geometry,
    GeometryDepth,
    GeometryWriter,
    load_geometry,
)
from inspatio.media import VideoInfo
from inspatio.types import Progress

__all__ = [
    "FilesGeometry",
    "Geometry",
    "GeometryDepth",
    "GeometryWriter",
    "find_geometry",
    "load_geometry",
]

VERSION = 1
IMPORTERS: tuple[ModuleType, ...] = (native, da3, tum, colmap)
FORMATS = "a geometry folder, a public DA3 folder, a COLMAP dense workspace or a TUM RGB-D sequence"


def find_geometry(video: Path) -> Path | None:
    """The geometry folder beside a clip, or None.

    ``<stem>.geometry/`` is meant to be one whatever it holds; a folder that just has the clip's name counts only if
    its content is of a known format.
    """
    named = video.with_name(f"{video.stem}.geometry")
    if named.is_dir():
        return named
    plain = video.with_suffix("")
    return plain if plain != video and plain.is_dir() and _importer(plain) is not None else None


@dataclass(frozen=True)
class FilesGeometry:
    """The backend ``files``; ``folder`` overrides the search beside the clip."""

    folder: Path | None = None

    def fingerprint(self, video: VideoInfo) -> dict[str, Any]:
        """Changes when a file in the folder is added, removed or written again. Raises ClipError as ``estimate``."""
        folder = self._find(video)
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            state = path.stat()
            digest.update(f"{path.relative_to(folder)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
        return {"backend": "files", "version": VERSION, "folder": folder.name, "files": digest.hexdigest()}

    def estimate(self, video: VideoInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Convert what lies beside the clip.

        Raises:
            ClipError: there is nothing, or it is broken, or it is not of this clip.
        """
        source = self._find(video)
        importer = _importer(source)
        if importer is None:
            raise ClipError(f"{source}: holds no geometry of a known format; expected {FORMATS}")
        imported = importer.open_folder(source, video)
        count = len(imported.world_to_camera)
        if count != video.frame_count:
            raise ClipError(
                f"{source}: geometry of {count} frames, but {video.path.name} has {video.frame_count}; "
                "expected one for each frame of the clip"
            )
        writer = GeometryWriter(
            folder,
            imported.image_size,
            imported.depth_size,
            count,
            dtype=imported.depth_dtype,
            same_depth=imported.same_depth,
        )
        expected, done = 1 if imported.same_depth else count, 0
        for maps in imported.maps:
            done += 1
            if done > expected:
                break
            depth, confidence, sky = maps
            writer.write(
                depth[None], None if confidence is None else confidence[None], None if sky is None else sky[None]
            )
            progress(done, count)
        if done != expected:
            raise ClipError(f"{source}: {'more' if done > expected else done} depth maps, expected {expected}")
        writer.finish(imported.intrinsics, imported.world_to_camera, imported.scale, "files", imported.settings)
        return GeometrySummary("files", imported.scale, count, imported.notes)

    def _find(self, video: VideoInfo) -> Path:
        folder = self.folder or find_geometry(video.path)
        if folder is None or not folder.is_dir():
            where = folder or f"{video.path.stem}.geometry/ or {video.path.stem}/"
            raise ClipError(
                f"{video.path}: no geometry at {where}; expected {FORMATS}. "
                "Or choose --geometry da3 (needs its weights) or plane (a prior)."
            )
        return folder


def _importer(folder: Path) -> ModuleType | None:
    return next((importer for importer in IMPORTERS if importer.matches(folder)), None)
