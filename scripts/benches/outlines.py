"""``bench.py outlines``: what taking mixed pixels apart brings near the silhouettes of things, against the truth.

Rooms of the held-out suite, each filmed once and seen from the new camera of its path. Source
and truth are ray-cast at three times the size and averaged down as a lens and a sensor do, with true depth, so that
what is measured is the handling of edges and not the few rays to a pixel of the suite's own files, nor a codec's noise.

Near: within :data:`NEAR` pixels of a true silhouette of the new view. ``render``: pixels that both renders cover and
whose true surface the source frame shows. ``result``: all pixels of the preview's frame, holes included.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from benches.measure import Bench
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.evaluation.metrics import Fidelity
from inspatio.evaluation.regions import Mask, project
from inspatio.evaluation.suite import SUITES, SuiteClip
from inspatio.evaluation.truth import load_truth
from inspatio.generation.preview import session as preview
from inspatio.locations import cache
from inspatio.render import WarpRenderer
from inspatio.render.matting import EDGE_JUMP, composite
from inspatio.render.views import render_separated_scene
from inspatio.scene import FrameSource, Scene
from inspatio.types import Frames, Image, WorldToCamera

NEAR = 6
FINER = 3
SAME_DEPTH = 0.02
SIDES = ("before", "after")
"""The published splat, and with mixed pixels taken apart."""


@dataclass(frozen=True, eq=False)
class Case:
    """One frame of a scene, the new camera, and what it truly sees (``h w 3``, ``h w``)."""

    scene: Scene
    camera: Cameras
    true: Image
    true_depth: NDArray[np.float32]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ["orbit_0", "rise_1", "swing_1", "pull_back_1", "truck_0", "dolly_1"]
    parser.add_argument("--clips", nargs="+", default=names, help=f"clips of the suite [{' '.join(names)}]")
    parser.add_argument("--place", type=int, default=40, help="frame that is measured, 0 to 44 [40]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for clip in SUITES["synthetic"].clips:
        if clip.name in options.clips:
            found[clip.name] = _measure(_case(clip, options.place))
            print(clip.name, found[clip.name], flush=True)
    kinds = next(iter(found.values()))
    return {
        kind: {
            name: round(statistics.mean(figures[kind][name] for figures in found.values()), 3) for name in kinds[kind]
        }
        for kind in kinds
    }


def _named(figures: dict[str, float]) -> dict[str, float]:
    """The figures that count here, by ``metric near`` and ``metric elsewhere``."""
    places = {"border": "near", "covered": "elsewhere"}
    return {
        f"{metric} {places[region]}": round(value, 3)
        for metric, region, value in ((*name.split("/"), value) for name, value in figures.items())
        if metric in ("psnr", "flip", "sharpness")
    }


@dataclass(frozen=True, eq=False)
class _Finer:
    """A clip's frames (``scene.FrameSource``), one of them cast finely."""

    source: FrameSource
    place: int
    frame: Image

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> Frames:
        frames = self.source.read(indices).copy()
        frames[np.asarray(indices) == self.place] = self.frame
        return frames


def _case(clip: SuiteClip, place: int) -> Case:
    """Cast a clip's frame and its new view again, finely; that frame comes first in the scene."""
    truth = load_truth(clip, cache() / "suites")
    camera = truth.cameras[[place]]
    scene = truth.scene()
    fine = replace(scene, frames=_Finer(scene.frames, place, _cast(clip, place, clip.source_world_to_camera[place])))
    order = [place, *range(len(scene))]
    return Case(
        fine.select(order),
        camera,
        _cast(clip, place, camera.world_to_camera[0]),
        np.asarray(truth.depth[place], np.float32),
    )


def _cast(clip: SuiteClip, place: int, pose: WorldToCamera) -> Image:
    """``h w 3``: a view at :data:`FINER` times the size, averaged with the density of a tent two pixels wide."""
    middle = (FINER - 1) / 2
    larger = np.array([[FINER, 0, middle], [0, FINER, middle], [0, 0, 1]])
    height, width = clip.size
    view = clip.room.view(clip.time(place), pose, larger @ clip.intrinsics, (FINER * height, FINER * width))
    tent = 1 - np.abs(np.arange(1 - FINER, FINER)) / FINER
    mean = cv2.sepFilter2D(view.astype(np.float32), -1, tent / tent.sum(), tent / tent.sum())
    return np.clip(mean[FINER // 2 :: FINER, FINER // 2 :: FINER] + 0.5, 0, 255).astype(np.uint8)


def _measure(case: Case) -> dict[str, dict[str, float]]:
    """The figures by what and side, ``render before`` and so on."""
    renderer = WarpRenderer(threads=1)
    renders, results = {}, {}
    for side in SIDES:
        render, edges, _, _ = render_separated_scene(renderer, case.scene, 0, case.camera, 1, separated=side == "after")
        composite(render.frames[0], edges[0])
        renders[side] = render
        results[side] = _preview(case, separated=side == "after")
    near = _near_silhouettes(case.true_depth)
    both = (renders["before"].masks[0] > 0) & (renders["after"].masks[0] > 0) & _shown(case)
    figures = {}
    for side in SIDES:
        for what, image, measured in (("render", renders[side].frames[0], both), ("result", results[side], True)):
            fidelity = Fidelity()
            # "border" is near silhouettes, "covered" the rest: the names of regions of the evaluation.
            # FLIP looks at what is around a pixel: what is not measured must not count there.
            shown = np.where(np.broadcast_to(measured, near.shape)[..., None], image, case.true)
            fidelity.add(shown, case.true, {"border": measured & near, "covered": measured & ~near})
            figures[f"{what} {side}"] = _named(fidelity.figures())
    return figures


def _preview(case: Case, *, separated: bool) -> Image:
    """The preview's frame."""
    generator = preview.PreviewGenerator(case.scene.size, WarpRenderer(threads=1), threads=1)
    render = preview.render_separated_scene
    # The product has no preview that leaves mixed pixels whole.
    preview.render_separated_scene = lambda *args, **options: render(*args, **options | {"separated": separated})
    try:
        return generator.start(case.scene, seed=0).step(case.camera).frames[0].numpy()
    finally:
        preview.render_separated_scene = render


def _near_silhouettes(depth: NDArray[np.float32]) -> Mask:
    """``h w``: within NEAR pixels of a rise of the depth."""
    window = np.ones((3, 3), np.uint8)
    jump = cv2.dilate(depth, window) > cv2.erode(depth, window) * (1 + EDGE_JUMP)
    return cv2.dilate(jump.astype(np.uint8), np.ones((2 * NEAR + 1,) * 2, np.uint8)) > 0


def _shown(case: Case) -> Mask:
    """``h w``: the source frame shows the true surface of the pixel, within a pixel of where it should."""
    source, depth = case.scene.cameras([0]), case.scene.read_depth([0])[0]
    x, y, z = project(case.true_depth, case.camera, source)
    found = np.zeros(z.shape, bool)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            there = cv2.remap(depth, x + across, y + down, cv2.INTER_NEAREST, borderValue=0)
            found |= (there > 0) & (np.abs(there - z) < SAME_DEPTH * z)
    return found


BENCH = Bench(add_arguments, run)
