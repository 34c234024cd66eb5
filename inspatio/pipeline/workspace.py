"""The clips of a job and everything known of them, kept in the work and the run manifest."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any, NamedTuple

from inspatio.errors import ClipError, UserError
from inspatio.media import FrameIndex, SourceInfo, VideoInfo
from inspatio.media.listing import FoundSource
from inspatio.pipeline.inputs import Input, Inputs, read_inputs
from inspatio.pipeline.job import Job
from inspatio.pipeline.manifest import Manifest, relative
from inspatio.pipeline.public_manifest import PublicClip
from inspatio.pipeline.records import (
    STAGES,
    Clip,
    ClipFailure,
    FolderName,
    PictureFacts,
    Source,
    StageResult,
    VideoFacts,
)
from inspatio.pipeline.source_files import content_fingerprint, from_facts, probe_input, size_and_time, with_facts
from inspatio.settings import StageName
from inspatio.storage import file_name

PROBE = "probe"
"""The stage, before the first, in which a video that cannot be opened fails."""

SOURCES_FOLDER = "sources"
"""Where in the work folder the frame index of every video is kept."""


class ClipState(Clip):
    """The record of one clip of the job, from both manifests, with its file or folder in the input."""

    path: Path
    public: PublicClip | None = None
    """Its entry in a public clip list."""

    @property
    def facts(self) -> VideoFacts | PictureFacts:
        """Size, number of frames (or views) and frame rate of the source."""
        assert self.source.facts is not None, f"{self.id} could not be read and must not get this far"
        return self.source.facts


class HandedClip(NamedTuple):
    """A clip on its way from the process that records it to one that processes it (:meth:`Workspace.hand_out`)."""

    state: ClipState
    seen: tuple[int, int]
    """Size and time of its file when it was looked at."""


class Workspace:
    """The clips of a job in the order of their names; every change is written to the manifests.

    The work manifest is written only by stages that hold the work folder's lock (caption, geometry), the run manifest
    only by those that hold the run folder's (render, generate).
    """

    def __init__(self, job: Job, work: Manifest, run: Manifest | None, inputs: Inputs):
        """Records of the ``inputs`` that the job leaves out are kept."""
        self.job = job
        self.inputs = inputs
        self.work = work
        self.run = run
        self._states: dict[str, ClipState] = {}
        self._infos: dict[str, SourceInfo] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._opened: dict[FolderName, int] = {}

    @classmethod
    def open(cls, job: Job) -> Workspace:
        """Read the input folder and the manifests of earlier runs; nothing is written.

        Only videos whose content is new are probed. A worker trusts what the main process has recorded: it reads no
        video, and the errors it finds are those of the job's earlier stages.

        Raises:
            UsageError: no such folder, no video in it, two inputs of one name, or no clip of a name in --clips.
            UserError: a manifest cannot be read.
        """
        part = None if job.worker.is_alone else job.worker.rank
        work = Manifest.open(job.work_folder, input=job.input_folder, part=part)
        run = None
        if job.run_folder is not None:
            run = Manifest.open(job.run_folder, input=job.input_folder, work=job.work_folder, part=part)
        inputs = read_inputs(job)
        workspace = cls(job, work, run, inputs)
        for each in inputs.chosen:
            clip_id, found = each.clip_id, each.found
            clip, known = work.get(clip_id), _known(clip_id, work, run)
            if job.worker.is_alone:
                source, known["error"] = workspace._examine(each, clip)
            elif clip is not None:
                source = clip.source
                workspace._seen[clip_id] = size_and_time(found)
            else:
                continue  # a source that came after the main process had looked
            workspace._states[clip_id] = ClipState(
                id=clip_id, path=found.path, source=source, public=each.public, **known
            )
        return workspace

    @property
    def clips(self) -> list[ClipState]:
        return list(self._states.values())

    @property
    def failed(self) -> list[ClipState]:
        return [state for state in self.clips if state.error]

    def info(self, state: ClipState) -> SourceInfo:
        """The clip's source, ready to be read, as it was recorded when its content was new.

        Raises:
            ClipError: the file has changed since then.
        """
        if state.id not in self._infos:
            index = FrameIndex.load(self._index_file(state.id), state.source.fingerprint)
            try:
                self._infos[state.id] = from_facts(state.source, state.path, index)
            except (ValueError, OSError) as error:
                raise ClipError(f"{state.path}: changed during the run: {error}. Run again.") from error
        return self._infos[state.id]

    def check_source(self, state: ClipState) -> None:
        """Check that the clip's file is still the one that was looked at: call it before a result is kept.

        Raises:
            ClipError: it has grown or was written to since, as a file does that is still being copied.
        """
        size, _ = self._seen[state.id]
        now, _ = seen = size_and_time(FoundSource(state.path, state.source.kind))
        if seen != self._seen[state.id]:
            raise ClipError(_changed(state.path, size, now))

    def check_folders(self) -> None:
        """Check that the folders which results are recorded in are still the ones that were opened.

        Raises:
            UserError: one was removed, or its disk unmounted, during the run.
        """
        for name, handle in self._opened.items():
            folder, opened = self._manifest(name).folder, os.fstat(handle)
            try:
                if os.path.samestat(folder.stat(), opened):
                    continue
            except OSError:
                pass  # not there, or on a disk that does not answer
            raise UserError(
                f"{folder}: was removed or its disk unmounted during the run, expected the folder to stay. "
                "Bring it back and run again; what was recorded there is kept."
            )

    def folder_of(self, stage: StageName) -> Path:
        """The folder whose manifest records the stage's results."""
        return self._manifest(STAGES[stage].folder).folder

    def save(self, folder: FolderName) -> None:
        """Write all clips to the work or the run manifest, and drop clips that are no longer in the input.

        The frame indices of videos that were probed go into ``sources/`` of the work folder first.
        """
        manifest = self._manifest(folder)
        if folder == "work":
            for clip_id, info in self._infos.items():
                state = self._states[clip_id]
                if not isinstance(info, VideoInfo):
                    continue
                try:
                    info.index.save(self._index_file(clip_id), state.source.fingerprint)
                except ClipError as error:
                    failure = ClipFailure(stage=PROBE, message=str(error))
                    self._states[clip_id] = state.model_copy(update={"error": failure})
        known = [each.clip_id for each in self.inputs.known]
        manifest.save((self._record(state, folder) for state in self.clips), only=known)
        self._keep_open(folder)

    def finish(self, clip_id: str, stage: StageName, result: StageResult) -> None:
        """Record a stage's result for a clip."""
        self._put(clip_id, STAGES[stage].folder, {STAGES[stage].field: result})

    def fail(self, clip_id: str, stage: StageName, message: str) -> None:
        """Record why a clip stopped; its earlier results stay."""
        self._put(clip_id, STAGES[stage].folder, {"error": ClipFailure(stage=stage, message=message)})

    def hand_out(self, clip_id: str) -> HandedClip:
        """Everything of a clip that a process on another machine needs, to :meth:`take` it."""
        return HandedClip(self._states[clip_id], self._seen[clip_id])

    @classmethod
    def without_records(cls, job: Job) -> Workspace:
        """A workspace that reads and writes no manifest; its clips are handed out by that of another process."""
        work = Manifest.empty(job.work_folder, input=job.input_folder)
        run = None
        if job.run_folder is not None:
            run = Manifest.empty(job.run_folder, input=job.input_folder, work=job.work_folder)
        return cls(job, work, run, Inputs((), (), ()))

    def take(self, clip: HandedClip) -> ClipState:
        """Take a clip that another process has handed out; returns its record."""
        self._states[clip.state.id] = clip.state
        self._seen[clip.state.id] = clip.seen
        return clip.state

    def fold(self, folder: FolderName) -> None:
        """Fold the journals of this process and of its workers into the manifest, and see what workers recorded."""
        manifest = self._manifest(folder)
        manifest.fold()
        fields = [entry.field for entry in STAGES.values() if entry.folder == folder]
        for state in self.clips:
            if clip := manifest.get(state.id):
                # Of errors, only those of this run: the other folder's manifest may still have an earlier run's.
                found = {field: getattr(clip, field) for field in fields} | {"error": clip.error or state.error}
                self._states[state.id] = state.model_copy(update=found)

    def _examine(self, each: Input, known: Clip | None) -> tuple[Source, ClipFailure | None]:
        """The record of a source, or why it cannot be read; probed only if its content is new."""
        found, path = each.found, relative(each.found.path, self.work.folder)
        try:
            seen = self._seen[each.clip_id] = size_and_time(found)
            content = content_fingerprint(found)
        except OSError as error:
            broken = Source(kind=found.kind, fingerprint="", path=path, file_size=0)
            return broken, ClipFailure(stage=PROBE, message=f"{found.path}: cannot be read ({error.strerror})")
        source = Source(kind=found.kind, fingerprint=content, path=path, file_size=seen[0])
        before, info, fault = known.source if known else None, None, None
        is_known = before is not None and before.fingerprint == content and before.facts is not None
        if before is None or not is_known or not self._has_index(each.clip_id, before):
            try:
                info = probe_input(found)
            except ClipError as error:
                fault = str(error)
        now = size_and_time(found)
        if now != seen:  # whatever was found is of a part of the file
            fault = _changed(found.path, seen[0], now[0])
        if fault is not None:
            return source, ClipFailure(stage=PROBE, message=fault)
        if info is None:
            assert before is not None, "what is not probed is known"
            return source.model_copy(update={"video": before.video, "pictures": before.pictures}), None
        self._infos[each.clip_id] = info
        return with_facts(source, info), None

    def _has_index(self, clip_id: str, source: Source) -> bool:
        """Whether the frame index is kept, which a video needs to be read without being probed again."""
        return source.video is None or FrameIndex.load(self._index_file(clip_id), source.fingerprint) is not None

    def _index_file(self, clip_id: str) -> Path:
        return self.work.folder / SOURCES_FOLDER / file_name(clip_id, ".npz")

    def _put(self, clip_id: str, folder: FolderName, changes: dict[str, Any]) -> None:
        self._keep_open(folder)
        self.check_folders()
        state = self._states[clip_id] = self._states[clip_id].model_copy(update=changes)
        self._manifest(folder).put(self._record(state, folder))

    def _keep_open(self, folder: FolderName) -> None:
        """Keep a handle of a folder, by which it is known: a folder that replaces it could get its inode number."""
        if folder not in self._opened:
            self._opened[folder] = handle = os.open(self._manifest(folder).folder, os.O_RDONLY)
            weakref.finalize(self, os.close, handle)

    def _record(self, state: ClipState, folder: FolderName) -> Clip:
        """The part of a clip's record that belongs to a folder, with the source's path relative to it."""
        path = relative(state.path, self._manifest(folder).folder)
        results = {entry.field: getattr(state, entry.field) for entry in STAGES.values() if entry.folder == folder}
        error = state.error if state.error and _folder_of(state.error) == folder else None
        return Clip(id=state.id, source=state.source.model_copy(update={"path": path}), error=error, **results)

    def _manifest(self, folder: FolderName) -> Manifest:
        if folder == "work":
            return self.work
        assert self.run is not None, "a stage of the run folder in a job without one"
        return self.run


def _known(clip_id: str, work: Manifest, run: Manifest | None) -> dict[str, Any]:
    """A clip's results and error as the two manifests have them."""
    clips = {"work": work.get(clip_id), "run": run.get(clip_id) if run else None}
    known: dict[str, Any] = {entry.field: getattr(clips[entry.folder], entry.field, None) for entry in STAGES.values()}
    errors = [clip.error for clip in clips.values() if clip and clip.error]
    return known | {"error": errors[0] if errors else None}


def _changed(path: Path, before: int, now: int) -> str:
    return f"{path}: changed while it was read: got {before} bytes, then {now}. Run again when it is complete."


def _folder_of(error: ClipFailure) -> FolderName:
    folders: dict[str, FolderName] = {name: entry.folder for name, entry in STAGES.items()}
    return folders.get(error.stage, "work")
