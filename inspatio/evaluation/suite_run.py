"""Run generators over a suite: every clip from each geometry, by each generator, beside the baselines.

    report, rows = run_suite(SUITES["synthetic"], clips, {"preview": make}, {"files": backend}, SuiteSettings())

A clip goes the way of any user's: its video and geometry become a scene, the path is laid over it, a generator makes
the frames. Everything is measured against the same truth, also where a generator was given estimated geometry: then the
camera goes where the path leads in that geometry, and what this costs shows. The baselines take the first geometry.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.baselines import FILLS, blurred_holes
from inspatio.evaluation.clip import Clip, Settings, evaluate_clip
from inspatio.evaluation.distributions import Distributions
from inspatio.evaluation.geometry import geometry_figures
from inspatio.evaluation.report import CONTROL, PREVIEW, Report
from inspatio.evaluation.statistics import Figures
from inspatio.evaluation.suite import KEEP_FRAMES, RETURNING, Suite, SuiteClip
from inspatio.evaluation.truth import Truth, load_truth
from inspatio.generation.base import Generator, drive
from inspatio.geometry.backend import GeometryBackend
from inspatio.geometry.store import load_geometry
from inspatio.media import probe
from inspatio.render.renderer import Renderer
from inspatio.render.views import render_scene
from inspatio.scene import Render, Scene, adapt
from inspatio.types import Frames, Image

TRUTH = "truth"
"""The truth measured as if it were a result: the limits of the measures themselves."""
TRUE_GEOMETRY = "files"
MakeGenerator = Callable[[tuple[int, int]], Generator]
"""The generator for frames of a (height, width)."""
Row = tuple[str, dict[str, Image]]
"""A clip's name and a picture of it by each method."""


@dataclass(frozen=True)
class SuiteSettings:
    """How to run a suite."""

    truth_folder: Path
    measure: Settings = field(default_factory=Settings)
    seed: int = 0
    report_progress: Callable[[str, int, int], None] = lambda what, done, total: None
    """Called with what is done now, and how much of it."""
    keep: Callable[[Report, list[Row]], None] = lambda report, rows: None
    """Called after each clip with all that has been measured, so that an interrupted run has its report."""


@dataclass(frozen=True)
class Outcome:
    """A method on a clip: its figures, and its picture where the camera is farthest from its start."""

    method: str
    figures: Figures
    picture: Image


