"""The clips of a job and what is known of them, over the two manifests that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inspatio.errors import ClipError, UsageError
from inspatio.media import VideoInfo, list_videos, probe
from inspatio.pipeline.job import Job
from inspatio.pipeline.manifest import (
    CaptionBlock,
    Clip,
    ErrorBlock,
    GeometryBlock,
    Manifest,
    OutputBlock,
    RenderBlock,
    SourceBlock,
    VideoFacts,
    file_fingerprint,
    relative,
)
from inspatio.pipeline.public_manifest import PublicClip, read_public

Block = CaptionBlock | GeometryBlock | RenderBlock | OutputBlock

PROBE = "probe"
"""The stage that a video which cannot even be opened fails in."""


@dataclass(frozen=True)
class ClipState:
    """One clip of the job: its video, and its blocks of both manifests as they stand."""

    id: str
    path: Path
    source: SourceBlock
    public: PublicClip | None = None
    caption: CaptionBlock | None = None
    geometry: GeometryBlock | None = None
    render: RenderBlock | None = None
    output: OutputBlock | None = None
    error: ErrorBlock | None = None

    @property
    def video(self) -> VideoFacts:
        assert self.source.video is not None, f"{self.id} could not be read and must not get this far"
        return self.source.video


class Workspace:
    """The clips of a job in the order of their names, kept in step with the manifests.

    The work manifest is written only by the stages that hold the work folder's lock (caption, geometry) and the run
    manifest by those that hold the run folder's (render, generate).
    """

    def __init__(self, job: Job, work: Manifest, run: Manifest | None, states: list[ClipState], *, dry: bool = False):
        self.job = job
        self.work = work
        self.run = run
        self._dry = dry
        self._states = {state.id: state for state in states}
        self._infos: dict[Path, VideoInfo] = {}

    @classmethod
    def open(cls, job: Job, *, dry: bool = False) -> Workspace:
        """Look at the input folder and at what earlier runs left, and forget the errors of earlier runs.

        A video whose content is known is not probed again. ``dry`` writes nothing.

        Raises:
            UsageError: no such folder, no video in it, two inputs that cannot be told apart.
            UserError: a manifest cannot be read.
        """
        part = None if job.worker.is_alone else job.worker.rank
        work = Manifest.open(job.work_folder, input=job.input_folder, part=part)
        run = None
        if job.run_folder is not None:
            run = Manifest.open(job.run_folder, input=job.input_folder, work=job.work_folder, part=part)
        states = []
        for clip_id, path, public in _inputs(job):
            known = work.get(clip_id)
            source, error = _source(path, known, work.folder)
            ran = run.get(clip_id) if run else None
            states.append(
                ClipState(
                    id=clip_id,
                    path=path,
                    source=source,
                    public=public,
                    caption=known.caption if known else None,
                    geometry=known.geometry if known else None,
                    render=ran.render if ran else None,
                    output=ran.output if ran else None,
                    error=error if job.worker.is_alone else _error(known, ran) or error,
                )
            )
        return cls(job, work, run, states, dry=dry or not job.worker.is_alone)

    @property
    def clips(self) -> list[ClipState]:
        return list(self._states.values())

    @property
    def failed(self) -> list[ClipState]:
        return [state for state in self.clips if state.error]

    def info(self, state: ClipState) -> VideoInfo:
        """The clip's video, opened for reading; it is looked through once in a process."""
        if state.path not in self._infos:
            self._infos[state.path] = probe(state.path)
        return self._infos[state.path]

    def save_sources(self) -> None:
        """Write every clip's source (and the probe's errors) into the work manifest."""
        if not self._dry:
            self.work.put(self._work_record(state) for state in self.clips)
            self.work.keep_only(self._states)

    def begin_run(self) -> None:
        """Write the clips' records into the run manifest, without the errors of earlier runs."""
        if not self._dry and self.run is not None:
            self.run.put(self._run_record(state) for state in self.clips)
            self.run.keep_only(self._states)

    def finish(self, clip_id: str, block: Block) -> None:
        """Record what a stage made of a clip."""
        match block:
            case CaptionBlock():
                self._put(replace(self._states[clip_id], caption=block), in_work=True)
            case GeometryBlock():
                self._put(replace(self._states[clip_id], geometry=block), in_work=True)
            case RenderBlock():
                self._put(replace(self._states[clip_id], render=block), in_work=False)
            case OutputBlock():
                self._put(replace(self._states[clip_id], output=block), in_work=False)

    def fail(self, clip_id: str, stage: str, message: str, *, in_work: bool) -> None:
        """Record why a clip stopped; what it had finished stays."""
        state = self._states[clip_id]
        self._put(replace(state, error=ErrorBlock(stage=stage, message=message)), in_work=in_work)

    def reload(self) -> None:
        """Take over what the workers of a stage recorded."""
        self.work.merge_parts()
        if self.run is not None:
            self.run.merge_parts()
        for state in self.clips:
            known, ran = self.work.get(state.id), self.run.get(state.id) if self.run else None
            self._states[state.id] = replace(
                state,
                caption=known.caption if known else None,
                geometry=known.geometry if known else None,
                render=ran.render if ran else None,
                output=ran.output if ran else None,
                error=_error(known, ran),
            )

    def _put(self, state: ClipState, *, in_work: bool) -> None:
        self._states[state.id] = state
        if in_work:
            self.work.put(self._work_record(state))
        else:
            assert self.run is not None, "a stage of the run without a run folder"
            self.run.put(self._run_record(state))

    def _work_record(self, state: ClipState) -> Clip:
        error = state.error if state.error and state.error.stage in (PROBE, "caption", "geometry") else None
        return Clip(id=state.id, source=state.source, caption=state.caption, geometry=state.geometry, error=error)

    def _run_record(self, state: ClipState) -> Clip:
        assert self.run is not None
        source = state.source.model_copy(update={"path": relative(state.path, self.run.folder)})
        error = state.error if state.error and state.error.stage in ("render", "generate") else None
        return Clip(id=state.id, source=source, render=state.render, output=state.output, error=error)


