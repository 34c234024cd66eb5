"""How near renders and previews of the example come to what a camera would truly see there.

    python scripts/evaluate_example.py                                     all made anew, no video codec in between
    python scripts/evaluate_example.py --traj traj/zoom_out_in.txt --sheet sheet.png
    python scripts/evaluate_example.py --run output/examples/orbit_left --traj traj/orbit_left.txt
    python scripts/evaluate_example.py --geometry all                      its geometry instead (evaluate_geometry.py)

Prints one row of a markdown table for each trajectory: PSNR (dB) and SSIM on the pixels that the render covers and in
the holes, flicker at the borders of the holes (mean absolute change from frame to frame along the true surfaces, in
excess of the truth's own, in 1/255, within BORDER pixels of a hole's border), and the largest errors of the source
and target cameras. True views are ray-cast for every --stride'th frame and its successor, and kept in --truth.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import evaluate_geometry
import numpy as np
from make_example import CLIP
from skimage.metrics import structural_similarity
from tqdm import tqdm

from inspatio.cameras.controls import Controls, clip_order
from inspatio.cameras.poses import invert
from inspatio.cameras.trajectory import load_trajectory
from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.generation.base import Generator, RenderSource
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.geometry.imported import FilesGeometry, GeometryDepth, load_geometry
from inspatio.media import VideoReader, probe
from inspatio.media.fit import Fit
from inspatio.render import WarpRenderer
from inspatio.render.files import RenderFiles
from inspatio.render.live import LiveRenders
from inspatio.scene import FOREGROUND_PERCENTILE, Scene, target_cameras
from inspatio.types import Frames, Image, Masks, WorldToCamera

BORDER = 3
THUMBNAIL = (30, 52)
TRAJECTORIES = ("x_y_circle_cycle", "zoom_out_in", "orbit_left", "truck")
HEADER = (
    "| trajectory | holes % | covered, render | covered, result | holes, result | whole, result | border flicker "
    "| source poses | target poses |\n|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Moment:
    """One frame of a target view: what was made and what is true, ``h w 3`` uint8; mask ``h w`` bool."""

    place: int
    render: Image
    mask: np.ndarray
    result: Image
    true: Image
    depth: np.ndarray
    """``h w`` true z-depth."""
    pose: np.ndarray
    """``4 4`` world_to_camera."""


@dataclass
class Tally:
    """Means over pixels, collected frame by frame: squared error and structural similarity."""

    squared: float = 0.0
    similarity: float = 0.0
    count: int = 0

    def add(self, image: Image, true: Image, where: np.ndarray, similarity: np.ndarray) -> None:
        difference = image[where].astype(np.float64) - true[where]
        self.squared += float((difference**2).sum()) / 3
        self.similarity += float(similarity[where].sum())
        self.count += int(where.sum())

    def __str__(self) -> str:
        if not self.count:
            return "-"
        psnr = 10 * np.log10(255.0**2 / max(self.squared / self.count, 1e-12))
        return f"{psnr:.1f} / {self.similarity / self.count:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traj", type=Path, nargs="*", help="trajectory files [four of traj/]")
    parser.add_argument("--run", type=Path, help="a finished run folder of the example with this one --traj's result")
    parser.add_argument("--folder", type=Path, default=Path("examples"), help="where the example is [examples]")
    parser.add_argument("--stride", type=int, default=10, help="measure every so manieth frame [10]")
    parser.add_argument("--truth", type=Path, default=Path("output/true_views"), help="keeps ray-cast views")
    parser.add_argument("--sheet", type=Path, help="PNG: truth, render, result and error side by side")
    evaluate_geometry.add_options(parser)
    arguments = parser.parse_args()
    if arguments.geometry:
        return evaluate_geometry.print_geometry(
            arguments.geometry, arguments.profile, arguments.folder, arguments.stride
        )
    if arguments.run and not (arguments.traj and len(arguments.traj) == 1):
        parser.error("--run needs the one --traj that it was made with")
    trajectories = arguments.traj or [Path("traj") / f"{name}.txt" for name in TRAJECTORIES]
    print(HEADER)
    with open_example(arguments.folder) as scene:
        for path in trajectories:
            trajectory = load_trajectory(path)
            adapted = scene.select(clip_order(len(scene), trajectory, Controls()))
            cameras = target_cameras(adapted, trajectory, Controls())
            wanted = range(0, len(adapted) - 1, arguments.stride)
            if arguments.run:
                moments, cameras = from_run(arguments.run, wanted)
            else:
                moments = from_scene(adapted, cameras, wanted)
            views = TrueViews(adapted, cameras, arguments.truth)
            print(evaluate(path.stem, pair_up(moments, views), adapted, cameras, arguments.sheet), flush=True)
    return 0


@contextmanager
def open_example(folder: Path) -> Iterator[Scene]:
    """The example clip as a scene, its geometry imported as the pipeline does it."""
    video = probe(folder / f"{CLIP}.mp4")
    with tempfile.TemporaryDirectory() as work, VideoReader(video, truth.SIZE) as frames:
        FilesGeometry().estimate(video, Path(work), lambda done, total: None)
        geometry = load_geometry(Path(work))
        yield Scene(
            clip_id=CLIP,
            frames=frames,
            depth=GeometryDepth(geometry, Fit.make(video.size, truth.SIZE)),
            intrinsics=geometry.intrinsics,
            world_to_camera=geometry.world_to_camera,
            size=truth.SIZE,
            frame_rate=video.frame_rate,
            scale=geometry.scale,
        )


class TrueViews:
    """True views of an adapted clip from its target cameras, ray-cast once and kept in a folder."""

    def __init__(self, adapted: Scene, cameras: WorldToCamera, folder: Path) -> None:
        self._order = adapted.order or tuple(range(len(adapted)))
        self.cameras = cameras
        self._folder = folder

    def __getitem__(self, place: int) -> Image:
        frame, pose = self._order[place], self.cameras[place]
        # A small view tells whether the scene is still the one that the kept picture shows.
        thumbnail = truth.true_view(frame, pose, np.diag([1 / 16, 1 / 16, 1]) @ truth.intrinsics(), THUMBNAIL)
        key = hashlib.sha256(thumbnail.tobytes() + np.round(pose, 9).tobytes() + bytes([frame])).hexdigest()[:20]
        path = self._folder / f"{key}.png"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), truth.true_view(frame, pose)[..., ::-1])
        image = cv2.imread(str(path))
        assert image is not None, f"{path} cannot be read"
        return np.ascontiguousarray(image[..., ::-1], np.uint8)

    def depth(self, place: int) -> np.ndarray:
        """``h w`` z-depth of the true view."""
        return truth.true_depth(self._order[place], self.cameras[place])


def from_scene(
    adapted: Scene,
    cameras: WorldToCamera,
    wanted: range,
    generator: Generator | None = None,
    renders: RenderSource | None = None,
) -> Iterator[tuple[int, Image, np.ndarray, Image]]:
    """(place, render, mask, result) of the wanted places and their successors, made here and now."""
    renders = renders or LiveRenders(adapted, WarpRenderer())
    session = (generator or PreviewGenerator()).start(adapted, seed=0, renders=renders)
    done = 0
    while needed := session.frames_needed:
        poses = cameras[done : done + needed]
        block = session.step(poses)
        results: Frames = block.frames.numpy()
        frames, masks = renders.read(done, poses)
        yield from _wanted(done, frames, masks, results, wanted)
        done += needed


def from_run(folder: Path, wanted: range) -> tuple[Iterator[tuple[int, Image, np.ndarray, Image]], WorldToCamera]:
    """The same from the files of a finished run, and its target cameras."""
    cameras = RenderFiles(folder / "render" / CLIP).cameras.world_to_camera

    def moments() -> Iterator[tuple[int, Image, np.ndarray, Image]]:
        with RenderFiles(folder / "render" / CLIP) as files, VideoReader(folder / f"{CLIP}.mp4") as results:
            for place in wanted:
                poses = cameras[place : place + 2]
                yield from _wanted(place, *files.read(place, poses), results.read([place, place + 1]), wanted)

    return moments(), cameras


def _wanted(start: int, frames: Frames, masks: Masks, results: Frames, wanted: range):
    for i, (frame, mask, result) in enumerate(zip(frames, masks, results, strict=True)):
        if start + i in wanted or start + i - 1 in wanted:
            yield start + i, frame, mask > 0, result


def pair_up(moments: Iterable[tuple[int, Image, np.ndarray, Image]], views: TrueViews) -> Iterator[Moment]:
    for place, render, mask, result in tqdm(moments, unit="frame"):
        yield Moment(place, render, mask, result, views[place], views.depth(place), views.cameras[place])


def evaluate(name: str, moments: Iterable[Moment], adapted: Scene, cameras: WorldToCamera, sheet: Path | None) -> str:
    """One row of the table; writes the sheet."""
    covered_render, covered, holes, whole = Tally(), Tally(), Tally(), Tally()
    flicker, previous, rows = [], None, []
    for moment in moments:
        everywhere = np.ones_like(moment.mask)
        similar = _similarity(moment.result, moment.true)
        covered_render.add(moment.render, moment.true, moment.mask, _similarity(moment.render, moment.true))
        covered.add(moment.result, moment.true, moment.mask, similar)
        holes.add(moment.result, moment.true, ~moment.mask, similar)
        whole.add(moment.result, moment.true, everywhere, similar)
        if previous is not None and previous.place == moment.place - 1:
            flicker.append(_flicker(previous, moment))
        else:
            rows.append(_row(moment))
        previous = moment
    if sheet:
        picked = rows[:: max(len(rows) // 6, 1)]
        target = sheet.with_name(f"{sheet.stem}_{name}{sheet.suffix}")
        cv2.imwrite(str(target), np.concatenate(picked)[..., ::-1])
    share = 100 * holes.count / max(whole.count, 1)
    source = _pose_error(adapted.world_to_camera, truth.source_world_to_camera()[list(adapted.order or ())])
    target = _pose_error(cameras, _true_targets(name, adapted, cameras))
    return (
        f"| {name} | {share:.1f} | {covered_render} | {covered} | {holes} | {whole} | {np.mean(flicker):.2f} "
        f"| {source} | {target} |"
    )


def _true_targets(name: str, adapted: Scene, cameras: WorldToCamera) -> WorldToCamera:
    """Where the target cameras should be: the trajectory laid over the true geometry."""
    path = Path("traj") / f"{name}.txt"
    if not path.exists():
        return cameras
    depth = truth.true_depth(0, np.eye(4))
    foreground = float(np.percentile(depth, FOREGROUND_PERCENTILE))
    return invert(load_trajectory(path).camera_to_world(len(adapted), foreground))


def _similarity(image: Image, true: Image) -> np.ndarray:
    """``h w`` structural similarity around each pixel (Wang et al. 2004: Gaussian window, sigma 1.5)."""
    both = structural_similarity(
        image, true, channel_axis=-1, data_range=255, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    return np.asarray(both[1]).mean(axis=-1)


def _flicker(before: Moment, after: Moment) -> float:
    """How much more the result changes than the truth does at the borders of the holes, following the true surfaces."""
    kernel = np.ones((2 * BORDER + 1, 2 * BORDER + 1), np.uint8)
    holes = (~after.mask).astype(np.uint8)
    near = cv2.dilate(holes, kernel) != cv2.erode(holes, kernel, borderValue=1)
    came_from, followed = _follow(after, before)
    near &= followed
    if not near.any():
        return 0.0
    change, true_change = (
        np.abs(new.astype(np.float32) - cv2.remap(old, *came_from, cv2.INTER_LINEAR)).mean(axis=-1)[near].mean()
        for new, old in ((after.result, before.result), (after.true, before.true))
    )
    return float(change - true_change)


def _follow(after: Moment, before: Moment) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Where each pixel's surface was a frame before (columns, rows), and for which it was in sight and kept still."""
    height, width = after.depth.shape
    camera = truth.intrinsics()
    pixels = np.indices((height, width))[::-1].reshape(2, -1)
    depth = after.depth.astype(np.float64).ravel()
    points = np.linalg.inv(camera) @ (np.concatenate([pixels, np.ones((1, pixels.shape[1]))]) * depth)
    between = before.pose @ invert(after.pose)
    points = camera @ (between[:3, :3] @ points + between[:3, 3:])
    u, v = (points[:2] / points[2]).astype(np.float32).reshape(2, height, width)
    there = cv2.remap(before.depth, u, v, cv2.INTER_NEAREST, borderValue=0)
    in_sight = np.abs(there.ravel() - points[2]) < 0.02 * depth
    return (u, v), in_sight.reshape(height, width)


def _pose_error(poses: WorldToCamera, true: WorldToCamera) -> str:
    """Largest angle and distance between cameras."""
    between = poses @ invert(true)
    cosine = np.clip((np.trace(between[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)
    return (
        f"{np.degrees(np.arccos(cosine)).max():.3f} deg, {1e3 * np.linalg.norm(between[:, :3, 3], axis=1).max():.1f} mm"
    )


def _row(moment: Moment) -> Image:
    error = np.abs(moment.result.astype(np.int32) - moment.true).max(axis=-1)
    heat = cv2.applyColorMap(np.clip(3 * error, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    panels = [moment.true, moment.render, moment.result, heat]
    return np.concatenate(
        [cv2.resize(panel, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for panel in panels], 1
    )


if __name__ == "__main__":
    sys.exit(main())
