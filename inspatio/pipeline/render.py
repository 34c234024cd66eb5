"""Stage 2b: the clip seen along the trajectory as far as the source shows it (render), and how far that is (mask)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inspatio import factory
from inspatio.cameras.cameras import Cameras
from inspatio.errors import ClipError
from inspatio.pipeline.records import RenderResult, StageResult
from inspatio.pipeline.result_files import files_below, record_files
from inspatio.pipeline.scenes import crop_note, open_clip, target_frame_count, trajectory_inputs, working_size
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.render.files import CAMERAS_NAME, MASK_NAME, RENDER_NAME, RenderedCameras, RenderWriter
from inspatio.render.views import block_starts, context_views, render_scene, render_views
from inspatio.scene import Render, Scene, adapt
from inspatio.storage import atomic_folder
from inspatio.types import Progress

VERSION = 1
CHUNK = 16
"""Frames rendered at a time: enough for every core, few enough to hold. It changes no result."""
LOW_COVERAGE = 0.2
"""Below this mean share of covered pixels the trajectory is more likely a mistake than a wish."""


class RenderStage(Stage):
    """Render every clip from the target cameras into files."""

    name = "render"

    def __init__(self, workspace: Workspace):
        super().__init__(workspace)
        self._renderer = factory.make_renderer(self.job.profile.render, self.job.device(self.name))

    def inputs(self, state: ClipState) -> dict[str, Any]:
        return {
            "version": VERSION,
            "source": state.source.fingerprint,
            "geometry": state.geometry.fingerprint if state.geometry else None,
            "radius_ratio": state.public.radius_ratio if state.public else 1.0,
            "backend": self.job.profile.render.backend,
            **trajectory_inputs(self.job),
            "size": list(working_size(state, self.job)),
        }

    def units(self, state: ClipState) -> int:
        return target_frame_count(self.job, state)

    def result(self, state: ClipState) -> RenderResult | None:
        block = state.render
        folder = self._folder(block.folder) if block else None
        names = (RENDER_NAME, MASK_NAME, CAMERAS_NAME)
        return block if folder and all((folder / name).is_file() for name in names) else None

    def process(self, states: Sequence[ClipState], progress: Progress) -> list[StageResult | ClipError]:
        (state,) = states
        made_from = self.made_from(state)
        relative = f"render/{state.id}"
        with open_clip(state, self.workspace) as scene, atomic_folder(self._folder(relative)) as folder:
            assert self.job.trajectory is not None, "a stage of the run without a trajectory"
            adapted, cameras = adapt(scene, self.job.trajectory, self.job.controls)
            n = len(adapted)
            covered, order = 0, list[int]()
            with RenderWriter(folder, adapted.size, adapted.frame_rate) as writer:
                for start, render, sources in self._renders(adapted, cameras):
                    writer.write(render.frames, render.masks)
                    covered += int((render.masks > 0).sum())
                    order += sources
                    progress(start + len(sources), n)
            RenderedCameras(
                size=adapted.size,
                frame_rate=adapted.frame_rate,
                scale=adapted.scale,
                order=tuple(order),
                intrinsics=cameras.intrinsics,
                world_to_camera=cameras.world_to_camera,
            ).save(folder / CAMERAS_NAME)
            self.workspace.check_source(state)
        height, width = adapted.size
        coverage = covered / (n * height * width)
        return [
            RenderResult(
                **made_from,
                files=record_files(self._folder(""), files_below(self._folder(""), relative)),
                folder=relative,
                frame_count=n,
                coverage=round(coverage, 6),
                notes=[*self._trajectory_notes(), *crop_note(state, self.job), *_coverage_note(coverage)],
            )
        ]

    def _trajectory_notes(self) -> tuple[str, ...]:
        """What had to be decided to read the trajectory."""
        return () if self.job.named is None else self.job.named.notes

    def _renders(self, scene: Scene, cameras: Cameras) -> Iterator[tuple[int, Render, list[int]]]:
        """The renders of a clip in chunks: first place, render, and the source frame that is shown beside each place.

        Of several views it is the one chosen as a network's context, block by block.
        """
        if scene.view_count > 1:
            for start, end in block_starts(len(cameras)):
                render, covered = render_views(self._renderer, scene, cameras[start:end])
                yield start, render, context_views(covered, first=start == 0)
            return
        for start in range(0, len(cameras), CHUNK):
            some = cameras[start : start + CHUNK]
            render = render_scene(self._renderer, scene, start, some)
            yield start, render, scene.source_frames(range(start, start + len(some)))

    def _folder(self, relative: str) -> Path:
        assert self.workspace.run is not None, "the render stage has a run folder"
        return self.workspace.run.folder / relative


def _coverage_note(coverage: float) -> list[str]:
    """What to tell the user where the source shows little of what the new camera sees."""
    if coverage >= LOW_COVERAGE:
        return []
    return [
        f"the source shows only {coverage:.0%} of what the new camera sees; the rest is invented or black. "
        "Check the trajectory's angles and displacements, or choose a gentler one."
    ]
