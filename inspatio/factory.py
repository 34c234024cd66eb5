"""Turn the names of a profile into implementations; the only place that does.

``describe_*`` say what a result depends on (JSON values for fingerprints) without loading anything; ``make_*`` build
the thing. Heavy modules are imported when they are asked for, so that a preview never waits for a network library.
The names are the Literals of ``config.py``: the type checker (``assert_never``) and a test hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from inspatio.config import CaptionConfig, GeneratorConfig, GeometryConfig, RenderConfig
from inspatio.settings import result_settings

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from inspatio.cameras.named import NamedTrajectory
    from inspatio.captioning.captions import Captioner
    from inspatio.generation.base import Generator
    from inspatio.generation.inspatio_world.prompts import PromptCache
    from inspatio.geometry.backend import GeometryBackend
    from inspatio.media.listing import SourceKind
    from inspatio.render.renderer import Renderer
    from inspatio.types import Direction

TEXT_ENCODER_ROOM = 13 * 2**30
"""Bytes: the umT5-xxl encoder's 11.4 GB of weights in bfloat16 and some to work in."""


def describe_captioner(config: CaptionConfig) -> dict[str, Any]:
    """What a captioner's answers depend on besides the image."""
    from inspatio.captioning.florence import describe

    assert config.backend == "florence", f"backend {config.backend} has no captioner to describe"
    return describe(Path(config.model_path), config.max_new_tokens)


def make_captioner(config: CaptionConfig, device: str) -> Captioner:
    """Load the captioner of a profile; with backend ``sidecar`` there is none to ask for."""
    from inspatio.captioning.florence import Florence2Captioner

    assert config.backend == "florence", f"backend {config.backend} has no captioner to load"
    return Florence2Captioner.load(
        Path(config.model_path), device=device, batch_size=config.batch_size, max_new_tokens=config.max_new_tokens
    )


def make_trajectory(text: str, direction: Direction | None = None) -> NamedTrajectory:
    """The trajectory that a text names: a file, a shipped name, a pose string or an expression.

    Raises:
        UsageError: it names none.
    """
    from inspatio.cameras.formats import TrajectoryFile
    from inspatio.cameras.named import load_named

    def follow(path: Path, reach: float | None) -> TrajectoryFile:
        from inspatio.geometry import followed  # brings the estimator of geometry by motion

        return followed.follow(path, reach)

    return load_named(text, direction, follow)


def make_geometry(config: GeometryConfig, device: str, folder: str | None = None) -> GeometryBackend:
    """The geometry backend of a profile; ``folder`` is a geometry folder that a clip list names for the clip."""
    from inspatio.geometry.imported import AutoGeometry, FilesGeometry
    from inspatio.geometry.plane import PlaneGeometry
    from inspatio.geometry.small_depth import small_depth_folder

    if folder is not None:
        return FilesGeometry(Path(folder))
    match config.backend:
        case "auto":
            fallback = replace(config, backend=config.fallback)
            small = small_depth_folder()
            if config.fallback == "motion" and small is not None:
                return AutoGeometry(FilesGeometry(), lambda: _motion_or_network(fallback, small, device))
            return AutoGeometry(FilesGeometry(), lambda: make_geometry(fallback, device))
        case "files":
            return FilesGeometry()
        case "plane":
            return PlaneGeometry()
        case "motion":
            from inspatio.geometry.motion.backend import MotionGeometry

            return MotionGeometry(config.focal)
        case "da3":
            import torch

            from inspatio.geometry.depth_anything3 import DepthAnything3
            from inspatio.models.attention import attend_from_environment

            return DepthAnything3(
                config.model_path,
                config.metric_path,
                device=torch.device(device),
                window=config.window,
                pose_smoothing=config.pose_smoothing,
                longest=config.longest,
                compile=config.compile,
                attend=attend_from_environment(),
            )
        case _:
            assert_never(config.backend)


def make_place_geometry(kind: SourceKind, config: GeometryConfig, device: str) -> GeometryBackend:
    """The geometry backend of a place that is drawn from points; ``da3`` estimates panoramas that have no depth."""
    from inspatio.geometry.point_cloud import PointCloudGeometry

    if kind == "cloud":
        return PointCloudGeometry()
    from inspatio.geometry.depth_anything3 import DepthAnything3
    from inspatio.geometry.panorama_backend import PanoramaGeometry

    estimator = make_geometry(config, device) if config.backend == "da3" else None
    assert estimator is None or isinstance(estimator, DepthAnything3), f"da3 is {type(estimator).__name__}"
    return PanoramaGeometry(estimator)


def _motion_or_network(config: GeometryConfig, model: Path, device: str) -> GeometryBackend:
    """Geometry by motion, and by a small Depth Anything 3 for clips that show none."""
    from inspatio.geometry.motion.backend import MotionGeometry

    network = replace(config, backend="da3", model_path=str(model), metric_path=None)
    return MotionGeometry(config.focal, otherwise=make_geometry(network, device))


def make_renderer(config: RenderConfig, device: str) -> Renderer:
    """The renderer of a profile."""
    from inspatio.render import PointRenderer, WarpRenderer

    match config.backend:
        case "warper":
            return WarpRenderer(device=device)
        case "ply":
            return PointRenderer(device=device)
        case _:
            assert_never(config.backend)


