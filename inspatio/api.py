"""Open a scene and load a generator from a few names: the part of the public API that assembles other modules.

    scene = inspatio.open_scene("examples/living_room.mp4")
    generator = inspatio.load_generator("preview")
    for block in inspatio.generate(generator, scene, inspatio.load_trajectory("orbit_left")):
        print(block.start, block.frames.shape)

``inspatio/__init__.py`` re-exports what is meant for others. The batch runner does not use this module: it keeps
geometry and prompts in its work folder, where these functions use temporary ones.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from inspatio import factory
from inspatio.cameras.trajectory import Trajectory
from inspatio.captioning.captions import read_sidecar
from inspatio.config import GeometryConfig, find_profile, load_profile
from inspatio.errors import ClipError
from inspatio.generation.base import Generator
from inspatio.geometry.panorama import load_distance, load_panorama
from inspatio.geometry.scene import read_scene
from inspatio.geometry.store import DEPTH_FILE
from inspatio.media import probe_source
from inspatio.media.fit import working_frame
from inspatio.media.listing import DEPTH_ENDINGS, FoundSource, identify, panorama_depth
from inspatio.scene import Scene
from inspatio.types import FitMode, Progress


def open_scene(
    source: str | Path,
    geometry: str | Path | None = None,
    *,
    size: tuple[int, int] = (480, 832),
    fit: FitMode = "crop",
    turn: bool = True,
    prompt: str | None = None,
    estimate_by: GeometryConfig | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Scene:
    """Open a clip as a scene: its frames, depth and cameras, streamed from files.

    Args:
        source: a video, an image, a folder of views of one place, a scene folder of InSpatio-World 1.5; or, for
            WorldFM, a panorama with its depth beside it or a point cloud's folder, which have their geometry.
        geometry: a folder with its geometry in any known format. None takes the one beside the clip
            (``<clip>.geometry/``) or, where there is none, finds it from the camera's motion; a camera that stands
            still gets a plane prior, whose scale means nothing.
        size: (height, width) of the working frame in pixels; the generator's must be the same.
        fit: how the source's frame becomes the working one.
        turn: turn a wide working frame for a portrait source (:func:`media.fit.working_frame`).
        prompt: what generators that read one are told. None takes ``<clip>.txt`` beside the clip, or nothing.
        estimate_by: a profile's geometry settings, for a clip without a geometry folder. None: as described there.
        device: a torch device for geometry by a network.
        progress: is told how far the estimate of geometry is.

    Raises:
        ClipError: the source or the geometry cannot be read, or they do not belong together.
        UsageError: the source is a folder of something else.
    """
    path = Path(source)
    if prompt is None:
        caption = read_sidecar(path)
        prompt = caption.text if caption else ""
    found = identify(path) if path.exists() else None
    if found is not None and found.kind in ("panorama", "cloud"):
        return replace(_open_place(found, size), prompt=prompt)
    info, clip_id = probe_source(path), path.name if path.is_dir() else path.stem
    if turn:
        size = working_frame(size, info.size, fit)
    if geometry is not None and (Path(geometry) / DEPTH_FILE).exists():
        return read_scene(info, Path(geometry), size, fit, clip_id=clip_id, prompt=prompt)
    config = estimate_by or GeometryConfig(backend="auto")
    backend = factory.make_geometry(config, device, None if geometry is None else str(geometry))
    converted = TemporaryDirectory(prefix="inspatio-geometry-")
    backend.estimate(info, Path(converted.name), progress or (lambda done, total: None))
    scene = read_scene(info, Path(converted.name), size, fit, clip_id=clip_id, prompt=prompt)
    # The folder goes when nothing reads its depth any more: not this scene, and none that was made from it.
    weakref.finalize(scene.depth, converted.cleanup)
    return scene


def _open_place(found: FoundSource, size: tuple[int, int]) -> Scene:
    """A panorama with the depth beside it, or a point cloud, as a still scene."""
    # Only here: their renderer is heavy to import, and no other source uses it.
    from inspatio.generation.worldfm.still_scene import panorama_scene, point_cloud_scene

    if found.kind == "cloud":
        return point_cloud_scene(found.path, size).scene
    depth = panorama_depth(found.path)
    if depth is None:
        raise ClipError(
            f"{found.path}: no depth beside it, expected {found.path.stem}{DEPTH_ENDINGS[0]} (.npz, .exr, .png). "
            "Estimate it with another program, or use inspatio run with Depth Anything 3"
        )
    image = load_panorama(found.path)
    distance = load_distance(depth, (image.shape[0], image.shape[1]))
    return panorama_scene(image, distance, size, clip_id=found.path.stem).scene


def load_generator(profile: str | Path = "preview", *, device: str | None = None) -> Generator:
    """Load the generator of a profile.

    Args:
        profile: the name of a profile (``preview``, ``inference_1.3b``), or the path of its YAML file.
        device: a torch device. None takes the first GPU, or the CPU where there is none.

    Raises:
        UsageError: there is no such profile.
        MissingWeightsError: its weights are not there; the message says how to get them.
    """
    import torch

    from inspatio.models.checkpoints import require

    is_file = isinstance(profile, Path) or profile.endswith((".yaml", ".yml"))
    loaded = load_profile(Path(profile) if is_file else find_profile(str(profile)))
    require(loaded, {"generate"})
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    prompts = TemporaryDirectory(prefix="inspatio-prompts-")
    generator = factory.make_generator(
        loaded.generator,
        loaded.size,
        device,
        Path(prompts.name),
        renderer=factory.make_renderer(loaded.render, device),
    )
    weakref.finalize(generator, prompts.cleanup)
    return generator


def load_trajectory(path: str | Path) -> Trajectory:
    """Load a trajectory: a file of any format, a shipped one by its name (``orbit_left``), or an expression.

    Raises:
        UsageError: there is no such file, or it is not a trajectory.
    """
    return factory.make_trajectory(str(path)).trajectory
