"""``bench.py worldfm``: WorldFM's conditions against the truth and against the published order of operations.

The synthetic room's panorama is ray-cast with its exact distance. Quality: the render's depth error, coverage and PSNR
along a path of one metre, for the project's discs and for the published one-pixel points. Noise: the share of latent
cells that keep their noise from frame to frame, where the camera stands, with their surface, and with the screen.
Plan: how often the reference changes along a path, frame by frame and planned, and what it shares. Speed: render and
choice of the reference at ``--size``, from the panorama scaled up to ``--points_height`` rows as the published pipeline
does, and a plain implementation of the published render, which moves every point for every frame; some layers of the
network against the published order of operations (``worldfm_network.py``). CPU time, alternating, because machines are
shared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from benches.measure import Bench, cpu_seconds, size_argument
from benches.worldfm_frames import time_frames
from benches.worldfm_network import time_network

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import centred_intrinsics, invert
from inspatio.config import FrameNoise
from inspatio.evaluation.synthetic_room import panorama as truth
from inspatio.generation.worldfm.noise import NoiseSource
from inspatio.generation.worldfm.references import ReferenceViews, plan
from inspatio.generation.worldfm.still_scene import StillScene, panorama_scene
from inspatio.geometry import panorama
from inspatio.models.worldfm.autoencoder import AutoencoderConfig
from inspatio.models.worldfm.dit import WorldFMConfig
from inspatio.render.disc_cloud import DiscCloud
from inspatio.render.points import splat_points

PARTS = ("quality", "noise_kept", "plan", "speed", "network", "frames")
FOCAL = 320 / 512
"""Of the published demonstration, in units of the picture's side."""
QUALITY_SIZE = (256, 256)
PATH_FRAMES = 120
SWAY = 0.3
"""Metres to either side of the path on which references are planned."""
SHAKE = 0.03
"""Standard deviation of its direction from frame to frame in radians, as of a camera in the hand."""
NOISE_STEP = 0.3
"""Metres between two frames whose noise is compared: every surface of the room moves by a latent cell or more."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    image, distance = truth.true_panorama(options.height)
    unit = float(np.exp(np.log(distance).mean(dtype=np.float64)))
    lens = _lens(QUALITY_SIZE)
    still = panorama_scene(image, distance, QUALITY_SIZE)
    size = (options.points_height, 2 * options.points_height)

    def speed() -> dict[str, float]:
        large = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        far = np.asarray(cv2.resize(distance, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        return _speed(large, far, options.size, options.repeats)

    parts: dict[str, Callable[[], Any]] = {
        "quality": lambda: _quality(image, distance, still, unit, lens),
        "noise_kept": lambda: {kind: _noise_kept(still, unit, lens, kind) for kind in ("points", "fixed", "fresh")},
        "plan": lambda: _plan(still, unit, lens),
        "speed": speed,
        "network": lambda: time_network(options.size, options.layers, options.repeats),
        "frames": lambda: _frames(image, distance, unit, options),
    }
    return {"unit_metres": unit} | {part: parts[part]() for part in options.parts}


def _frames(image: np.ndarray, distance: np.ndarray, unit: float, options: argparse.Namespace) -> dict[str, Any] | str:
    """Whole frames on the device along the path into the room; on a CPU only with a network of a few layers."""
    device = torch.device(options.device)
    published = WorldFMConfig(depth=options.frame_layers)
    if device.type == "cuda" and not torch.cuda.is_available():
        return "not measured: no GPU"
    still = panorama_scene(image, distance, options.size)
    poses = [_forward(still, metres, unit)[1] for metres in np.linspace(0, 0.5, options.repeats + 2)]
    cameras = Cameras.from_poses(np.stack(poses), _lens(options.size))
    return time_frames(
        still.scene,
        cameras,
        device,
        network=published,
        autoencoder=AutoencoderConfig(),
        compiled=options.compiled,
        repeats=options.repeats,
    )


def _lens(size: tuple[int, int]) -> np.ndarray:
    focal = FOCAL * min(size)
    return centred_intrinsics(np.diag([focal, focal, 1.0]), size)


def _forward(still: StillScene, metres: float, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """A camera that walked towards the panorama's middle: its pose in the room (metres) and in the scene."""
    pose = np.array(invert(still.world_to_first))
    pose[0, 3] = metres
    in_units = np.array(pose, np.float64)
    in_units[:3, 3] /= unit
    return invert(pose), still.to_scene(in_units[None])[0]


