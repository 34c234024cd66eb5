"""Geometry backends ``files`` and ``auto``: import geometry from a folder beside the clip, in any supported format.

The geometry of ``clip.mp4`` is looked for in ``clip.geometry/``, then in ``clip/``. The folder's content tells the
format, not its name: a geometry folder (``store.py``), a folder of the public InSpatio-World code, a COLMAP dense
workspace, a TUM RGB-D sequence, results of ViPE, VGGT or MegaSaM. It is converted frame by frame into the work folder;
the input is never written to.

``auto`` imports where there is such a folder and uses another backend for the other clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from inspatio.errors import ClipError
from inspatio.geometry.backend import GeometryBackend, GeometrySummary
from inspatio.geometry.formats import colmap, inspatio_world, megasam, native, tum, v15, vggt, vipe
from inspatio.geometry.store import CALIBRATED, GeometryWriter
from inspatio.media import SourceInfo
from inspatio.media.listing import GEOMETRY_SUFFIX
from inspatio.storage import is_there
from inspatio.types import Progress

VERSION = 2
IMPORTERS: tuple[ModuleType, ...] = (native, v15, inspatio_world, tum, colmap, vipe, vggt, megasam)
FORMATS = (
    "a geometry folder, a folder of the public InSpatio-World code, a COLMAP dense workspace, a TUM RGB-D sequence, or "
    "results of ViPE, VGGT or MegaSaM"
)


def find_geometry(source: Path) -> Path | None:
    """Find the geometry folder beside a clip; None if there is none.

    ``<stem>.geometry/`` counts whatever it holds; a folder with just the clip's name only if its format is known. A
    folder of views or a scene folder may hold its geometry itself.
    """
    scene = source.parent.parent  # of a scene folder's input/video.mp4
    if source.parent.name == "input" and v15.matches(scene):
        return scene
    is_folder = source.is_dir()
    named = source.with_name(f"{source.name if is_folder else source.stem}{GEOMETRY_SUFFIX}")
    if is_there(named) and named.is_dir():
        return named
    plain = source if is_folder else source.with_suffix("")
    return plain if (is_folder or plain != source) and plain.is_dir() and _importer(plain) is not None else None


@dataclass(frozen=True)
class FilesGeometry:
    """Backend ``files``; ``folder`` replaces the search beside the clip."""

    folder: Path | None = None

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        """Name and content of every file in the folder, so that a copy has the same fingerprint and an edit does not.

        Raises:
            ClipError: as :meth:`estimate`.
        """
        folder = self._find(video)
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            state = path.stat()
            content = _content_hash(path, state.st_size, state.st_mtime_ns)
            digest.update(f"{path.relative_to(folder)}\0{content}\n".encode())
        return {"backend": "files", "version": VERSION, "folder": folder.name, "files": digest.hexdigest()}

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Convert the folder's geometry.

        Raises:
            ClipError: the folder is missing, damaged, or of another clip.
        """
        source = self._find(video)
        importer = _importer(source)
        if importer is None:
            raise ClipError(f"{source}: no geometry of a known format; expected {FORMATS}")
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
        settings = imported.settings | ({CALIBRATED: True} if imported.calibrated else {})
        writer.finish(imported.intrinsics, imported.world_to_camera, imported.scale, "files", settings)
        return GeometrySummary("files", imported.scale, count, imported.notes)

    def _find(self, video: SourceInfo) -> Path:
        folder = self.folder or find_geometry(video.path)
        if folder is None or not folder.is_dir():
            where = folder or f"{video.path.stem}.geometry/ or {video.path.stem}/"
            raise ClipError(
                f"{video.path}: no geometry at {where}; expected {FORMATS}. "
                "Or choose --geometry motion (for a moving camera), da3 (needs its weights) or plane (a guess)."
            )
        return folder


class AutoGeometry:
    """Backend ``auto``: ``files`` for clips with a geometry folder beside them, the fallback for all others.

    ``make_fallback`` is called for the first clip that needs it.
    """

    def __init__(self, files: FilesGeometry, make_fallback: Callable[[], GeometryBackend]) -> None:
        self._files = files
        self._make_fallback = make_fallback

    @cached_property
    def _fallback(self) -> GeometryBackend:
        return self._make_fallback()

    def fingerprint(self, video: SourceInfo) -> dict[str, Any]:
        """The fingerprint of the backend that is used for this clip."""
        return self._choose(video).fingerprint(video)

    def estimate(self, video: SourceInfo, folder: Path, progress: Progress) -> GeometrySummary:
        """Import or estimate, see :class:`GeometryBackend`."""
        return self._choose(video).estimate(video, folder, progress)

    def _choose(self, video: SourceInfo) -> GeometryBackend:
        return self._files if find_geometry(video.path) else self._fallback


@lru_cache(maxsize=4096)
def _content_hash(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file. Size and time are only keys of the cache, so that a process reads an unchanged file once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _importer(folder: Path) -> ModuleType | None:
    return next((importer for importer in IMPORTERS if importer.matches(folder)), None)
