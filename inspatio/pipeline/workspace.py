"""The clips of a job and everything known of them, kept in the work and the run manifest."""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from inspatio.errors import ClipError, UsageError, UserError
from inspatio.media import FrameIndex, VideoInfo, list_videos, probe
from inspatio.media.video_info import is_video_name
from inspatio.pipeline.fingerprints import file_fingerprint
from inspatio.pipeline.job import Job
from inspatio.pipeline.manifest import Manifest, relative
from inspatio.pipeline.public_manifest import PublicClip, read_public
from inspatio.pipeline.records import STAGES, Clip, ClipFailure, FolderName, Source, StageResult, VideoFacts
from inspatio.settings import StageName
from inspatio.storage import file_name

PROBE = "probe"
"""The stage, before the first, in which a video that cannot be opened fails."""

RESULT_ENDINGS = (".mp4", ".cameras.json", ".comparison.mp4")
"""Of the files that the generate stage writes for a clip, after its id."""

SOURCES_FOLDER = "sources"
"""Where in the work folder the frame index of every video is kept."""


class ClipState(Clip):
    """The record of one clip of the job, from both manifests, with its file in the input folder."""

    path: Path
    public: PublicClip | None = None
    """Its entry in a public clip list."""

    @property
    def video(self) -> VideoFacts:
        assert self.source.video is not None, f"{self.id} could not be read and must not get this far"
        return self.source.video


class Workspace:
    """The clips of a job in the order of their names; every change is written to the manifests.

    The work manifest is written only by stages that hold the work folder's lock (caption, geometry), the run manifest
    only by those that hold the run folder's (render, generate).
    """

    def __init__(self, job: Job, work: Manifest, run: Manifest | None, known_ids: Sequence[str] = ()):
        """``known_ids`` are the clips of the input, also those that the job leaves out; their records are kept."""
        self.job = job
        self._known_ids = known_ids
        self.work = work
        self.run = run
        self._states: dict[str, ClipState] = {}
        self._videos: dict[str, VideoInfo] = {}
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
        inputs = _inputs(job)
        workspace = cls(job, work, run, [clip_id for clip_id, _, _ in inputs])
        for clip_id, path, public in _chosen(job, inputs):
            clip, known = work.get(clip_id), _known(clip_id, work, run)
            if job.worker.is_alone:
                source, known["error"] = workspace._examine(clip_id, path, clip)
            elif clip is not None:
                source = clip.source
                workspace._seen[clip_id] = _size_and_time(path)
            else:
                continue  # a file that came after the main process had looked
            workspace._states[clip_id] = ClipState(id=clip_id, path=path, source=source, public=public, **known)
        return workspace

    @property
    def clips(self) -> list[ClipState]:
        return list(self._states.values())

    @property
    def failed(self) -> list[ClipState]:
        return [state for state in self.clips if state.error]

    def info(self, state: ClipState) -> VideoInfo:
        """The clip's video, ready to be read, as it was recorded when its content was new.

        Raises:
            ClipError: the file has changed since then.
        """
        if state.id not in self._videos:
            index = FrameIndex.load(self._index_file(state.id), state.source.fingerprint)
            record = {**state.video.model_dump(), "file_size": state.source.file_size}
            try:
                self._videos[state.id] = (
                    probe(state.path) if index is None else VideoInfo.from_record(record, state.path, index)
                )
            except (ValueError, OSError) as error:
                raise ClipError(f"{state.path}: changed during the run: {error}. Run again.") from error
        return self._videos[state.id]

    def check_source(self, state: ClipState) -> None:
        """Check that the clip's file is still the one that was looked at: call it before a result is kept.

        Raises:
            ClipError: it has grown or was written to since, as a file does that is still being copied.
        """
        size, _ = self._seen[state.id]
        now, _ = seen = _size_and_time(state.path)
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
            for clip_id, video in self._videos.items():
                state = self._states[clip_id]
                try:
                    video.index.save(self._index_file(clip_id), state.source.fingerprint)
                except ClipError as error:
                    failure = ClipFailure(stage=PROBE, message=str(error))
                    self._states[clip_id] = state.model_copy(update={"error": failure})
        manifest.save((self._record(state, folder) for state in self.clips), only=self._known_ids)
        self._keep_open(folder)

    def finish(self, clip_id: str, stage: StageName, result: StageResult) -> None:
        """Record a stage's result for a clip."""
        self._put(clip_id, STAGES[stage].folder, {STAGES[stage].field: result})

    def fail(self, clip_id: str, stage: StageName, message: str) -> None:
        """Record why a clip stopped; its earlier results stay."""
        self._put(clip_id, STAGES[stage].folder, {"error": ClipFailure(stage=stage, message=message)})

    def fold(self, folder: FolderName) -> None:
        """Fold the journals of this process and of its workers into the manifest, and see what workers recorded."""
        manifest = self._manifest(folder)
        manifest.fold()
        fields = [entry.field for entry in STAGES.values() if entry.folder == folder]
        for state in self.clips:
            if clip := manifest.get(state.id):
                # Of errors, only those of this run: the other folder's manifest may still have an earlier run's.
                found = {field: getattr(clip, field) for field in fields} | (
                    {"error": clip.error} if clip.error else {}
                )
                self._states[state.id] = state.model_copy(update=found)

    def _examine(self, clip_id: str, path: Path, known: Clip | None) -> tuple[Source, ClipFailure | None]:
        """The source record of a video, or why it cannot be read; probed only if its content is new."""
        folder = self.work.folder
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a device could be read for ever
                raise OSError(errno.EINVAL, "not a regular file")
            seen = self._seen[clip_id] = _size_and_time(path)
            size, content = seen[0], file_fingerprint(path)
        except OSError as error:
            broken = Source(fingerprint="", path=relative(path, folder), file_size=0)
            return broken, ClipFailure(stage=PROBE, message=f"{path}: cannot be read ({error.strerror})")
        source = Source(fingerprint=content, path=relative(path, folder), file_size=size)
        facts = known.source.video if known and known.source.fingerprint == content else None
        video, fault = None, None
        if not facts or FrameIndex.load(self._index_file(clip_id), content) is None:
            try:
                video = probe(path)
            except ClipError as error:
                fault = str(error)
        now = _size_and_time(path)
        if now != seen:  # whatever was found is of a part of the file
            fault = _changed(path, size, now[0])
        if fault is not None:
            return source, ClipFailure(stage=PROBE, message=fault)
        if video is None:
            return source.model_copy(update={"video": facts}), None
        self._videos[clip_id] = video
        record = video.to_record()
        record.pop("file_size")  # the source has it, also where the file is not a readable video
        return source.model_copy(update={"video": VideoFacts(**record)}), None

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


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; (0, 0) for a file that is gone."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns


