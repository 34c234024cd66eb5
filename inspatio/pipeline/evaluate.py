"""`inspatio evaluate`: measure a result, the results of a run folder, or generators on the held-out suite."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args, get_type_hints

import numpy as np
from tqdm import tqdm

from inspatio import factory
from inspatio.config import PREVIEW_PROFILE, GeometryConfig, find_profile, load_profile
from inspatio.errors import UsageError, UserError
from inspatio.evaluation.clip import Clip, Settings, evaluate_clip
from inspatio.evaluation.inputs import ResultFiles, open_clip
from inspatio.evaluation.metrics import require_extra
from inspatio.evaluation.networks import Networks
from inspatio.evaluation.options import EvaluateOptions
from inspatio.evaluation.report import Report, write_sheet
from inspatio.evaluation.suite import SUITES, Suite, SuiteClip
from inspatio.evaluation.suite_run import Row, SuiteSettings, run_suite
from inspatio.generation.base import Generator
from inspatio.locations import cache
from inspatio.models.checkpoints import require
from inspatio.pipeline.manifest import MANIFEST_NAME, Manifest

REPORT_NAME, SHEET_NAME = "report.json", "sheet.png"
SHEET_ROWS = 8

_log = logging.getLogger(__name__)


def evaluate(options: EvaluateOptions) -> int:
    """Measure, print the table, and write ``report.json`` and ``sheet.png``.

    Returns:
        The exit code: 0 all clips were measured, 1 some could not be.

    Raises:
        UserError: nothing could be measured; the message says why.
    """
    require_extra()
    networks = Networks(options.networks)
    settings = Settings(options.stride, options.colmap, networks)
    if options.suite is not None:
        report, rows, failed = *_suite(options, SUITES[options.suite], settings), 0
    else:
        report, rows, failed = _results(options, settings)
    _save(options, report, rows)
    print(report.table())
    print(f"\n{_folder(options) / REPORT_NAME}")
    return 1 if failed else 0


def _folder(options: EvaluateOptions) -> Path:
    """Where the report goes."""
    return options.report or Path("output/evaluation") / (options.suite or (options.what or Path()).resolve().stem)


def _save(options: EvaluateOptions, report: Report, rows: list[Row]) -> None:
    report.save(_folder(options) / REPORT_NAME)
    write_sheet(_folder(options) / SHEET_NAME, rows[:: -(-len(rows) // SHEET_ROWS)])


def _suite(options: EvaluateOptions, suite: Suite, settings: Settings) -> tuple[Report, list[Row]]:
    clips = _chosen(suite, options.clips)
    names = list(dict.fromkeys((PREVIEW_PROFILE, *options.generators)))
    profiles = {name: load_profile(find_profile(name)) for name in names}
    for profile in profiles.values():
        require(profile, {"generate"})
    device = _device()
    renderer = factory.make_renderer(profiles[PREVIEW_PROFILE].render, device)
    with TemporaryDirectory(prefix="inspatio-prompts-") as prompts, tqdm(total=len(clips), unit="clip") as bar:

        def progress(what: str, done: int, total: int) -> None:
            bar.set_description(what)
            bar.update(done - bar.n)

        def maker(name: str):
            def make(size: tuple[int, int]) -> Generator:
                config = profiles[name].generator
                return factory.make_generator(config, size, device, Path(prompts), renderer=renderer)

            return make

        report, rows = run_suite(
            suite,
            clips,
            {name: maker(name) for name in names},
            {name: factory.make_geometry(_geometry(name, profiles), device) for name in options.geometries},
            renderer,
            SuiteSettings(
                cache() / "suites", settings, report_progress=progress, keep=lambda *done: _save(options, *done)
            ),
        )
    return report, rows


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _chosen(suite: Suite, names: tuple[str, ...] | None) -> list[SuiteClip]:
    """The clips of a suite with these names."""
    known = {clip.name: clip for clip in suite.clips}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise UsageError(f"--clips {','.join(unknown)}: not in the suite, expected some of {', '.join(known)}")
    return [known[name] for name in names] if names else list(suite.clips)


def _geometry(name: str, profiles: Mapping) -> GeometryConfig:
    """The settings of a geometry backend: those of the first profile that is not the preview, or of the preview."""
    backends = get_args(get_type_hints(GeometryConfig)["backend"])
    if name not in backends:
        raise UsageError(f"--geometries {name}: no such backend, expected some of {', '.join(backends)}")
    return replace(list(profiles.values())[-1].geometry, backend=name)


def _results(options: EvaluateOptions, settings: Settings) -> tuple[Report, list[Row], int]:
    """Measure the results of WHAT; the number of clips that could not be is the last."""
    found, notes = _files(options)
    clips: dict[str, dict[str, float]] = {}
    rows: list[Row] = []
    failed, sets = 0, settings.networks.distributions()
    with tqdm(total=len(found), unit="clip") as bar:
        for name, files in found.items():
            bar.set_description(name)
            try:
                with open_clip(files, name) as clip:
                    clips[name] = evaluate_clip(clip, settings, distributions=sets)
                    notes += clip.notes
                    rows.append((name, _pictures(clip)))
            except UserError as error:
                _log.error("%s FAILED: %s", name, error)
                notes.append(f"{name} could not be measured: {error}")
                failed += 1
            bar.update()
    if not clips:
        raise UserError(f"{options.what}: nothing could be measured. {notes[-1]}")
    facts = {
        "result": str(options.what),
        "truth": str(options.truth) if options.truth else None,
        "stride": options.stride,
    }
    report = Report(
        f"{options.what}: {len(clips)} clips", {"result": clips}, (), {"result": sets.figures()}, notes, facts=facts
    )
    report.missing = settings.networks.missing() if options.truth else []
    return report, rows, failed


def _files(options: EvaluateOptions) -> tuple[dict[str, ResultFiles], list[str]]:
    """The files of each result by clip, and a note for each clip that has none."""
    what = options.what
    assert what is not None, "a result or a run folder was given"
    if what.is_file():
        files = ResultFiles(
            what,
            options.truth,
            options.render,
            options.cameras,
            options.source,
            options.source_geometry,
            options.wanted,
            options.poses,
        )
        return {what.stem: files}, []
    single = [
        name
        for name in ("render", "cameras", "source", "source_geometry", "wanted", "poses")
        if getattr(options, name) is not None
    ]
    if single:
        raise UsageError(f"--{single[0]}: got a folder to measure, expected a single result with it")
    if not (what / MANIFEST_NAME).is_file():
        raise UserError(f"{what}: got no result and no {MANIFEST_NAME}, expected a video or a run folder")
    found, notes = {}, []
    work = Manifest.work_folder(what)
    known = {clip.id: clip for clip in Manifest.read_clips(work)} if (work / MANIFEST_NAME).is_file() else {}
    for clip in Manifest.read_clips(what):
        if options.clips is not None and clip.id not in options.clips:
            continue
        if clip.output is None:
            notes.append(f"{clip.id} is not finished")
            continue
        geometry = known[clip.id].geometry if clip.id in known else None
        found[clip.id] = ResultFiles(
            what / clip.output.video,
            _truth_of(options.truth, clip.id),
            what / clip.render.folder if clip.render else None,
            what / clip.output.cameras,
            (what / clip.source.path).resolve(),
            work / geometry.folder if geometry else None,
        )
    if not found:
        raise UserError(f"{what}: got no finished result, expected at least one. Run the pipeline first")
    return found, notes


def _truth_of(truth: Path | None, clip_id: str) -> Path | None:
    """The true video of a clip: the file given, or the one of its name in the folder given."""
    if truth is None or truth.is_file():
        return truth
    path = truth / f"{clip_id}.mp4"
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected the true video of {clip_id}")
    return path


def _pictures(clip: Clip) -> dict[str, np.ndarray]:
    """The late frame of a clip for the sheet: truth, render and result, as far as they are there."""
    place = [2 * len(clip) // 3]
    sources = {"truth": clip.truth, "render": clip.render, "result": clip.result}
    return {name: source.read(place)[0] for name, source in sources.items() if source is not None}
