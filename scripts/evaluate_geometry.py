"""How near estimated geometry of the example comes to the truth, for one geometry backend or all of them.

    python scripts/evaluate_geometry.py                                    every backend, Depth Anything 3 as published
    python scripts/evaluate_geometry.py --geometry da3 --profile tiny      the tiny random networks: proves the way only

Prints one row of a markdown table for each backend: AbsRel and delta < 1.25 of the depth after the one best scale,
rotation and translation error of the cameras after alignment, and the two scales that were taken out (1 for perfect
metres); ``geometry_metrics.py`` says how they are defined. True depth is ray-cast at the estimate's own resolution for
every --stride'th frame; poses are compared for all frames.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from make_example import CLIP
from numpy.typing import NDArray
from tqdm import tqdm

from inspatio import factory
from inspatio.config import DEFAULT_PROFILE, GeometryConfig, find_profile, load_profile
from inspatio.errors import MissingWeightsError, UserError
from inspatio.evaluation.geometry_metrics import DepthErrors, PoseErrors, depth_errors, pose_errors
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.geometry.imported import Geometry, load_geometry
from inspatio.media import probe
from inspatio.media.fit import Fit

BACKENDS = ("files", "da3", "plane")
HEADER = (
    "| geometry | scale kind | AbsRel | delta < 1.25 | known % | depth scale | rotation | translation, share of path "
    "| path scale |\n|---|---|---|---|---|---|---|---|---|"
)
RANDOM_WEIGHTS = (
    "The Depth Anything 3 networks used here are the tiny ones with random weights, which know nothing of scenes: "
    "their numbers only prove that the measuring works."
)


@dataclass(frozen=True)
class GeometryErrors:
    """A backend's geometry of the example against the truth."""

    depth: DepthErrors
    poses: PoseErrors


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--folder", type=Path, default=Path("examples"), help="where the example is [examples]")
    parser.add_argument("--stride", type=int, default=10, help="measure depth of every so manieth frame [10]")
    options = parser.parse_args(arguments)
    return print_geometry(options.geometry or "all", options.profile, options.folder, options.stride)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``evaluate_example.py`` takes too."""
    parser.add_argument(
        "--geometry", choices=(*BACKENDS, "all"), help="measure the geometry of this backend, or of all"
    )
    parser.add_argument("--profile", default=DEFAULT_PROFILE, help=f"whose geometry settings [{DEFAULT_PROFILE}]")


def print_geometry(backend: str, profile: str, folder: Path, stride: int) -> int:
    """Print the table of one backend, or of all there are weights for (and say which are not); returns an exit code."""
    try:
        config = load_profile(find_profile(profile)).geometry
        remarks, header = [], HEADER + "\n"
        for name in BACKENDS if backend == "all" else (backend,):
            try:
                with tempfile.TemporaryDirectory() as work:
                    geometry = estimate(replace(config, backend=name), folder, Path(work))
                    print(header + row(name, geometry, measure(geometry, stride)), flush=True)
                    header = ""
                    if has_random_weights(geometry):
                        remarks.append(RANDOM_WEIGHTS)
            except MissingWeightsError as error:
                if backend != "all":
                    raise
                remarks.append(f"{name} was not measured: {error}")
    except UserError as error:
        print(f"evaluate_geometry: {error}", file=sys.stderr)
        return 1
    for remark in remarks:
        print(f"\n{remark}")
    return 0


def estimate(config: GeometryConfig, folder: Path, work: Path) -> Geometry:
    """The example's geometry by a profile's backend, in the empty folder ``work``."""
    video = probe(folder / f"{CLIP}.mp4")
    backend = factory.make_geometry(config, "cuda" if torch.cuda.is_available() else "cpu")
    with tqdm(total=video.frame_count, desc=config.backend, unit="frame", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)

        backend.estimate(video, work, progress)
    return load_geometry(work)


def measure(geometry: Geometry, stride: int = 10) -> GeometryErrors:
    """Geometry of the example, at any resolution, against the truth."""
    assert geometry.frame_count == truth.FRAME_COUNT, f"{geometry.frame_count} frames, expected {truth.FRAME_COUNT}"
    poses = truth.source_world_to_camera()
    size = (geometry.depth.shape[1], geometry.depth.shape[2])
    camera = Fit.make(truth.SIZE, size, "stretch").intrinsics(truth.intrinsics())

    def pairs() -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        for frame in range(0, truth.FRAME_COUNT, stride):
            own = geometry.depth[frame if len(geometry.depth) > 1 else 0]
            yield own, truth.true_depth(frame, poses[frame], camera, size)

    return GeometryErrors(depth_errors(pairs), pose_errors(geometry.world_to_camera, poses))


def row(name: str, geometry: Geometry, errors: GeometryErrors) -> str:
    """A backend's row of the table."""
    depth, poses = errors.depth, errors.poses
    return (
        f"| {name} | {geometry.scale} | {depth.abs_rel:.4f} | {depth.delta:.3f} | {100 * depth.known:.1f} "
        f"| {depth.scale:.3g} | {poses.rotation_degrees:.3f} deg | {poses.translation:.4f} | {poses.scale:.3g} |"
    )


def has_random_weights(geometry: Geometry) -> bool:
    """Whether it comes from networks of ``make_tiny_checkpoints.py``."""
    return any("tiny" in str(name) for name in geometry.settings.get("models", ()))


if __name__ == "__main__":
    sys.exit(main())
