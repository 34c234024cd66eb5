"""Geometry from the files beside a clip where there are any, else by another backend. Each clip decides for itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from inspatio.geometry.backend import GeometryBackend, GeometrySummary
from inspatio.geometry.imported import FilesGeometry, find_geometry
from inspatio.media import VideoInfo
from inspatio.types import Progress


class AutoGeometry:
    """The backend ``auto``; ``make_fallback`` is called when the first clip without files comes."""

    def __init__(self, files: FilesGeometry, make_fallback: Callable[[], GeometryBackend]):
        self._files = files
        self._make_fallback = make_fallback

    @cached_property
    def _fallback(self) -> GeometryBackend:
        return self._make_fallback()

    def fingerprint(self, video: VideoInfo) -> dict[str, Any]:
        return self._choose(video).fingerprint(video)

    def estimate(self, video: VideoInfo, folder: Path, progress: Progress) -> GeometrySummary:
        return self._choose(video).estimate(video, folder, progress)

    def _choose(self, video: VideoInfo) -> GeometryBackend:
        return self._files if find_geometry(video.path) else self._fallback
