"""Measure the example clip's results or geometry against the ray-cast truth, as rows of a markdown table.

    python scripts/evaluate.py views                               renders and previews, without a video codec between
    python scripts/evaluate.py views --traj traj/zoom_out_in.txt --sheet sheet.png
    python scripts/evaluate.py views --run output/examples/orbit_left --traj traj/orbit_left.txt     files of a run
    python scripts/evaluate.py geometry                            every backend, Depth Anything 3 as published
    python scripts/evaluate.py geometry --backend da3 --profile tiny      random networks: proves that measuring works

views: PSNR (dB) / SSIM where the render covers the target view and in its holes, flicker at the borders of the holes
(in 1/255, in excess of the truth's own), and the largest errors of the source and target cameras.
geometry: AbsRel and delta < 1.25 after the one best scale, rotation and translation errors after alignment, and the two
scales that were taken out (1 for perfect metres).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from make_example import CLIP
from tqdm import tqdm

from inspatio import factory
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.trajectory import Trajectory
from inspatio.config import DEFAULT_PROFILE, Controls, GeometryConfig, find_profile, load_profile
from inspatio.errors import MissingWeightsError, UserError
from inspatio.evaluation.cameras import largest_pose_error
from inspatio.evaluation.regions import View
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.evaluation.synthetic_room.measure import TrueViews, ViewErrors, geometry_errors, true_target_cameras
from inspatio.generation.base import drive
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.geometry.scene import open_scene
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.media import VideoReader, probe
from inspatio.render import WarpRenderer, render_scene
from inspatio.render.files import RenderFiles
from inspatio.scene import Scene, adapt
from inspatio.types import Frames, Image, Masks

BACKENDS = ("files", "da3", "plane")
TRAJECTORIES = ("x_y_circle_cycle", "zoom_out_in", "orbit_left", "truck")
RANDOM_WEIGHTS = (
    "The Depth Anything 3 networks used here are the tiny ones with random weights, which know nothing of scenes: "
    "their numbers only prove that the measuring works."
)
Made = tuple[int, Frames, Masks, Frames]
"""Place of the first frame, then renders, masks and results of consecutive frames."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    views = commands.add_parser("views", help="renders and results along trajectories")
    views.add_argument("--traj", type=Path, nargs="*", help="trajectory files [four of traj/]")
    views.add_argument("--run", type=Path, help="a finished run folder of the example with this one --traj's result")
    views.add_argument("--truth", type=Path, default=Path("output/true_views"), help="keeps ray-cast views")
    views.add_argument("--sheet", type=Path, help="PNG: truth, render, result and error side by side")
    geometry = commands.add_parser("geometry", help="estimated depth and cameras")
    geometry.add_argument("--backend", choices=(*BACKENDS, "all"), default="all", help="geometry backend [all]")
    geometry.add_argument("--profile", default=DEFAULT_PROFILE, help=f"whose settings [{DEFAULT_PROFILE}]")
    for command in (views, geometry):
        command.add_argument("--folder", type=Path, default=Path("examples"), help="where the example is [examples]")
        command.add_argument("--stride", type=int, default=10, help="evaluate every N-th frame [10]")
    options = parser.parse_args(arguments)
    if options.command == "views" and options.run and not (options.traj and len(options.traj) == 1):
        parser.error("--run needs the one --traj that it was made with")
    try:
        return print_views(options) if options.command == "views" else print_geometry(options)
    except UserError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1


