"""ComfyUI nodes (V3 API) that re-film a clip along a new camera path.

    Load Generator ──► Load Scene ──┬──► Render     pictures of what the source shows, and a mask of what it does not
                                    ├──► Generate   pictures of the result
                       Trajectory ──┘

The nodes are thin: scenes, paths, renders and results are those of the library, frame for frame those of `inspatio run`
with the same profile, trajectory and seed before it encodes them. Pictures are ComfyUI's IMAGE, ``b h w 3`` float32
from 0 to 1. Nothing of inspatio is imported before a node runs, so that ComfyUI starts as fast as before and says what
is missing where it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import ComfyExtension, io

if TYPE_CHECKING:
    import numpy as np
    import torch

    from inspatio.cameras.trajectory import Trajectory
    from inspatio.clip_options import Controls
    from inspatio.config import Profile
    from inspatio.generation.base import Generator
    from inspatio.media.fit import Fit
    from inspatio.scene import Scene

CATEGORY = "inspatio"
DEFAULT_PROFILE = "preview"
RENDERED_AT_ONCE = 8
"""Frames that are rendered between two looks at whether the user has interrupted."""

GeneratorType = io.Custom("INSPATIO_GENERATOR")
SceneType = io.Custom("INSPATIO_SCENE")
TrajectoryType = io.Custom("INSPATIO_TRAJECTORY")


@dataclass(frozen=True, eq=False)
class ProfileGenerator:
    """A profile, its device, and its generator, which is loaded when the first node generates with it."""

    profile: Profile
    device: str

    @cached_property
    def generator(self) -> Generator:
        from inspatio import api

        return api.load_generator(self.profile.name, device=self.device)


@dataclass(frozen=True, eq=False)
class LoadedScene:
    """A scene, how its source was fitted to the working frame, and the generator that it was opened for."""

    scene: Scene
    fit: Fit
    generator: ProfileGenerator


@dataclass(frozen=True, eq=False)
class LoadedTrajectory:
    """A camera path and how it is laid over a clip."""

    trajectory: Trajectory
    controls: Controls


class LoadGenerator(io.ComfyNode):
    """Choose a profile: the generator with its working size, geometry and renderer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InspatioLoadGenerator",
            display_name="Load Generator (inspatio)",
            category=CATEGORY,
            description="A profile of inspatio. Its weights are loaded when the first frame is generated; the profile "
            "preview needs none.",
            inputs=[
                io.Combo.Input(
                    "profile",
                    options=profiles(),
                    default=DEFAULT_PROFILE,
                    tooltip="A file in inspatio's configs/, without .yaml",
                )
            ],
            outputs=[GeneratorType.Output(display_name="generator")],
        )

    @classmethod
    def execute(cls, profile: str) -> io.NodeOutput:
        require_inspatio()
        from inspatio.config import find_profile, load_profile
        from inspatio.models.checkpoints import require

        loaded = load_profile(find_profile(profile))
        require(loaded, {"generate"})
        return io.NodeOutput(ProfileGenerator(loaded, str(comfy.model_management.get_torch_device())))


