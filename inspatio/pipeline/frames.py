"""`inspatio frames`: pictures of a still scene from given poses, by the frame model; the public WorldFM's inputs.

A ``meta.json`` names the scene and the poses; beside it lie a panorama with the distance of every pixel, or a point
cloud with reference pictures. Every pose becomes a picture, all of them a video or image files.

    meta.json           {"name", "image", "K" 3x3, "c2w" one or several 4x4}; OpenCV axes
    panorama.png        or <name>.panorama.png, or ``image`` itself where it is twice as wide as high
    panorama.depth.npy  or .npz, .exr, .png; also the names that MoGe's and the public code's files have
    pointcloud.ply      with transforms_condition.json, in place of a panorama

The public code makes the panorama itself, with a model of 24 GB under a licence that is not commercial; this command
takes one that exists. Translations are in units of the panorama's geometric mean distance, as published.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from inspatio import factory
from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.cameras import Cameras
from inspatio.config import Profile
from inspatio.errors import ClipError, UsageError
from inspatio.generation.base import drive
from inspatio.generation.worldfm.still_scene import Photo, StillScene, panorama_scene, point_cloud_scene
from inspatio.geometry.depth_anything3 import DepthAnything3
from inspatio.geometry.formats.worldfm import parse_lens, parse_pose
from inspatio.geometry.panorama import load_distance, load_panorama
from inspatio.geometry.panorama_backend import estimate_distance
from inspatio.geometry.panorama_depth import VIEW_COUNT
from inspatio.media import VideoWriter
from inspatio.media.fit import Fit
from inspatio.media.listing import CLOUD_FILE, DEPTH_ENDINGS, panorama_depth
from inspatio.media.pictures import load_picture
from inspatio.models.checkpoints import require
from inspatio.pipeline.frame_options import FrameOptions
from inspatio.pipeline.log import progress_bar
from inspatio.storage import atomic_file
from inspatio.types import Image

LOW_COVERAGE = 0.2
"""A frame of which the scene shows less is mentioned: its camera may be inside a wall."""
DEPTH_NAMES = ("depth.exr", "moge_depth_raw.npy", "postprocess_arrays.npz")
"""What MoGe's own program and the caches of the public code call a panorama's distance."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Meta:
    """A ``meta.json``: the scene's name, its picture, intrinsics ``3 3`` and ``camera_to_world`` ``n 4 4``."""

    folder: Path
    name: str
    image: Path
    lens: np.ndarray
    camera_to_world: np.ndarray


def read_meta(path: Path) -> Meta:
    """Read a ``meta.json``.

    Raises:
        UsageError: it cannot be read, or a field is missing or has another form.
    """
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--meta {path}: cannot be read ({error.strerror or error}), expected a meta.json") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--meta {path}: not valid JSON ({str(error).splitlines()[0]})") from error
    wanted = ("name", "image", "K", "c2w")
    missing = [key for key in wanted if not isinstance(values, dict) or key not in values]
    if missing:
        raise UsageError(f"--meta {path}: lacks {', '.join(missing)}, expected {', '.join(wanted)}")
    name, image = values["name"], values["image"]
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name or not isinstance(image, str):
        raise UsageError(
            f"--meta {path}: got name {name!r} and image {image!r}, expected the name of a folder and a file"
        )
    try:
        lens, poses = parse_lens(values["K"], "K"), parse_pose(values["c2w"], "c2w")
    except ClipError as error:
        raise UsageError(f"--meta {path}: {error}") from error
    return Meta(path.parent, name, path.parent / image, lens, poses)


def open_still_scene(meta: Meta, options: FrameOptions, profile: Profile) -> StillScene:
    """The scene that lies beside a ``meta.json`` or that the options name.

    A panorama without depth is estimated where the profile has Depth Anything 3; the estimate is kept in the output
    folder, for --panorama_depth.

    Raises:
        ClipError: there is neither a panorama with depth nor a point cloud, or one of them is damaged.
    """
    size = profile.size
    image = options.panorama or _first([meta.folder / "panorama.png", meta.folder / f"{meta.name}.panorama.png"])
    if image is None and (meta.folder / CLOUD_FILE).is_file():
        return point_cloud_scene(meta.folder, size, clip_id=meta.name)
    if image is None and meta.image.is_file():
        picture = cv2.imread(str(meta.image))
        image = meta.image if picture is not None and picture.shape[1] == 2 * picture.shape[0] else None
    if image is None:
        raise ClipError(
            f"{meta.name}: no panorama and no points: got neither panorama.png nor {CLOUD_FILE} beside the meta.json, "
            "expected one of them. Make a panorama with another program, or name one with --panorama"
        )
    panorama = load_panorama(image)
    stem = image.with_suffix("")
    depth = options.panorama_depth or panorama_depth(image) or _first([image.parent / name for name in DEPTH_NAMES])
    shape = (panorama.shape[0], panorama.shape[1])
    if depth is None and profile.geometry.backend == "da3":
        depth = options.output_dir / meta.name / f"panorama{DEPTH_ENDINGS[0]}"
        _log.info("%s: no depth beside it; estimating it by Depth Anything 3 into %s", image, depth)
        estimated = _estimate_distance(panorama, profile)
        with atomic_file(depth) as part, part.open("wb") as handle:
            np.save(handle, estimated)
    if depth is None:
        raise ClipError(
            f"{image}: no depth beside it, expected {stem.name}{DEPTH_ENDINGS[0]} (.npz, .exr, .png). Estimate it with "
            "another program, name it with --panorama_depth, or take a profile whose geometry is da3"
        )
    distance = load_distance(depth, shape)
    photo = None
    if options.photo_fov is not None:
        photo = Photo(load_picture(meta.image)[0], options.photo_fov)
    return panorama_scene(panorama, distance, size, clip_id=meta.name, photo=photo)


