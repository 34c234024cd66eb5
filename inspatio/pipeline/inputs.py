"""The inputs of a job: every source that it is about, each with its clip id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from inspatio.errors import UsageError
from inspatio.export.result_file import check_target
from inspatio.media.listing import FoundSource, LeftOut, identify, list_sources
from inspatio.pipeline.job import Job
from inspatio.pipeline.public_manifest import PublicClip, read_public
from inspatio.storage import file_name

RESULT_ENDINGS = (".mp4", ".cameras.json", ".comparison.mp4")
"""Of the files that the generate stage writes for a clip, after its id."""


@dataclass(frozen=True)
class Input:
    """A source that becomes a clip, and its entry in a public clip list."""

    clip_id: str
    found: FoundSource
    public: PublicClip | None = None


@dataclass(frozen=True)
class Inputs:
    """All sources of the input, by name or as the clip list has them; those that the job is about; the rest."""

    known: tuple[Input, ...]
    chosen: tuple[Input, ...]
    left_out: tuple[LeftOut, ...]


def read_inputs(job: Job) -> Inputs:
    """Find the sources of a job's input.

    Raises:
        UsageError: no such folder, no source in it, two of one name, no clip of a name in --clips, or several for -o.
    """
    listed = read_public(job.public_list) if job.public_list else []
    by_path = {Path(entry.video_path).resolve(): entry for entry in listed}
    left_out: tuple[LeftOut, ...] = ()
    if job.input == job.public_list:
        sources = [_listed(Path(entry.video_path)) for entry in listed]
        if not sources:
            raise UsageError(f"{job.input}: lists no clips")
    else:
        sources, left_out = _in_folder(job)
    ids = clip_ids([found.path for found in sources])
    if job.run_folder is not None:
        results = {(job.run_folder / file_name(clip_id, end)).resolve() for clip_id in ids for end in RESULT_ENDINGS}
        for found in sources:
            if found.path.resolve() in results:
                raise UsageError(f"{found.path}: a result would replace this input. Choose another --output_folder.")
    known = [
        Input(clip_id, found, by_path.get(found.path.resolve())) for clip_id, found in zip(ids, sources, strict=True)
    ]
    chosen = _chosen(job, known)
    if job.result is not None:
        check_target(job.result)
        if len(chosen) != 1:
            raise UsageError(f"-o {job.result}: got {len(chosen)} clips, expected one. Choose it with --clips.")
    return Inputs(tuple(known), tuple(chosen), left_out)


def clip_ids(paths: Sequence[Path]) -> list[str]:
    """The id of every clip: the file's stem, or its whole name where several share a stem; a folder's name.

    Raises:
        UsageError: two files of one name (from different folders) or whose results would have one name, or a name that
            no folder can have.
    """
    short = [path.name if path.is_dir() else path.stem for path in paths]
    shared = Counter(name.casefold() for name in short)
    ids = [name if shared[name.casefold()] == 1 else path.name for name, path in zip(short, paths, strict=True)]
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


def _listed(path: Path) -> FoundSource:
    """An entry of a clip list: a video unless it is a source of another kind."""
    return (identify(path) if path.exists() else None) or FoundSource(path, "video")


def _in_folder(job: Job) -> tuple[list[FoundSource], tuple[LeftOut, ...]]:
    """The sources of the input folder and what is not taken; with one source as the input, its folder's and it."""
    one = job.single_source
    if one is None:
        listing = list_sources(job.input_folder)
        return list(listing.sources), listing.left_out
    if one.path.name.startswith("."):
        raise UsageError(f"{job.input}: a hidden file, expected one to be seen in its folder. Rename it.")
    try:
        others = list_sources(job.input_folder).sources
    except UsageError:  # a folder without any source but this one
        others = ()
    beside = [found for found in others if found.path.name != one.path.name]
    return sorted([*beside, one], key=lambda found: found.path), ()


def _chosen(job: Job, known: Sequence[Input]) -> list[Input]:
    """The inputs that the job is about: all, the single source, those that --clips names; at most --limit."""
    chosen = list(known)
    if job.single_source is not None:
        chosen = [each for each in known if each.found.path.name == job.single_source.path.name]
    if job.clips is not None:
        by_name = {name: each for each in chosen for name in (each.clip_id, each.found.path.name)}
        wanted: set[str] = set()
        for pattern in job.clips:
            names = [pattern] if pattern in by_name else [name for name in by_name if fnmatchcase(name, pattern)]
            if not names:
                there = ", ".join(each.clip_id for each in chosen[:10]) + " ..." * (len(chosen) > 10)
                raise UsageError(f"--clips: got {pattern!r}, expected names of clips: {there}")
            wanted |= {by_name[name].clip_id for name in names}
        chosen = [each for each in chosen if each.clip_id in wanted]
    return chosen[: job.limit]
