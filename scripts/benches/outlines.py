"""``bench.py outlines``: what taking mixed pixels apart brings near the silhouettes of things, against the truth.

Rooms of the held-out suite, each filmed once and seen from the new camera of its path. Source
and truth are ray-cast at three times the size and averaged down as a lens and a sensor do, with true depth, so that
what is measured is the handling of edges and not the few rays to a pixel of the suite's own files, nor a codec's noise.

Near: within :data:`NEAR` pixels of a true silhouette of the new view. ``render``: pixels that both renders cover and of
which the source frame shows all: each of the rays that the true pixel is the mean of meets a surface where the source
sees it, tested at the rays' own resolution. A pixel in which something mixes that no source pixel shows says nothing of
how edges are handled. ``result``: all pixels of the preview's frame, holes included.
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
from inspatio.types import Frames, Image, Intrinsics, WorldToCamera

NEAR = 6
FINER = 3
SAME_DEPTH = 0.005
"""A ray of the new view is shown where a ray of the source beside it ends within this share of its depth."""
SIDES = ("before", "after")
"""The published splat, and with mixed pixels taken apart."""


@dataclass(frozen=True, eq=False)
class Case:
    """One frame of a scene, the new camera, and what it truly sees (``h w 3``, ``h w``)."""

    scene: Scene
    camera: Cameras
    true: Image
    true_depth: NDArray[np.float32]
    shown: Mask
    """``h w``: the source shows all of the pixel."""


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
        _shown(clip, place, camera),
    )


def _cast(clip: SuiteClip, place: int, pose: WorldToCamera) -> Image:
    """``h w 3``: a view at :data:`FINER` times the size, averaged with the density of a tent two pixels wide."""
    view = clip.room.view(clip.time(place), pose, *_finer(clip))
    tent = 1 - np.abs(np.arange(1 - FINER, FINER)) / FINER
    mean = cv2.sepFilter2D(view.astype(np.float32), -1, tent / tent.sum(), tent / tent.sum())
    return np.clip(mean[FINER // 2 :: FINER, FINER // 2 :: FINER] + 0.5, 0, 255).astype(np.uint8)


def _finer(clip: SuiteClip) -> tuple[Intrinsics, tuple[int, int]]:
    """The lens of a clip for pictures :data:`FINER` times as large, and their (height, width)."""
    middle = (FINER - 1) / 2
    larger = np.array([[FINER, 0, middle], [0, FINER, middle], [0, 0, 1]])
    return larger @ clip.intrinsics, (FINER * clip.size[0], FINER * clip.size[1])


def _measure(case: Case) -> dict[str, dict[str, float]]:
    """The figures by what and side, ``render before`` and so on."""
    renderer = WarpRenderer(threads=1)
    renders, results = {}, {}
    for side in SIDES:
        render, edges, _, _ = render_separated_scene(
            case.scene, 0, case.camera, 1, whole=renderer if side == "before" else None
        )
        composite(render.frames[0], edges[0])
        renders[side] = render
        results[side] = _preview(case, renderer if side == "before" else None)
    near = _near_silhouettes(case.true_depth)
    both = (renders["before"].masks[0] > 0) & (renders["after"].masks[0] > 0) & case.shown
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


def _preview(case: Case, whole: WarpRenderer | None) -> Image:
    """The preview's frame, of a render that ``whole`` draws if there is one."""
    generator = preview.PreviewGenerator(case.scene.size, WarpRenderer(threads=1), threads=1)
    render = preview.render_separated_scene
    # The product has no preview that leaves mixed pixels whole.
    preview.render_separated_scene = lambda *args, **options: render(*args, **options | {"whole": whole})
    try:
        return generator.start(case.scene, seed=0).step(case.camera).frames[0].numpy()
    finally:
        preview.render_separated_scene = render


def _near_silhouettes(depth: NDArray[np.float32]) -> Mask:
    """``h w``: within NEAR pixels of a rise of the depth."""
    window = np.ones((3, 3), np.uint8)
    jump = cv2.dilate(depth, window) > cv2.erode(depth, window) * (1 + EDGE_JUMP)
    return cv2.dilate(jump.astype(np.uint8), np.ones((2 * NEAR + 1,) * 2, np.uint8)) > 0


def _shown(clip: SuiteClip, place: int, camera: Cameras) -> Mask:
    """``h w``: every ray of the new view's pixel meets a surface where the source sees it, or between two such rays."""
    lens, size = _finer(clip)
    poses = clip.source_world_to_camera[place], camera.world_to_camera[0]
    depth, seen = (clip.room.depth(clip.time(place), pose, lens, size) for pose in poses)
    source, target = (Cameras.from_poses(pose[None], lens) for pose in poses)
    x, y, z = project(seen, target, source)
    left, top = np.floor(x).astype(np.float32), np.floor(y).astype(np.float32)
    beside = [
        cv2.remap(depth, left + across, top + down, cv2.INTER_NEAREST, borderValue=0)
        for down in (0, 1)
        for across in (0, 1)
    ]
    lowest, highest = np.min(beside, axis=0), np.max(beside, axis=0)
    one_surface = (lowest > 0) & (highest < lowest * (1 + EDGE_JUMP))
    found = one_surface & (lowest <= z) & (z <= highest)
    for there in beside:
        found |= (there > 0) & (np.abs(there - z) < SAME_DEPTH * z)
    whole = cv2.erode(found.astype(np.uint8), np.ones((2 * FINER - 1,) * 2, np.uint8))
    return whole[FINER // 2 :: FINER, FINER // 2 :: FINER] > 0


BENCH = Bench(add_arguments, run)