def _estimate_distance(image: Image, profile: Profile) -> np.ndarray:
    require(profile, {"geometry"})
    backend = factory.make_geometry(profile.geometry, _device())
    assert isinstance(backend, DepthAnything3), f"backend da3 is {type(backend).__name__}"
    with progress_bar(VIEW_COUNT, "depth") as progress:
        return estimate_distance(image, backend, progress)


def fitted_lens(lens: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Intrinsics for pictures of ``size``: the file does not say what size they are for, but their centre does."""
    own = (max(round(2 * lens[1, 2]), 1), max(round(2 * lens[0, 2]), 1))
    if own == size:
        return lens
    _log.warning(
        "K has its centre at (%g, %g): taken as of pictures of %dx%d and scaled to %dx%d",
        *(lens[0, 2], lens[1, 2], own[1], own[0], size[1], size[0]),
    )
    return Fit.make(own, size).intrinsics(lens)


def frames(options: FrameOptions, profile: Profile) -> int:
    """Run the command; the exit code is 0, for what fails raises.

    Raises:
        UsageError: the profile has another generator, or the meta.json is not one.
        UserError: the scene or the weights are missing or damaged, or memory or disk ran out.
    """
    if profile.generator.backend != "worldfm":
        raise UsageError(f"--profile {profile.name}: has the generator {profile.generator.backend}, expected worldfm")
    meta = read_meta(options.meta)
    require(profile, {"generate"})
    still = open_still_scene(meta, options, profile)
    cameras = Cameras.from_poses(still.to_scene(meta.camera_to_world), fitted_lens(meta.lens, profile.size))
    _log.info("%s: %d poses, lengths in units of %s", meta.name, len(cameras), still.unit)

    device = _device()
    renderer = factory.make_renderer(profile.render, device)
    generator = factory.make_generator(
        profile.generator, profile.size, device, Path(), renderer=renderer, frames=len(cameras)
    )
    session = generator.start(still.scene, seed=options.seed)
    folder = options.output_dir / meta.name
    folder.mkdir(parents=True, exist_ok=True)
    writer = _ImageFiles(folder, len(cameras)) if options.save_mode == "image" else None
    uncovered: list[int] = []
    with (
        writer or VideoWriter(folder / "output.mp4", profile.size, Fraction(options.fps), quality="view") as output,
        progress_bar(len(cameras), meta.name) as progress,
    ):
        for block in drive(session, cameras):
            output.write(block.frames.numpy())
            assert block.coverage is not None, "a still scene knows its coverage"
            shares = (block.coverage > 0).mean(axis=(1, 2))
            uncovered += [block.start + i for i, share in enumerate(shares) if share < LOW_COVERAGE]
            progress(block.start + len(block.frames), len(cameras))
    if uncovered:
        _log.warning(
            "%s: the scene shows less than %.0f %% of %d of %d frames (first: %d); is the camera inside a wall?",
            *(meta.name, 100 * LOW_COVERAGE, len(uncovered), len(cameras), uncovered[0]),
        )
    CameraFile(
        image_size=profile.size,
        intrinsics=np.array(cameras.intrinsics),
        world_to_camera=cameras.world_to_camera,
        scale="relative",
        backend="meta.json",
        settings={"unit": still.unit, "world": "the scene's first reference view"},
        frame_rate=Fraction(options.fps),
    ).save(folder / "output.cameras.json")
    return 0


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class _ImageFiles:
    """Writes frames as output.png, or output_0000.png and on where there are several."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count, self._written = folder, count, 0

    def __enter__(self) -> _ImageFiles:
        return self

    def write(self, frames: np.ndarray) -> None:
        for frame in frames:
            name = "output.png" if self._count == 1 else f"output_{self._written:04d}.png"
            with atomic_file(self._folder / name) as part:
                part.write_bytes(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())
            self._written += 1

    def __exit__(self, *exception: Any) -> None:
        """Nothing is open between frames."""


def _first(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
