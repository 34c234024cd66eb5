"""Stage 3: the novel-view video. Source, render, mask and prompt go through the job's generator, block by block."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inspatio import factory
from inspatio.cameras.timeline import Timeline
from inspatio.errors import ClipError
from inspatio.generation.base import Generator, drive
from inspatio.media import SourceInfo, VideoInfo, VideoReader, VideoWriter, open_source
from inspatio.media.fit import Fit
from inspatio.media.listing import PLACES
from inspatio.models.checkpoints import weights_in_use
from inspatio.pipeline.background import Background, FramesAhead, RendersAhead
from inspatio.pipeline.distributed import ProcessGroup
from inspatio.pipeline.inputs import RESULT_ENDINGS
from inspatio.pipeline.records import OutputResult, StageResult
from inspatio.pipeline.result_files import find_damage, record_files
from inspatio.pipeline.scenes import fit_of, open_clip, target_frame_count, turn_note, working_size
from inspatio.pipeline.source_latents import FOLDER, SourceLatents
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.render.files import RenderFiles
from inspatio.render.views import block_starts
from inspatio.storage import file_name
from inspatio.types import FitMode, Progress

if TYPE_CHECKING:
    from torch import distributed

VERSION = 1
COMPARED_AT_ONCE = 16
"""Frames put side by side at a time."""


class GenerateStage(Stage):
    """Generate the novel view of every clip; the generator loads when the first unfinished clip comes.

    Where there are fewer clips than processes, a group of processes shares each block of a clip. All of them run the
    same session, and only the first of the group writes.
    """

    name = "generate"

    def __init__(self, workspace: Workspace):
        super().__init__(workspace)
        self._config = self.job.profile.generator
        self._group = self.job.worker.group()
        self._torch_group: distributed.ProcessGroup | None = None
        self._generator: Generator | None = None
        self._descriptions: dict[tuple[int, int], dict[str, Any]] = {}
        self._frames = 0

    def inputs(self, state: ClipState) -> dict[str, Any]:
        return {
            "version": VERSION,
            "render": state.render.fingerprint if state.render else None,
            "prompt": state.caption.text if state.caption else "",
            "generator": self._describe(working_size(state, self.job)),
            "seed": self.job.seed,
        }

    def units(self, state: ClipState) -> int:
        return target_frame_count(self.job, state)

    def result(self, state: ClipState) -> OutputResult | None:
        block = state.output
        if block is None:
            return None
        names = [block.video, block.cameras]
        if self.job.comparison:
            names.append(block.comparison or "")
        return block if all((self._run_folder / name).is_file() for name in names) else None

    def prepare(self, states: Sequence[ClipState]) -> None:
        self._frames = sum(state.render.frame_count for state in states if state.render)
        texts = [state.caption.text if state.caption else "" for state in states]
        factory.prepare_prompts(self._config, texts, self._prompt_folder, self.job.device(self.name))

    def process_group(self, clips: int) -> ProcessGroup:
        size = factory.processes_per_clip(self._config, self.job.worker.world_size, clips)
        self._group = self.job.worker.group(size)
        # Every process has to call this, including one that has no clip.
        self._torch_group = factory.clip_process_group(size)
        return self._group

    def process(self, states: Sequence[ClipState], progress: Progress) -> list[StageResult | ClipError]:
        (state,) = states
        if state.render is None:
            raise ClipError(f"{state.id}: has no render yet; run the render stage first")
        folder = self._run_folder
        made_from = self.made_from(state)
        video, cameras, comparison = (file_name(state.id, ending) for ending in RESULT_ENDINGS)
        with RenderFiles(folder / state.render.folder) as renders:
            # What is finished is not generated again because its comparison is wanted as well.
            if (
                state.output
                and state.output.fingerprint == made_from["fingerprint"]
                and (folder / video).is_file()
                and not self._is_damaged(state.output)
                and not self.job.force
            ):
                notes = state.output.notes
            else:
                notes = self._generate(state, renders, folder / video, progress)
            if self._group.is_main:
                renders.cameras.save(folder / cameras)
                if self.job.comparison:
                    source = self.workspace.info(state)
                    mode = "crop" if state.source.kind in PLACES else self.job.fit
                    _compare(source, renders, folder / video, folder / comparison, mode)
        names = [video, cameras, *([comparison] if self.job.comparison else [])]
        return [
            OutputResult(
                **made_from,
                files=record_files(folder, names) if self._group.is_main else None,
                video=video,
                cameras=cameras,
                comparison=comparison if self.job.comparison else None,
                frame_count=len(renders.cameras.order),
                generator=self._config.backend,
                notes=notes,
                weights=weights_in_use(self.job.profile, self.name),
            )
        ]

    def _generate(self, state: ClipState, renders: RenderFiles, path: Path, progress: Progress) -> list[str]:
        """Write the novel view; returns what the user should know of it."""
        cameras, info = renders.cameras, self.workspace.info(state)
        video = info if isinstance(info, VideoInfo) else None
        keeps_timing = cameras.order == tuple(range(state.facts.frame_count))
        fit = fit_of(state, self.job)
        with open_clip(state, self.workspace) as scene, Background() as reading, ExitStack() as opened:
            latents = opened.enter_context(self._source_latents(state, cameras.order))
            adapted = replace(scene, timeline=Timeline(cameras.order), source_latents=latents)
            if scene.points is None:
                ahead = FramesAhead(scene.frames, cameras.order, reading)
                adapted = replace(adapted, frames=ahead, renders=RendersAhead(renders, reading))
            session = self._load().start(adapted, seed=clip_seed(self.job.seed, state.id))
            blocks = drive(session, renders.targets)
            if not self._group.is_main:
                for _ in blocks:
                    pass
                return []
            made = VideoWriter(
                path,
                fit.natural_size,
                cameras.frame_rate,
                quality="view",
                audio_from=video if keeps_timing and info.has_audio else None,
                times=video.timestamps() if video and keeps_timing and info.variable_frame_rate else None,
            )
            with made as writer, Background() as writing:  # the thread ends before the file is closed
                for block in blocks:
                    frames = block.frames.numpy()
                    writing.do(lambda frames=frames: writer.write(fit.natural(frames)))
                    progress(block.start + len(frames), len(renders.targets))
                writing.finish()
                self.workspace.check_source(state)
        notes = turn_note(state, self.job)
        if not keeps_timing and info.has_audio:
            notes.append("without sound, since the clip's timing was changed")
        return notes

    def _source_latents(self, state: ClipState, order: Sequence[int]) -> AbstractContextManager[SourceLatents | None]:
        """The latents of a clip's source where an earlier run has kept them; else they are kept by this one."""
        made_from = factory.describe_source_latents(self._config, self.job.device(self.name))
        if made_from is None:
            return nullcontext()
        assert state.geometry is not None, "a clip with renders has geometry"
        made_from |= {
            "source": state.source.fingerprint,
            "geometry": state.geometry.fingerprint,  # imported geometry may bring its own framing
            "size": list(working_size(state, self.job)),
            "fit": self.job.fit,
            "order": list(order),
        }
        return SourceLatents.open(
            self.workspace.work.folder / FOLDER,
            state.id,
            made_from,
            blocks=sum(1 for _ in block_starts(len(order))),
            may_read=not self.job.force,
            may_write=self._group.is_main,
        )

    def _is_damaged(self, block: OutputResult) -> bool:
        """Whether the video itself is damaged; the files beside it are written again in any case."""
        record = (block.files or {}).get(block.video)
        return record is not None and find_damage(self._run_folder, {block.video: record}) is not None

    def _load(self) -> Generator:
        if self._generator is None:
            device = self.job.device(self.name)
            renderer = factory.make_renderer(self.job.profile.render, device)
            self._generator = factory.make_generator(
                self._config,
                self.job.profile.size,
                device,
                self._prompt_folder,
                self._torch_group,
                renderer=renderer,
                frames=self._frames // self._group.count,
            )
        return self._generator

    def _describe(self, size: tuple[int, int]) -> dict[str, Any]:
        """What results of a working frame (height, width) depend on; weights are looked at once for each."""
        if size not in self._descriptions:
            self._descriptions[size] = factory.describe_generator(self._config, size)
        return self._descriptions[size]

    @property
    def _prompt_folder(self) -> Path:
        return self.workspace.work.folder / "prompts"

    @property
    def _run_folder(self) -> Path:
        assert self.workspace.run is not None, "the generate stage has a run folder"
        return self.workspace.run.folder


def clip_seed(seed: int, clip_id: str) -> int:
    """A clip's own seed: it depends on the global seed and the clip's name, not on who runs it, or when."""
    return (seed * 0x9E3779B1 + zlib.crc32(clip_id.encode())) % (1 << 63)


def _compare(source: SourceInfo, renders: RenderFiles, result: Path, path: Path, mode: FitMode) -> None:
    """Source, render and result side by side."""
    cameras = renders.cameras
    with open_source(source, cameras.size, mode) as frames, VideoReader(result) as generated:
        fit = Fit.make(source.size, cameras.size, mode)
        height, width = generated.info.size
        with VideoWriter(path, (height, 3 * width), cameras.frame_rate, quality="view") as writer:
            for start in range(0, len(cameras.order), COMPARED_AT_ONCE):
                places = range(start, min(start + COMPARED_AT_ONCE, len(cameras.order)))
                filmed = frames.read([cameras.order[place] for place in places])
                rendered = renders.read(start, renders.targets[places.start : places.stop]).frames
                panels = [fit.natural(filmed), fit.natural(rendered), generated.read(places)]
                writer.write(np.concatenate(panels, axis=2))