def _changed(path: Path, before: int, now: int) -> str:
    return f"{path}: changed while it was read: got {before} bytes, then {now}. Run again when it is complete."


def _folder_of(error: ClipFailure) -> FolderName:
    folders: dict[str, FolderName] = {name: entry.folder for name, entry in STAGES.items()}
    return folders.get(error.stage, "work")


_Input: TypeAlias = tuple[str, Path, PublicClip | None]
"""Clip id, video, and its entry in a public clip list."""


def _chosen(job: Job, inputs: Sequence[_Input]) -> list[_Input]:
    """The inputs that the job is about: all, those that --clips names, or the one video given as the input."""
    if job.input.is_file() and is_video_name(job.input):
        inputs = [each for each in inputs if each[1].name == job.input.name]
        if not inputs:
            raise UsageError(f"{job.input}: a hidden file, expected a video to be seen in its folder. Rename it.")
    if job.clips is None:
        return list(inputs)
    known = {name for clip_id, path, _ in inputs for name in (clip_id, path.name)}
    for name in job.clips:
        if name not in known:
            there = ", ".join(clip_id for clip_id, _, _ in inputs[:10]) + " ..." * (len(inputs) > 10)
            raise UsageError(f"--clips: got {name!r}, expected names of clips: {there}")
    chosen = set(job.clips)
    return [each for each in inputs if chosen & {each[0], each[1].name}]


def _inputs(job: Job) -> list[_Input]:
    """Every input, in the order of their names or of the public clip list."""
    listed = read_public(job.public_list) if job.public_list else []
    by_path = {Path(entry.video_path).resolve(): entry for entry in listed}
    is_list = job.input == job.public_list
    paths = [Path(entry.video_path) for entry in listed] if is_list else list_videos(job.input_folder)
    if not paths:
        raise UsageError(f"{job.input}: lists no clips")
    ids = clip_ids(paths)
    if job.run_folder is not None:
        results = {(job.run_folder / file_name(clip_id, end)).resolve() for clip_id in ids for end in RESULT_ENDINGS}
        for path in paths:
            if path.resolve() in results:
                raise UsageError(f"{path}: a result would replace this input. Choose another --output_folder.")
    return [(clip_id, path, by_path.get(path.resolve())) for clip_id, path in zip(ids, paths, strict=True)]


def clip_ids(paths: Sequence[Path]) -> list[str]:
    """The id of every clip: the file's stem, or its whole name where several files share a stem.

    Raises:
        UsageError: two files of one name (from different folders) or whose results would have one name, or a name that
            no folder can have.
    """
    stems = Counter(path.stem.casefold() for path in paths)
    ids = [path.stem if stems[path.stem.casefold()] == 1 else path.name for path in paths]
    first: dict[str, Path] = {}
    names: dict[str, Path] = {}
    for clip_id, path in zip(ids, paths, strict=True):
        if first.setdefault(clip_id, path) is not path:
            raise UsageError(f"two clips have the name {clip_id}: {first[clip_id]} and {path}. Rename one.")
        if clip_id in (".", ".."):
            raise UsageError(f"{path}: got the clip name {clip_id!r}, expected one that a folder can have. Rename it.")
        for name in (file_name(clip_id, end).casefold() for end in RESULT_ENDINGS):
            if name in names:
                raise UsageError(f"{names[name]} and {path}: both would write the result {name}. Rename one.")
            names[name] = path
    return ids
