"""Geometry stage: depth and cameras of every clip into the work folder, then reports and exports if asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from inspatio import factory
from inspatio.errors import ClipError
from inspatio.export.formats import export, export_name
from inspatio.export.report import write_report
from inspatio.geometry.backend import GeometryBackend
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.locations import shown
from inspatio.media import SourceReader, open_source
from inspatio.media.listing import PLACES
from inspatio.media.pictures import PictureInfo
from inspatio.models.checkpoints import license_of_depth_anything
from inspatio.pipeline.records import GeometryResult, StageResult
from inspatio.pipeline.result_files import files_below, record_files
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.storage import atomic_folder, is_there
from inspatio.types import Progress

_log = logging.getLogger(__name__)

VERSION = 1


class GeometryStage(Stage):
    """Estimate or import the geometry of every clip."""

    name = "geometry"

    def __init__(self, workspace: Workspace):
        super().__init__(workspace)
        self._backends: dict[str | None, GeometryBackend] = {}
        self._places: dict[str, GeometryBackend] = {}

    def inputs(self, state: ClipState) -> dict[str, Any]:
        return {
            "version": VERSION,
            "source": state.source.fingerprint,
            "backend": self._backend(state).fingerprint(self.workspace.info(state)),
        }

    def result(self, state: ClipState) -> GeometryResult | None:
        block = state.geometry
        return block if block and (self.workspace.work.folder / block.folder / "cameras.json").is_file() else None

    def replaces(self, state: ClipState) -> bool:
        return is_there(self.workspace.work.folder / f"geometry/{state.id}")

    def process(self, states: Sequence[ClipState], progress: Progress) -> list[StageResult | ClipError]:
        (state,) = states
        made_from = self.made_from(state)
        relative = f"geometry/{state.id}"
        with atomic_folder(self.workspace.work.folder / relative) as folder:
            info = self.workspace.info(state)
            summary = self._backend(state).estimate(info, folder, progress)
            self.workspace.check_source(state)
        return [
            GeometryResult(
                **made_from,
                files=record_files(self.workspace.work.folder, files_below(self.workspace.work.folder, relative)),
                folder=relative,
                backend=summary.backend,
                scale=summary.scale,
                frame_count=summary.frame_count,
                notes=[*(info.notes if isinstance(info, PictureInfo) else ()), *summary.notes],
                weights={shown(path): license_of_depth_anything(path) for path in summary.weights},
            )
        ]

    def conclude(self, states: Sequence[ClipState]) -> None:
        """Write the reports and exports that the job asks for, once all clips are done."""
        if not (self.job.report or self.job.export):
            return
        for state in states:
            if state.geometry is None or state.source.kind in PLACES:  # which have no depth maps of frames
                continue
            geometry = load_geometry(self.workspace.work.folder / state.geometry.folder)
            info = self.workspace.info(state)
            with open_source(info, geometry.image_size) as frames:
                if self.job.report:
                    self._report(state.id, geometry, frames)
                if self.job.export:
                    target = self.workspace.work.folder / "exports" / export_name(state.id, self.job.export)
                    rate, indices = info.frame_rate, self.job.export_frames
                    export(geometry, frames, target, self.job.export, frame_rate=rate, indices=indices)
                    _log.info("geometry: %s", target)

    def _report(self, clip_id: str, geometry: Geometry, frames: SourceReader) -> None:
        folder = self.workspace.work.folder / "reports" / clip_id
        report = write_report(geometry, frames, folder)
        for line in report.sentences:
            _log.info("geometry: %s: %s", clip_id, line)
        for warning in report.warnings:
            _log.warning("geometry: %s: %s", clip_id, warning)
        _log.info("geometry: %s", folder / "report.png")

    def _backend(self, state: ClipState) -> GeometryBackend:
        """The job's backend, or that of the folder which a public clip list names for this clip; a place's own."""
        config, device = self.job.profile.geometry, self.job.device(self.name)
        kind = state.source.kind
        if kind in PLACES:
            if kind not in self._places:
                self._places[kind] = factory.make_place_geometry(kind, config, device)
            return self._places[kind]
        named = state.public.vggt_depth_path if state.public else None
        if named not in self._backends:
            self._backends[named] = factory.make_geometry(config, device, folder=named)
        return self._backends[named]