class LoadScene(io.ComfyNode):
    """Open a video, a picture or a folder as a scene: frames, depth and cameras."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InspatioLoadScene",
            display_name="Load Scene (inspatio)",
            category=CATEGORY,
            description="A clip of ComfyUI's input folder with its geometry: that beside it (<clip>.geometry), else "
            "found as the profile says.",
            inputs=[
                GeneratorType.Input("generator", tooltip="Decides the working size and how geometry is found"),
                io.Combo.Input(
                    "file",
                    options=sources(),
                    upload=io.UploadType.video,
                    tooltip="A video, a picture, a folder of pictures of one place, or a 1.5 scene folder",
                ),
                io.Combo.Input(
                    "fit",
                    options=["crop", "pad", "stretch"],
                    default="crop",
                    tooltip="How a source of another shape becomes the working frame",
                ),
                io.String.Input(
                    "geometry",
                    optional=True,
                    default="",
                    tooltip="A folder with the clip's geometry: output/<input>/geometry/<clip> of an earlier run",
                ),
                io.String.Input(
                    "prompt",
                    optional=True,
                    multiline=True,
                    default="",
                    tooltip="For generators that read one. Empty: <clip>.txt beside the clip, or nothing",
                ),
            ],
            outputs=[SceneType.Output(display_name="scene")],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        return True if folder_paths.exists_annotated_filepath(file) else f"{file}: not in ComfyUI's input folder"

    @classmethod
    def fingerprint_inputs(cls, file: str, **others: Any) -> str:
        path = Path(folder_paths.get_annotated_filepath(file))
        beside = [path.with_suffix(".txt"), path.with_name(f"{path.stem}.geometry") / "cameras.json"]
        geometry = others.get("geometry")
        return stamps([path, *beside, *([Path(geometry) / "cameras.json"] if geometry else [])])

    @classmethod
    def execute(
        cls, generator: ProfileGenerator, file: str, fit: str, geometry: str = "", prompt: str = ""
    ) -> io.NodeOutput:
        from inspatio import api

        profile = generator.profile
        scene = api.open_scene(
            folder_paths.get_annotated_filepath(file),
            geometry.strip() or None,
            size=profile.size,
            fit=fit,
            prompt=prompt.strip() or None,
            estimate_by=profile.geometry,
            device=generator.device,
            progress=progress_bar(),
        )
        return io.NodeOutput(LoadedScene(scene, scene.frames.fit, generator))


class LoadTrajectory(io.ComfyNode):
    """Read a camera path: a name, an expression, a pose string or a file of any known format."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InspatioTrajectory",
            display_name="Trajectory (inspatio)",
            category=CATEGORY,
            description="Where the new camera goes, as --traj of inspatio takes it.",
            inputs=[
                io.String.Input(
                    "trajectory",
                    default="orbit_left",
                    tooltip="orbit_left, orbit(yaw=20)+zoom(1,2), steady(), forward:36,turn-left:24, or a file",
                ),
                io.Int.Input(
                    "frames",
                    default=0,
                    min=0,
                    max=100_000,
                    tooltip="Frames of the result; 0: as many as the path needs",
                ),
                io.Boolean.Input(
                    "adaptive_frames",
                    default=True,
                    tooltip="Adapt the clip's number of frames to how far the path turns",
                ),
            ],
            outputs=[TrajectoryType.Output(display_name="trajectory")],
        )

    @classmethod
    def fingerprint_inputs(cls, trajectory: str, **others: Any) -> str:
        words = [word.strip() for word in re.split(r"[(),=+]", trajectory)]
        return f"{trajectory} {others} {stamps([Path(word) for word in (trajectory, *words) if word])}"

    @classmethod
    def execute(cls, trajectory: str, frames: int, adaptive_frames: bool) -> io.NodeOutput:
        require_inspatio()
        from inspatio import api
        from inspatio.clip_options import Controls

        controls = Controls(frames=frames or None, adaptive_frames=adaptive_frames)
        return io.NodeOutput(LoadedTrajectory(api.load_trajectory(trajectory), controls))