def describe_generator(config: GeneratorConfig, size: tuple[int, int]) -> dict[str, Any]:
    """What a generator's results depend on besides scene, render, prompt and seed."""
    match config.backend:
        case "preview":
            from inspatio.generation.preview.session import describe_preview

            description = describe_preview(size)
            if config.completion_path:
                from inspatio.generation.preview.learned import describe_completion

                description["completion"] = describe_completion(Path(config.completion_path))
            return description
        case "causal":
            from inspatio.generation.inspatio_world.loading import describe_causal

            description = describe_causal(config)
        case "worldfm":
            from inspatio.generation.worldfm.loading import describe_worldfm

            description = describe_worldfm(config) | {"size": list(size)}
        case _:
            assert_never(config.backend)
    if config.faithful:
        from inspatio.generation.faithful import VERSION

        description["faithful"] = VERSION
    return description


def describe_source_latents(config: GeneratorConfig, device: str) -> dict[str, Any] | None:
    """What the latents of a source depend on besides its frames; None for generators that have none of a clip."""
    if config.backend != "causal":
        return None
    import torch

    from inspatio.generation.inspatio_world.loading import describe_source_latents

    return describe_source_latents(config, torch.device(device))


def generator_settings(config: GeneratorConfig) -> dict[str, Any]:
    """The settings of a profile that a generator's results depend on by value, and which generator it is."""
    match config.backend:
        case "preview":
            return {"backend": config.backend}
        case "causal":
            return {name: value for name, value in result_settings(config).items() if name != "frame_noise"}
        case "worldfm":
            return result_settings(config)
        case _:
            assert_never(config.backend)


def prepare_prompts(config: GeneratorConfig, texts: Sequence[str], folder: Path, device: str) -> None:
    """Encode prompts into ``folder``, before the generator is in memory; nothing where it needs none."""
    if config.backend == "causal":
        _prompts(config, folder, device).prepare(texts)


def processes_per_clip(config: GeneratorConfig, processes: int, clips: int) -> int:
    """How many of the processes work on the same clip."""
    if config.backend == "preview" or processes == 1:
        return 1
    from inspatio.models.wan.parallel import processes_per_clip

    if config.backend == "worldfm":
        return processes_per_clip(processes, clips, processes)  # its frames can be shared by any number
    from inspatio.models.wan.checkpoint import read_config

    heads = read_config(Path(config.checkpoint_path), Path(config.wan_path)).num_heads
    return processes_per_clip(processes, clips, heads)


def clip_process_group(size: int) -> ProcessGroup | None:
    """The processes that share this one's clips, None where it works alone. Every process of the job calls it."""
    if size == 1:
        return None
    from inspatio.models.wan.parallel import clip_process_group

    return clip_process_group(size)


def make_generator(
    config: GeneratorConfig,
    size: tuple[int, int],
    device: str,
    prompt_folder: Path,
    group: ProcessGroup | None = None,
    *,
    renderer: Renderer,
    frames: int = 0,
    live: bool = False,
) -> Generator:
    """The generator of a profile for frames of ``size`` (height, width).

    ``renderer`` is the profile's and draws live; ``group`` shares each clip; ``frames`` is how many it will be asked
    for, as far as that is known; with ``live`` blocks are as short as the generator allows.
    """
    generator = _make_repainting(
        config, size, device, prompt_folder, group, renderer=renderer, frames=frames, live=live
    )
    if not config.faithful or config.backend == "preview":
        return generator
    from inspatio.generation.faithful import FaithfulGenerator

    return FaithfulGenerator(generator)


def _make_repainting(
    config: GeneratorConfig,
    size: tuple[int, int],
    device: str,
    prompt_folder: Path,
    group: ProcessGroup | None,
    *,
    renderer: Renderer,
    frames: int,
    live: bool,
) -> Generator:
    """The generator itself, which may repaint what the source shows."""
    match config.backend:
        case "preview":
            from inspatio.generation.preview.session import PreviewGenerator

            if not config.completion_path:
                return PreviewGenerator(size, renderer, live=live)
            from inspatio.generation.preview.learned import load_finish

            return PreviewGenerator(size, renderer, live=live, finish=load_finish(Path(config.completion_path)))
        case "causal":
            import torch

            from inspatio.generation.inspatio_world.loading import load_causal

            return load_causal(
                config,
                size,
                torch.device(device),
                prompts=_prompts(config, prompt_folder, device),
                renderer=renderer,
                group=group,
                frames=frames,
            )
        case "worldfm":
            import torch

            from inspatio.generation.worldfm.loading import load_worldfm

            return load_worldfm(config, size, torch.device(device), renderer=renderer, group=group, frames=frames)
        case _:
            assert_never(config.backend)


def _prompts(config: GeneratorConfig, folder: Path, device: str) -> PromptCache:
    import torch

    from inspatio.generation.inspatio_world.prompts import PromptCache
    from inspatio.models.memory import free_memory

    on = torch.device(device)
    if on.type == "cuda" and free_memory(on) < TEXT_ENCODER_ROOM:
        on = torch.device("cpu")  # where it runs from its file and takes no memory of its own
    return PromptCache(Path(config.wan_path), folder, device=on)
