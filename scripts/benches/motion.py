"""``bench.py motion``: geometry by motion of the example: its errors, what it costs, and the new views that it gives.

The clip as it is against the ray-cast truth (every fourth frame, one scale, focal length estimated); the clip played to
and fro up to each of ``--frames`` (121 is 5 s), for time and for the largest memory so far, which should not grow with
the clip; then new views from three geometries against what the true camera sees. ``--clip`` measures other clips, or
all videos of a folder, which have no truth. Each result is printed as it comes. CPU seconds are those of this process
and of the mapper's.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benches.measure import Bench, peak_memory

from inspatio.cameras.controls import bounce
from inspatio.cameras.formats import load_trajectory
from inspatio.evaluation.synthetic_room import measure
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.geometry.backend import GeometryBackend
from inspatio.geometry.imported import FilesGeometry
from inspatio.geometry.motion.backend import MotionGeometry
from inspatio.geometry.plane import PlaneGeometry
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.media import SourceInfo, VideoWriter, open_source, probe
from inspatio.media.listing import list_sources

EXAMPLE = Path("examples/living_room.mp4")
PATHS = ("orbit_left", "truck")
STRIDE = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=int, nargs="*", default=[121, 484], help="clip lengths to time [121 484]")
    parser.add_argument("--clip", type=Path, nargs="*", default=[], help="other clips, or folders of them")
    parser.add_argument("--views", action=argparse.BooleanOptionalAction, default=True, help="measure new views [yes]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def keep(name: str, figures: dict[str, Any]) -> None:
        found[name] = figures
        print(f"{name}: {figures}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        example = probe(EXAMPLE)
        geometry, cost = _estimate(MotionGeometry(), example, work / "motion")
        keep("example", cost | _errors(geometry))
        for count in options.frames:
            longer = _to_and_fro(example, work / f"{count}.mp4", count)
            keep(f"{count} frames", _estimate(MotionGeometry(), longer, work / str(count))[1])
        for clip in _clips(options.clip):
            keep(clip.name, _estimate(MotionGeometry(), probe(clip), work / clip.name)[1])
        if options.views:
            for backend in (FilesGeometry(), PlaneGeometry()):
                _estimate(backend, example, work / type(backend).__name__)
            for path in PATHS:
                for kind, folder in (("files", "FilesGeometry"), ("motion", "motion"), ("plane", "PlaneGeometry")):
                    keep(f"{path}, {kind}", _views(path, work / folder))
    return found


def _clips(paths: Sequence[Path]) -> list[Path]:
    """The files, and the videos of the folders among them."""
    clips: list[Path] = []
    for path in paths:
        clips += [each.path for each in list_sources(path).sources if each.kind == "video"] if path.is_dir() else [path]
    return clips


def _estimate(backend: GeometryBackend, video: SourceInfo, folder: Path) -> tuple[Geometry, dict[str, Any]]:
    """The geometry of a clip, and what it took."""
    folder.mkdir()
    wall, cpu = time.perf_counter(), _cpu_seconds()
    backend.estimate(video, folder, lambda done, total: None)
    taken = {"wall_seconds": round(time.perf_counter() - wall, 1), "cpu_seconds": round(_cpu_seconds() - cpu, 1)}
    geometry = load_geometry(folder)
    shots = [
        {key: shot[key] for key in ("first", "last", "kind", "held_out_error_px", "because") if key in shot}
        for shot in geometry.settings.get("shots", [])
    ]
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak = peak_memory(torch.device("cpu")) | {"peak_mapper_gib": round(children / 2**20, 3)}
    return geometry, taken | peak | {"shots": shots}


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _errors(geometry: Geometry) -> dict[str, float]:
    errors = measure.geometry_errors(geometry, STRIDE)
    return {
        "abs_rel": round(errors.depth.abs_rel, 4),
        "delta": round(errors.depth.delta, 4),
        "rotation_degrees": round(errors.poses.rotation_degrees, 4),
        "path_error": round(errors.poses.translation, 5),
        "focal": round(float(geometry.intrinsics[0, 0, 0]), 1),
    }


def _views(path: str, folder: Path) -> dict[str, float]:
    errors = measure.view_errors(EXAMPLE, folder, load_trajectory(Path(f"traj/{path}.txt")), PreviewGenerator(), 16)
    return {name: round(errors[name], 3) for name in ("psnr/covered", "flip/covered", "coverage", "psnr/whole")}


def _to_and_fro(video: SourceInfo, path: Path, count: int) -> SourceInfo:
    """The clip's frames forward and backward, ``count`` of them, as a file."""
    with open_source(video) as frames, VideoWriter(path, video.size, video.frame_rate, quality="render") as out:
        for frame in bounce(video.frame_count, count):
            out.write(frames.read([frame]))
    return probe(path)


BENCH = Bench(add_arguments, run)