def _psnr(got: np.ndarray, true: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((got.astype(float) - true) ** 2)))


def _quality(
    image: np.ndarray, distance: np.ndarray, still: StillScene, unit: float, lens: np.ndarray
) -> list[dict[str, float]]:
    points, colours = panorama.published_points(image, distance)
    assert still.scene.points is not None
    depth = np.concatenate([still.scene.depth.read([i]) for i in range(len(still.scene.depth))])
    references = ReferenceViews(Cameras(still.scene.intrinsics, still.scene.world_to_camera), depth)
    rows = []
    for metres in (0.0, 0.5, 1.0):
        in_room, in_scene = _forward(still, metres, unit)
        true, true_depth = truth.true_view(in_room, lens, QUALITY_SIZE), truth.true_depth(in_room, lens, QUALITY_SIZE)
        render = still.scene.points.render(Cameras.from_poses(in_scene[None], lens), QUALITY_SIZE)
        published, _, covered = splat_points(points, colours, in_room, lens, QUALITY_SIZE, near=1e-3)
        seen = render.masks[0] > 0
        assert render.depth is not None
        hits, samples = references.hits(render.depth[0], lens, in_scene)
        rows.append(
            {
                "metres": metres,
                "coverage": float(seen.mean()),
                "psnr": _psnr(render.frames[0], true),
                "psnr_covered": _psnr(render.frames[0][seen], true[seen]),
                "depth_error_median": float(np.median(np.abs(unit * render.depth[0] / true_depth - 1)[seen])),
                "published_coverage": float((covered > 0).mean()),
                "published_psnr": _psnr(published, true),
                "published_psnr_covered": _psnr(published[covered > 0], true[covered > 0]),
                "reference_hits": float(hits.max() / samples),
            }
        )
    return rows


