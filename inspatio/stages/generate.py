"""Stage 3: the novel-view video. Source, render, mask and prompt go through the job's generator, block by block."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inspatio import factory
from inspatio.errors import ClipError
from inspatio.fit import Fit
from inspatio.generation.base import BLOCK_FRAMES, Generator
from inspatio.manifest import OutputBlock, fingerprint
from inspatio.media import VideoInfo, VideoReader, VideoWriter
from inspatio.render.folder import RenderFiles
from inspatio.stages.base import Block, Report, StageName
from inspatio.stages.scenes import open_scene
from inspatio.stages.workspace import ClipState, Workspace
from inspatio.types import FitMode

VERSION = 1


class GenerateStage:
    """See the module; the generator loads when the first clip that is not finished comes."""

    name: StageName = "generate"
    in_work = False
    batch_size = 1

    def __init__(self, workspace: Workspace):
        self._workspace = workspace
        self._config = workspace.job.profile.generator
        self._generator: Generator | None = None

    def inputs(self, state: ClipState) -> dict[str, Any]:
        job = self._workspace.job
        return {
            "version": VERSION,
            "render": state.render.fingerprint if state.render else None,
            "prompt": state.caption.text if state.caption else "",
            "generator": factory.describe_generator(self._config, job.profile.size),
            "seed": job.seed,
        }

    def block(self, state: ClipState) -> OutputBlock | None:
        block = state.output
        if block is None:
            return None
        names = [block.video, block.cameras]
        if self._workspace.job.comparison:
            names.append(block.comparison or "")
        return block if all((self._run_folder / name).is_file() for name in names) else None

    def process(self, states: Sequence[ClipState], report: Report) -> list[Block | ClipError]:
        (state,) = states
        if state.render is None:
            raise ClipError(f"{state.id}: has no render yet; run the render stage first")
        job, folder = self._workspace.job, self._run_folder
        made_from = fingerprint(self.inputs(state))
        video, cameras, comparison = (f"{state.id}{suffix}" for suffix in (".mp4", ".cameras.json", ".comparison.mp4"))
        notes: list[str] = []
        with RenderFiles(folder / state.render.folder) as renders:
            if not (state.output and state.output.fingerprint == made_from and (folder / video).is_file()) or job.force:
                notes = self._generate(state, renders, folder / video, report)
            renders.cameras.save(folder / cameras)
            if job.comparison:
                source = self._workspace.info(state)
                _compare(source, renders, folder / video, folder / comparison, job.fit)
        return [
            OutputBlock(
                fingerprint=made_from,
                video=video,
                cameras=cameras,
                comparison=comparison if job.comparison else None,
                frame_count=len(renders.cameras.order),
                generator=self._config.backend,
                notes=notes,
            )
        ]

    def _generate(self, state: ClipState, renders: RenderFiles, path: Path, report: Report) -> list[str]:
        """Write the novel view; returns what the user should know of it."""
        job, cameras = self._workspace.job, renders.cameras
        if self._generator is None:
            self._generator = factory.make_generator(self._config, job.profile.size, job.device(self.name))
        n = len(cameras.order)
        as_filmed = cameras.order == tuple(range(state.video.frame_count))
        info = self._workspace.info(state)
        fit = Fit.make(info.size, job.profile.size, job.fit)
        with open_scene(state, self._workspace) as scene:
            session = self._generator.start(
                scene.select(cameras.order), seed=clip_seed(job.seed, state.id), renders=renders
            )
            with VideoWriter(
                path,
                fit.natural_size,
                cameras.frame_rate,
                quality="view",
                audio_from=state.path if as_filmed and info.has_audio else None,
                times=info.timestamps() if as_filmed and info.variable_frame_rate else None,
            ) as writer:
                done = 0
                while needed := session.frames_needed:
                    block = session.step(cameras.world_to_camera[done : done + needed])
                    writer.write(fit.natural(block.frames.cpu().numpy()))
                    done += needed
                    report(done, n)
        return [] if as_filmed or not info.has_audio else ["without sound, since the clip's timing was changed"]

    @property
    def _run_folder(self) -> Path:
        assert self._workspace.run is not None, "the generate stage has a run folder"
        return self._workspace.run.folder


def clip_seed(seed: int, clip_id: str) -> int:
    """A clip's own seed: it depends on the global seed and the clip's name, not on who runs it, or when."""
    return (seed * 0x9E3779B1 + zlib.crc32(clip_id.encode())) % (1 << 63)


def _compare(video: VideoInfo, renders: RenderFiles, result: Path, path: Path, mode: FitMode) -> None:
    """Source, render and result side by side."""
    cameras = renders.cameras
    with VideoReader(video, cameras.size, mode) as source, VideoReader(result) as generated:
        fit = Fit.make(video.size, cameras.size, mode)
        height, width = generated.info.size
        with VideoWriter(path, (height, 3 * width), cameras.frame_rate, quality="view") as writer:
            for start in range(0, len(cameras.order), BLOCK_FRAMES):
                indices = range(start, min(start + BLOCK_FRAMES, len(cameras.order)))
                filmed = source.read([cameras.order[i] for i in indices])
                rendered, _ = renders.read(start, cameras.world_to_camera[indices.start : indices.stop])
                panels = [fit.natural(filmed), fit.natural(rendered), generated.read(indices)]
                writer.write(np.concatenate(panels, axis=2))


if __name__ == "__main__":
    from inspatio.cli import main

    sys.exit(main(["generate", *sys.argv[1:]]))
