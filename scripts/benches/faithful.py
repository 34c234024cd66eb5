"""``bench.py faithful``: what ``--faithful`` keeps of the example, and how its holes meet what is kept.

Every sixteenth frame along a path, from true geometry, against the ray-cast truth: the published splat alone, the
preview, and ``--faithful`` around a generator that changes the whole picture (the tiny networks, random weights).
``covered_psnr`` and ``covered_flip`` count what the splat covers and the result keeps (``kept_share`` of it: taking
mixed pixels apart opens some), ``splat_psnr`` is the splat's of the same pixels. ``border_gradient`` is the mean step
of colour across the borders of the result's holes, in levels of 255, ``true_holes_gradient`` the same with the truth in
the holes, where only what is kept can be at fault, and ``true_gradient`` the truth's in the same places.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benches import generate
from benches.measure import Bench
from benches.motion import EXAMPLE
from numpy.typing import NDArray

from inspatio.cameras.formats import load_trajectory
from inspatio.cameras.poses import invert
from inspatio.clip_options import Controls
from inspatio.evaluation.metrics import Fidelity
from inspatio.evaluation.regions import regions_of
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.generation.base import drive
from inspatio.generation.faithful import FaithfulGenerator
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.geometry.imported import FilesGeometry
from inspatio.geometry.scene import open_scene
from inspatio.media import probe
from inspatio.render import WarpRenderer, render_scene
from inspatio.scene import FOREGROUND_PERCENTILE, adapt

STRIDE = 16

Pictures = Mapping[int, NDArray[np.uint8]]
Masks = Mapping[int, NDArray[np.bool_]]
"""By their place in the clip."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--path", default="orbit_left", help="a trajectory of traj/ [orbit_left]")
    generate.add_network_arguments(parser)
    parser.set_defaults(random_weights=True, model="tiny", use_tae=True, size=(240, 416), device="cpu")


def run(options: argparse.Namespace) -> dict[str, Any]:
    networks, _ = generate.from_options(options)
    size = networks.options.size
    trajectory, video = load_trajectory(Path(f"traj/{options.path}.txt")), probe(EXAMPLE)
    reach = float(np.percentile(truth.true_depth(0, np.eye(4)), FOREGROUND_PERCENTILE))
    path = invert(trajectory.camera_to_world(truth.FRAME_COUNT, reach))
    places = range(0, truth.FRAME_COUNT, STRIDE)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        FilesGeometry().estimate(video, Path(work), lambda done, total: None)
        with open_scene(video, Path(work), size) as whole:
            scene, cameras = adapt(whole, trajectory, Controls(adaptive_frames=False))
            true = {at: truth.true_view(at, path[at], scene.lens, size) for at in places}
            splats = {at: render_scene(WarpRenderer(), scene, at, cameras[at : at + 1]) for at in places}
            covered = {at: splat.masks[0] > 0 for at, splat in splats.items()}
            splatted = {at: splat.frames[0] for at, splat in splats.items()}
            results["splat"] = _fidelity(splatted, true, covered)
            for name, generator in {
                "preview": PreviewGenerator(size),
                "networks, faithful": FaithfulGenerator(networks),
            }.items():
                frames, kept = {}, {}
                for block in drive(generator.start(scene, seed=0), cameras):
                    assert block.coverage is not None, "both know what they keep"
                    for i in range(len(block.frames)):
                        frames[block.start + i] = block.frames[i].cpu().numpy()
                        kept[block.start + i] = block.coverage[i] > 0
                both = {at: covered[at] & kept[at] for at in places}
                results[name] = {
                    **_fidelity(frames, true, both),
                    "kept_share": round(float(np.mean([both[at].sum() / covered[at].sum() for at in places])), 4),
                    "splat_psnr": _fidelity(splatted, true, both)["covered_psnr"],
                    **_borders(frames, true, kept),
                }
                print(name, results[name], flush=True)
    return results


def _fidelity(frames: Pictures, true: Pictures, covered: Masks) -> dict[str, float]:
    fidelity = Fidelity()
    for at, picture in true.items():
        fidelity.add(frames[at], picture, regions_of(covered[at], None))
    figures = fidelity.figures()
    return {
        "covered_psnr": round(figures["psnr/covered"], 2),
        "covered_flip": round(figures["flip/covered"], 4),
    }


def _borders(frames: Pictures, true: Pictures, kept: Masks) -> dict[str, float]:
    pasted = {at: np.where(kept[at][..., None], frames[at], picture) for at, picture in true.items()}
    named = {"border_gradient": frames, "true_holes_gradient": pasted, "true_gradient": true}
    return {
        name: round(float(np.concatenate([_steps(each[at], kept[at]) for at in true]).mean()), 2)
        for name, each in named.items()
    }


def _steps(frame: NDArray[np.uint8], covered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The steps of colour between each two neighbours of which the source shows one."""
    found = []
    for axis in (0, 1):
        across = np.diff(covered.astype(np.int8), axis=axis) != 0
        found.append(np.abs(np.diff(frame.astype(np.float64), axis=axis)).mean(axis=-1)[across])
    return np.concatenate(found)


BENCH = Bench(add_arguments, run)