def print_views(options: argparse.Namespace) -> int:
    """Print a row for each trajectory, and write the sheets."""
    print(
        "| trajectory | holes % | covered, render | covered, result | holes, result | whole, result | border flicker "
        "| source poses | target poses |\n|---|---|---|---|---|---|---|---|---|"
    )
    with open_example(options.folder) as scene:
        for path in options.traj or [Path("traj") / f"{name}.txt" for name in TRAJECTORIES]:
            trajectory = load_trajectory(path)
            adapted, cameras = adapt(scene, trajectory, Controls())
            wanted = range(0, len(adapted) - 1, options.stride)
            if options.run:
                with RenderFiles(options.run / "render" / CLIP) as files:
                    cameras = files.targets
            made = from_run(options.run, cameras, wanted) if options.run else from_scene(adapted, cameras)
            rows: list[Image] = []
            true_views = TrueViews(adapted, cameras.world_to_camera, options.truth)
            errors = ViewErrors.of(paired(made, wanted, true_views, rows if options.sheet else None))
            print(view_row(path.stem, errors, adapted, cameras, trajectory), flush=True)
            if options.sheet:
                target = options.sheet.with_name(f"{options.sheet.stem}_{path.stem}{options.sheet.suffix}")
                cv2.imwrite(str(target), np.concatenate(rows[:: max(len(rows) // 6, 1)])[..., ::-1])
    return 0


@contextmanager
def open_example(folder: Path) -> Iterator[Scene]:
    """The example clip as a scene, its geometry imported as the pipeline does it."""
    with tempfile.TemporaryDirectory() as work:
        estimate(GeometryConfig(backend="files"), folder, Path(work))
        with open_scene(folder / f"{CLIP}.mp4", Path(work), truth.SIZE) as scene:
            yield scene


def from_scene(adapted: Scene, cameras: Cameras) -> Iterator[Made]:
    """Renders and previews of the clip, made here and now."""
    renderer = WarpRenderer()
    for block in drive(PreviewGenerator(renderer=renderer).start(adapted, seed=0), cameras):
        places = slice(block.start, block.start + len(block.frames))
        render = render_scene(renderer, adapted, block.start, cameras[places])
        yield block.start, render.frames, render.masks, block.frames.numpy()


def from_run(folder: Path, cameras: Cameras, wanted: range) -> Iterator[Made]:
    """The wanted frames and their successors from the files of a finished run."""
    with RenderFiles(folder / "render" / CLIP) as files, VideoReader(folder / f"{CLIP}.mp4") as results:
        for place in wanted:
            render = files.read(place, cameras[place : place + 2])
            yield place, render.frames, render.masks, results.read([place, place + 1])


def paired(made: Iterable[Made], wanted: range, true_views: TrueViews, rows: list[Image] | None) -> Iterator[View]:
    """The wanted frames and their successors with the truth; appends the sheet's row of each wanted one to ``rows``."""
    for start, renders, masks, results in tqdm(made, unit="block"):
        for place, (render, mask, result) in enumerate(zip(renders, masks, results, strict=True), start):
            if place in wanted or place - 1 in wanted:
                true, depth = true_views.image(place), true_views.depth(place)
                if rows is not None and place in wanted:
                    rows.append(sheet_row(true, render, result))
                yield View(place, render, mask > 0, result, true, depth, true_views.cameras[place])


def view_row(name: str, errors: ViewErrors, adapted: Scene, cameras: Cameras, trajectory: Trajectory) -> str:
    """A trajectory's row of the table."""
    places = range(len(adapted))
    pairs = (
        (adapted.cameras(places).world_to_camera, truth.source_world_to_camera()[adapted.source_frames(places)]),
        (cameras.world_to_camera, true_target_cameras(trajectory, len(adapted))),
    )
    poses = [
        f"{degrees:.3f} deg, {1e3 * metres:.1f} mm" for degrees, metres in (largest_pose_error(*pair) for pair in pairs)
    ]
    columns = (errors.covered_render, errors.covered, errors.holes, errors.whole)
    return (
        f"| {name} | {100 * errors.hole_share:.1f} | {' | '.join(map(str, columns))} | {np.mean(errors.flicker):.2f} "
        f"| {' | '.join(poses)} |"
    )


def sheet_row(true: Image, render: Image, result: Image) -> Image:
    """Truth, render, result and the result's error side by side, at half size."""
    error = np.abs(result.astype(np.int32) - true).max(axis=-1)
    heat = cv2.applyColorMap(np.clip(3 * error, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    panels = (true, render, result, heat[..., ::-1].astype(np.uint8))
    half = [cv2.resize(panel, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for panel in panels]
    return np.concatenate(half, axis=1).astype(np.uint8)


def print_geometry(options: argparse.Namespace) -> int:
    """Print a row for the backend, or for all that there are weights for (and say which are not)."""
    config = load_profile(find_profile(options.profile)).geometry
    print(
        "| geometry | scale kind | AbsRel | delta < 1.25 | known % | depth scale | rotation "
        "| translation, share of path | path scale |\n|---|---|---|---|---|---|---|---|---|"
    )
    remarks = []
    for name in BACKENDS if options.backend == "all" else (options.backend,):
        try:
            with tempfile.TemporaryDirectory() as work:
                geometry = estimate(replace(config, backend=name), options.folder, Path(work))
                print(geometry_row(name, geometry, options.stride), flush=True)
                # So are the networks of make_tiny_checkpoints.py called.
                if any("tiny" in str(model) for model in geometry.settings.get("models", ())):
                    remarks.append(RANDOM_WEIGHTS)
        except MissingWeightsError as error:
            if options.backend != "all":
                raise
            remarks.append(f"{name} was not measured: {error}")
    for remark in remarks:
        print(f"\n{remark}")
    return 0


def estimate(config: GeometryConfig, folder: Path, work: Path) -> Geometry:
    """The example's geometry by a configured backend, in the empty folder ``work``."""
    video = probe(folder / f"{CLIP}.mp4")
    backend = factory.make_geometry(config, "cuda" if torch.cuda.is_available() else "cpu")
    with tqdm(total=video.frame_count, desc=config.backend, unit="frame", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)

        backend.estimate(video, work, progress)
    return load_geometry(work)


def geometry_row(name: str, geometry: Geometry, stride: int) -> str:
    """A backend's row of the table."""
    errors = geometry_errors(geometry, stride)
    depth, poses = errors.depth, errors.poses
    return (
        f"| {name} | {geometry.scale} | {depth.abs_rel:.4f} | {depth.delta:.3f} | {100 * depth.known:.1f} "
        f"| {depth.scale:.3g} | {poses.rotation_degrees:.3f} deg | {poses.translation:.4f} | {poses.scale:.3g} |"
    )


if __name__ == "__main__":
    sys.exit(main())