def _inputs(job: Job) -> list[tuple[str, Path, PublicClip | None]]:
    """(clip id, video, its entry in a public clip list) of every input."""
    listed = read_public(job.public_list) if job.public_list else []
    by_path = {Path(entry.video_path).resolve(): entry for entry in listed}
    paths = [Path(entry.video_path) for entry in listed] if job.input.is_file() else list_videos(job.input)
    if not paths:
        raise UsageError(f"{job.input}: lists no clips")
    ids = clip_ids(paths)
    return [(clip_id, path, by_path.get(path.resolve())) for clip_id, path in zip(ids, paths, strict=True)]


def clip_ids(paths: Sequence[Path]) -> list[str]:
    """A name for every clip: the file's stem; the whole file name where several share a stem.

    Raises:
        UsageError: two files of one name (from different folders).
    """
    stems = [path.stem.casefold() for path in paths]
    ids = [path.stem if stems.count(path.stem.casefold()) == 1 else path.name for path in paths]
    for index, clip_id in enumerate(ids):
        if clip_id in ids[:index]:
            first = paths[ids.index(clip_id)]
            raise UsageError(f"two clips are called {clip_id}: {first} and {paths[index]}; rename one")
    return ids


def _source(path: Path, known: Clip | None, folder: Path) -> tuple[SourceBlock, ErrorBlock | None]:
    """The source block of a video and, where it cannot be read, why."""
    try:
        size, content = path.stat().st_size, file_fingerprint(path)
    except OSError as error:
        broken = SourceBlock(fingerprint="", path=relative(path, folder), file_size=0)
        return broken, ErrorBlock(stage=PROBE, message=f"{path}: cannot be read ({error.strerror})")
    source = SourceBlock(fingerprint=content, path=relative(path, folder), file_size=size)
    if known and known.source.fingerprint == content and known.source.video:
        return source.model_copy(update={"video": known.source.video}), None
    try:
        info = probe(path)
    except ClipError as error:
        return source, ErrorBlock(stage=PROBE, message=str(error))
    facts = VideoFacts(
        height=info.size[0],
        width=info.size[1],
        frame_count=info.frame_count,
        frame_rate=f"{info.frame_rate.numerator}/{info.frame_rate.denominator}",
        duration=info.duration,
        rotation=info.rotation,
        has_audio=info.has_audio,
        variable_frame_rate=info.variable_frame_rate,
    )
    return source.model_copy(update={"video": facts}), None


def _error(known: Clip | None, ran: Clip | None) -> ErrorBlock | None:
    return (known and known.error) or (ran and ran.error) or None