class Render(io.ComfyNode):
    """Render what the source shows of the target views, without a network."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InspatioRender",
            display_name="Render (inspatio)",
            category=CATEGORY,
            description="The point-cloud render along the path, and a mask of its holes, as inpainting nodes take it.",
            inputs=[SceneType.Input("scene"), TrajectoryType.Input("trajectory")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Mask.Output(display_name="holes"),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    def execute(cls, scene: LoadedScene, trajectory: LoadedTrajectory) -> io.NodeOutput:
        from inspatio import factory
        from inspatio.render.views import render_scene
        from inspatio.scene import adapt

        adapted, cameras = adapt(scene.scene, trajectory.trajectory, trajectory.controls)
        renderer = factory.make_renderer(scene.generator.profile.render, scene.generator.device)
        images, holes = Images(scene.fit, len(cameras)), Images(scene.fit, len(cameras))
        progress = progress_bar()
        for start in range(0, len(cameras), RENDERED_AT_ONCE):
            render = render_scene(renderer, adapted, start, cameras[start : start + RENDERED_AT_ONCE])
            images.add(render.frames)
            holes.add(255 * (render.masks == 0)[..., None].astype(render.frames.dtype))
            progress(images.done, len(cameras))
        return io.NodeOutput(images.whole(), holes.whole()[..., 0], float(adapted.frame_rate))


class Generate(io.ComfyNode):
    """Generate the clip as seen from the new camera."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InspatioGenerate",
            display_name="Generate (inspatio)",
            category=CATEGORY,
            description="The novel-view video along the path, block by block; ComfyUI's cancel ends it between blocks.",
            inputs=[
                SceneType.Input("scene"),
                TrajectoryType.Input("trajectory"),
                io.Int.Input("seed", default=0, min=0, max=2**32 - 1, control_after_generate=True),
            ],
            outputs=[io.Image.Output(display_name="images"), io.Float.Output(display_name="fps")],
        )

    @classmethod
    def execute(cls, scene: LoadedScene, trajectory: LoadedTrajectory, seed: int) -> io.NodeOutput:
        from inspatio.generation.base import drive
        from inspatio.pipeline.generate import clip_seed
        from inspatio.scene import adapt

        adapted, cameras = adapt(scene.scene, trajectory.trajectory, trajectory.controls)
        session = scene.generator.generator.start(adapted, seed=clip_seed(seed, adapted.clip_id))
        images = Images(scene.fit, len(cameras))
        progress = progress_bar()
        for block in drive(session, cameras):
            images.add(block.frames.numpy())
            progress(images.done, len(cameras))
        return io.NodeOutput(images.whole(), float(adapted.frame_rate))


class Images:
    """The frames of a result as they come, in the source's shape, as one IMAGE."""

    def __init__(self, fit: Fit, count: int) -> None:
        self._fit, self._count = fit, count
        self._images: torch.Tensor | None = None
        self.done = 0

    def add(self, frames: np.ndarray) -> None:
        """Append ``t h w c`` uint8 frames of the working size."""
        import torch

        shown = torch.from_numpy(self._fit.natural(frames).copy())
        if self._images is None:
            self._images = torch.empty((self._count, *shown.shape[1:]), dtype=torch.float32)
        self._images[self.done : self.done + len(shown)] = shown / 255
        self.done += len(shown)

    def whole(self) -> torch.Tensor:
        """``b h w c`` float32 from 0 to 1."""
        assert self._images is not None, "a path has at least one frame"
        assert self.done == self._count, f"{self.done} frames of {self._count}"
        return self._images


def profiles() -> list[str]:
    """The profiles that there are; where inspatio is not installed, the one that needs no weights."""
    if find_spec("inspatio") is None:
        return [DEFAULT_PROFILE]
    from inspatio.config import profile_names

    return profile_names()


def sources() -> list[str]:
    """What in ComfyUI's input folder may be a scene: videos, pictures and folders."""
    folder = Path(folder_paths.get_input_directory())
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    files = [name for name in names if (folder / name).is_file()]
    return [
        *folder_paths.filter_files_content_types(files, ["video", "image"]),
        *(name for name in names if (folder / name).is_dir() and not name.endswith(".geometry")),
    ]


def require_inspatio() -> None:
    """Raise RuntimeError, one line that says how to get it, where the library is not installed."""
    if find_spec("inspatio") is None:
        raise RuntimeError(
            "inspatio is not installed for this Python, expected the package. Run: pip install -e <its checkout>"
        )


def progress_bar() -> Callable[[int, int], None]:
    """Report to ComfyUI's progress bar; ends the node where the user has interrupted it."""
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def stamps(paths: list[Path]) -> str:
    """Sizes and times of those files that are there: another text where one has changed."""
    found = []
    for path in paths:
        try:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            found += [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
        except (OSError, ValueError):  # not a file, or no name of one
            continue
    return "\n".join(found)


class InspatioExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadGenerator, LoadScene, LoadTrajectory, Render, Generate]


async def comfy_entrypoint() -> InspatioExtension:
    return InspatioExtension()