def _noise_kept(still: StillScene, unit: float, lens: np.ndarray, kind: FrameNoise) -> dict[str, float]:
    """The share of cells with the noise of the frame before: of a camera that stands; with the surface that they show,
    and at the same place of the screen, of one that moves sideways."""
    assert still.scene.points is not None
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[2, 0, 3] = -NOISE_STEP / unit
    cameras = Cameras.from_poses(poses, lens)
    depth = still.scene.points.render(cameras, QUALITY_SIZE).depth
    assert depth is not None
    fields = NoiseSource(kind, 1, QUALITY_SIZE).draw(0, range(3), depth, cameras).numpy()
    rows, columns = np.mgrid[3 : QUALITY_SIZE[0] : 8, 3 : QUALITY_SIZE[1] : 8]
    z = depth[1][rows, columns]
    moved = np.rint((columns + lens[0, 0] * poses[2, 0, 3] / np.maximum(z, 1e-6) - 3) / 8).astype(int)
    inside = (z > 0) & (moved >= 0)
    before, after = fields[1][:, inside], fields[2][:, rows[inside] // 8, moved[inside]]
    return {
        "standing": float((fields[0] == fields[1]).all(axis=0).mean()),
        "with_surface": float((before == after).all(axis=0).mean()),
        "on_screen": float((before == fields[2][:, inside]).all(axis=0).mean()),
    }


def _plan(still: StillScene, unit: float, lens: np.ndarray) -> dict[str, float]:
    """How often the reference changes along a path that turns by 90 degrees, sways and shakes, and what it
    shares."""
    turn = np.linspace(0, np.pi / 2, PATH_FRAMES) + SHAKE * np.random.default_rng(0).standard_normal(PATH_FRAMES)
    poses = np.tile(np.eye(4), (PATH_FRAMES, 1, 1))
    poses[:, 0, 0] = poses[:, 2, 2] = np.cos(turn)
    poses[:, 0, 2], poses[:, 2, 0] = np.sin(turn), -np.sin(turn)
    poses[:, 0, 3] = SWAY / unit * np.sin(8 * turn)
    cameras = Cameras.from_poses(invert(poses), lens)
    assert still.scene.points is not None
    depth = still.scene.points.render(cameras, QUALITY_SIZE).depth
    assert depth is not None
    views = np.concatenate([still.scene.depth.read([i]) for i in range(len(still.scene.depth))])
    references = ReferenceViews(Cameras(still.scene.intrinsics, still.scene.world_to_camera), views)
    found = [references.hits(depth[i], lens, cameras.world_to_camera[i]) for i in range(PATH_FRAMES)]
    shares = np.stack([hits / max(samples, 1) for hits, samples in found])
    chosen = {"alone": shares.argmax(axis=1), "planned": plan(shares)}
    return {
        f"{how}_{what}": value
        for how, views in chosen.items()
        for what, value in (
            ("changes", float((np.diff(views) != 0).sum())),
            ("share", float(shares[np.arange(PATH_FRAMES), views].mean())),
        )
    } | {"frames": PATH_FRAMES}


def _speed(image: np.ndarray, distance: np.ndarray, size: tuple[int, int], repeats: int) -> dict[str, float]:
    lens = _lens(size)
    still = panorama_scene(image, distance, size)
    cloud = still.scene.points
    assert isinstance(cloud, DiscCloud)
    depth = np.concatenate([still.scene.depth.read([i])[:, ::4, ::4] for i in range(len(still.scene.depth))])
    quarter = np.diag([0.25, 0.25, 1.0])
    references = ReferenceViews(Cameras(quarter @ still.scene.intrinsics, still.scene.world_to_camera), depth)
    pose = np.eye(4)
    pose[2, 3] = -0.2

    def ours() -> None:
        render = cloud.render(Cameras.from_poses(pose[None], lens), size)
        assert render.depth is not None
        references.hits(render.depth[0], lens, pose)

    points, colours = (torch.from_numpy(each) for each in panorama.published_points(image, distance))
    world = torch.from_numpy(pose @ still.world_to_first).float()

    def published() -> None:
        _published_render(points, colours, world, torch.from_numpy(lens).float(), size)

    found = cpu_seconds({"ours": ours, "published": published}, repeats)
    return {
        "points": float(len(cloud)),
        "published_points": float(len(points)),
        "cpu_ms": 1e3 * found["ours"],
        "published_cpu_ms": 1e3 * found["published"],
        "cpu_ratio": found["published"] / found["ours"],
        "frames_per_cpu_second": 1 / found["ours"],
    }


def _published_render(
    points: torch.Tensor, colours: torch.Tensor, pose: torch.Tensor, lens: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Every point moved, projected and put into a z-buffer of single pixels, in float32."""
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    z = moved[:, 2]
    columns = torch.round(lens[0, 0] * moved[:, 0] / z + lens[0, 2])
    rows = torch.round(lens[1, 1] * moved[:, 1] / z + lens[1, 2])
    inside = (z > 1e-3) & (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    pixels, z = (rows[inside] * size[1] + columns[inside]).long(), z[inside]
    nearest = torch.full((size[0] * size[1],), torch.inf).scatter_reduce(0, pixels, z, "amin")
    shown = z <= nearest[pixels] + 1e-4
    image = torch.zeros(size[0] * size[1], 3, dtype=torch.uint8)
    image[pixels[shown]] = colours[inside][shown]
    return image.view(*size, 3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="of the bench [all]")
    parser.add_argument("--height", type=int, default=384, help="rows of the panorama that is ray-cast [384]")
    parser.add_argument("--points_height", type=int, default=2048, help="rows of the one that is timed [2048]")
    parser.add_argument("--size", type=size_argument, default=(512, 512), help="of the timed pictures [512x512]")
    parser.add_argument("--layers", type=int, default=4, help="of the network, at its published width [4]")
    parser.add_argument("--repeats", type=int, default=3, help="timed frames of each [3]")
    parser.add_argument("--device", default="cuda", help="where whole frames are timed: cuda, cuda:1, cpu [cuda]")
    parser.add_argument("--frame_layers", type=int, default=28, help="layers of the network that makes them [28]")
    parser.add_argument("--compiled", action="store_true", help="compile its layers")


BENCH = Bench(add_arguments, run)