class InMemory:
    """Arrays of a clip as a source of frames, depth or masks."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self._values[list(indices)]


def run_suite(
    suite: Suite,
    clips: Sequence[SuiteClip],
    generators: Mapping[str, MakeGenerator],
    geometries: Mapping[str, GeometryBackend],
    renderer: Renderer,
    settings: SuiteSettings,
) -> tuple[Report, list[Row]]:
    """Evaluate generators (the preview among them) on clips of a suite; the report, and a row of pictures a clip.

    Raises:
        UserError: the truth cannot be made or read.
    """
    assert PREVIEW in generators, "the preview is a baseline: it must be among the generators"
    methods: dict[str, dict[str, Figures]] = {}
    rows: list[Row] = []
    runner = _Runner(generators, geometries, renderer, settings)
    for number, clip in enumerate(clips):
        settings.report_progress(clip.name, number, len(clips))
        truth = load_truth(clip, settings.truth_folder)
        pictures: dict[str, Image] = {}
        for outcome in runner.run(truth):
            methods.setdefault(outcome.method, {})[clip.name] = outcome.figures
            pictures[outcome.method] = outcome.picture
        rows.append((clip.name, pictures))
        settings.keep(_report(suite, clips, geometries, settings, methods, runner.sets()), rows)
    settings.report_progress("done", len(clips), len(clips))
    return _report(suite, clips, geometries, settings, methods, runner.sets()), rows


def _report(
    suite: Suite,
    clips: Sequence[SuiteClip],
    geometries: Mapping[str, GeometryBackend],
    settings: SuiteSettings,
    methods: dict[str, dict[str, Figures]],
    sets: dict[str, dict[str, float]],
) -> Report:
    """The report of the clips that are done."""
    order = {name: dict(methods[name]) for name in sorted(methods, key=_rank)}
    baselines = [name for name in (*FILLS, PREVIEW, CONTROL) if name in methods]
    done = len(order[TRUTH])
    facts = {
        "suite": {"name": suite.name, "version": suite.version, "clips": done, "of": len(suite.clips)},
        "stride": settings.measure.stride,
        "geometries": list(geometries),
        "seed": settings.seed,
    }
    title = f"Suite {suite.name}, version {suite.version}: {done} of {len(suite.clips)} clips"
    return Report(
        title,
        order,
        baselines,
        {name: sets[name] for name in order},
        facts=facts,
        missing=settings.measure.networks.missing(),
    )


def _rank(method: str) -> tuple[int, str]:
    fixed = (TRUTH, *FILLS, CONTROL, PREVIEW)
    return (fixed.index(method), "") if method in fixed else (len(fixed), method)


class _Runner:
    """Runs and measures the methods on clip after clip; generators are made once for each size of frames."""

    def __init__(
        self,
        generators: Mapping[str, MakeGenerator],
        geometries: Mapping[str, GeometryBackend],
        renderer: Renderer,
        settings: SuiteSettings,
    ) -> None:
        self._generators, self._geometries = generators, geometries
        self._renderer, self._settings = renderer, settings
        self._made: dict[tuple[str, tuple[int, int]], Generator] = {}
        self._sets: defaultdict[str, Distributions] = defaultdict(settings.measure.networks.distributions)

    def sets(self) -> dict[str, dict[str, float]]:
        """What was measured of the clips so far together, by method."""
        return {method: each.figures() for method, each in self._sets.items()}

    def run(self, truth: Truth) -> Iterator[Outcome]:
        """The outcomes of all methods on a clip, one after the other."""
        for number, (name, backend) in enumerate(self._geometries.items()):
            with tempfile.TemporaryDirectory(prefix="inspatio-suite-") as folder:
                yield from self._from_geometry(truth, name, backend, Path(folder), with_baselines=number == 0)

    def _from_geometry(
        self, truth: Truth, name: str, backend: GeometryBackend, folder: Path, *, with_baselines: bool
    ) -> Iterator[Outcome]:
        errors: dict[str, float] = {}
        if name == TRUE_GEOMETRY:
            folder = truth.geometry
        else:
            backend.estimate(probe(truth.video), folder, lambda done, total: None)
            errors = geometry_figures(load_geometry(folder), load_geometry(truth.geometry))
        scene, cameras = adapt(truth.scene(folder), truth.clip.trajectory, KEEP_FRAMES)
        render = render_scene(self._renderer, scene, 0, cameras)
        seen_as = _Seen(truth, render, self._settings.measure, self._sets)
        if with_baselines:
            yield seen_as.outcome(TRUTH, seen_as.true_frames, with_cameras=True)
            for fill_name, fill in FILLS.items():
                filled = [fill(*each) for each in zip(render.frames, render.masks > 0, strict=True)]
                yield seen_as.outcome(fill_name, np.stack(filled))
        for generator_name in self._generators:
            frames, speed = self._generate(generator_name, scene, cameras)
            method = generator_name if with_baselines else f"{generator_name}, {name} geometry"
            outcome = seen_as.outcome(method, frames, with_cameras=True)
            yield replace(outcome, figures={**outcome.figures, **speed, **errors})
            if with_baselines and generator_name == PREVIEW:
                blurred = [blurred_holes(*each) for each in zip(frames, render.masks > 0, strict=True)]
                yield seen_as.outcome(CONTROL, np.stack(blurred))

    def _generate(self, name: str, scene: Scene, cameras: Cameras) -> tuple[Frames, dict[str, float]]:
        key = (name, scene.size)
        if key not in self._made:
            self._made[key] = self._generators[name](scene.size)
            _generate(
                self._made[key], scene, cameras, self._settings.seed
            )  # compiles what the first clip would wait for
        return _generate(self._made[key], scene, cameras, self._settings.seed)


class _Seen:
    """A clip's truth beside one render of it: what the methods that start from that render are measured against."""

    def __init__(self, truth: Truth, render: Render, settings: Settings, sets: defaultdict[str, Distributions]) -> None:
        self._truth, self._settings, self._sets = truth, settings, sets
        self._source = truth.scene()
        self.true_frames = truth.frames(range(len(truth.depth)))
        self._render = render

    def outcome(self, method: str, frames: Frames, *, with_cameras: bool = False) -> Outcome:
        """Measure the frames that a method made; baselines keep the render's camera, so theirs is not measured."""
        truth = self._truth
        clip = Clip(
            truth.clip.name,
            InMemory(frames),
            InMemory(self.true_frames),
            render=InMemory(self._render.frames),
            covered=InMemory(self._render.masks > 0),
            seen=InMemory(truth.seen),
            depth=InMemory(truth.depth),
            cameras=truth.cameras,
            source=self._source if with_cameras else None,
        )
        returns = truth.clip.path in RETURNING
        picture = frames[len(frames) // 2 if returns else -1]
        return Outcome(method, evaluate_clip(clip, self._settings, distributions=self._sets[method]), picture)


def _generate(generator: Generator, scene: Scene, cameras: Cameras, seed: int) -> tuple[Frames, dict[str, float]]:
    """A clip's frames, and how fast they came."""
    began, began_cpu, first = time.monotonic(), time.process_time(), 0.0
    blocks = []
    for block in drive(generator.start(scene, seed=seed), cameras):
        first = first or time.monotonic() - began
        blocks.append(block.frames.numpy())
    frames = np.concatenate(blocks)
    speed = {
        "frames_per_second": len(frames) / (time.monotonic() - began),
        "cpu_ms_per_frame": 1000 * (time.process_time() - began_cpu) / len(frames),
        "first_block_seconds": first,
    }
    return frames, speed
