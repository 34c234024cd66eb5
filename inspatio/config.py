"""Profiles: one YAML file per way of running, filled into frozen dataclasses; an unknown key is an error.

A profile names the backends and their settings. The command line overrides those that have an option;
``factory.py`` turns the names into implementations. Every setting is declared once, here; see ``settings.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inspatio.clip_options import FrameChoice
from inspatio.errors import UsageError
from inspatio.locations import in_home, shipped
from inspatio.settings import Settings, blocks, declared, fill, setting

if TYPE_CHECKING:
    from omegaconf import DictConfig, ListConfig

CONFIG_FOLDERS = (Path("configs"), shipped("configs"))
"""Where profiles are looked for: the current folder's ``configs/``, then the shipped ones."""

DEFAULT_PROFILE = "inference_1.3b"
"""The published network that is recommended to begin with."""

BEST_PROFILES = ("inference_14b", "inference_1.5", "inference_1.3b")
"""The profiles of published networks, the best first. A run without --profile takes the first that is complete."""

PREVIEW_PROFILE = "preview"
"""What a run without --profile takes where none of them is complete: it needs no weights."""

AutoencoderName = Literal["wan", "taehv", "linear"]
Precision = Literal["bf16", "fp32", "fp8"]
FrameNoise = Literal["points", "fixed", "fresh"]


@dataclass(frozen=True, kw_only=True)
class CaptionConfig(Settings):
    """How clips are captioned."""

    backend: Literal["florence", "sidecar"] = setting(
        "florence", "florence: Florence-2; sidecar: text files beside the clips, no network", changes="caption"
    )
    model_path: str = setting(
        "checkpoints/Florence-2-large",
        "Florence-2 folder",
        option="--florence_model_path",
        metavar="DIR",
        changes="caption",
        by_content=True,
    )
    batch_size: int = setting(
        4, "clips captioned at a time", option="--caption_batch_size", metavar="N", least=1, most=1000
    )
    max_new_tokens: int = setting(1024, "longest caption, in tokens", least=1, changes="caption")
    frame: FrameChoice = setting(
        "middle",
        "frame that is described: middle, or its number counted from 0",
        option="--caption_frame",
        metavar="FRAME",
        least=0,
        changes="caption",
    )


@dataclass(frozen=True, kw_only=True)
class GeometryConfig(Settings):
    """How depth and cameras of a clip are found."""

    backend: Literal["da3", "files", "motion", "plane", "auto"] = setting(
        "da3",
        "da3: Depth Anything 3; files: beside the clip; motion: from the camera's own motion, no weights; plane: a "
        "tilted plane as a guess; auto: files where a clip has them, else motion, and a small Depth Anything 3 "
        "(if it is downloaded) or plane where the camera stands still",
        option="--geometry",
        changes="geometry",
    )
    fallback: Literal["da3", "files", "motion", "plane"] = setting(
        "motion", "backend of clips without files where the backend is auto", changes="geometry"
    )
    focal: float | None = setting(
        None,
        "focal length of the source camera in pixels of its frames, for motion",
        option="--focal",
        metavar="PIXELS",
        unset="estimated",
        least=1,
        changes="geometry",
    )
    model_path: str = setting(
        "checkpoints/DA3",
        "Depth Anything 3 folder",
        option="--da3_model_path",
        metavar="DIR",
        changes="geometry",
        by_content=True,
    )
    metric_path: str | None = setting(
        None,
        "metric model to go with an any-view one (base and metric-large are Apache-2.0)",
        option="--da3_metric_path",
        metavar="DIR",
        unset="none",
        changes="geometry",
        by_content=True,
    )
    window: int | None = setting(
        None,
        "frames estimated at once",
        option="--geometry_window",
        metavar="N",
        unset="as many as memory holds",
        least=4,
        changes="geometry",
    )
    pose_smoothing: float = setting(
        2.0,
        "smoothing of the camera path: standard deviation in frames, 0 for none",
        option="--pose_smoothing",
        metavar="SIGMA",
        least=0,
        most=10_000,
        changes="geometry",
    )
    longest: int = setting(
        504,
        "longer side of the frames as Depth Anything 3 sees them, in pixels",
        least=14,
        most=8192,
        changes="geometry",
    )
    compile: bool = setting(False, "compile the repeated block of Depth Anything 3, which delays the first clip")


@dataclass(frozen=True, kw_only=True)
class RenderConfig(Settings):
    """How a clip is rendered from the new cameras."""

    backend: Literal["warper", "ply"] = setting(
        "warper",
        "what networks are fed with: warper (forward splat) or ply (points as discs)",
        option="--render_backend",
        changes="render",
    )


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(Settings):
    """How the novel view is generated.

    Raises:
        UsageError: also where the steps do not fall, or where precision fp8 and offload come together.
    """

    backend: Literal["causal", "worldfm", "preview"] = setting(
        "causal",
        "causal: the InSpatio-World networks; worldfm: InSpatio-WorldFM, frame by frame; preview: no network",
        changes="generate",
    )
    checkpoint_path: str = setting(
        "checkpoints/InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors",
        "InSpatio-World or WorldFM weights",
        option="--checkpoint_path",
        metavar="FILE",
        changes="generate",
        by_content=True,
    )
    wan_path: str = setting(
        "checkpoints/Wan2.1-T2V-1.3B",
        "Wan 2.1 folder with text encoder and VAE",
        changes="generate",
        by_content=True,
    )
    tae_checkpoint_path: str = setting(
        "checkpoints/taehv/taew2_1.pth",
        "TAEHV weights",
        option="--tae_checkpoint_path",
        metavar="FILE",
        changes="generate",
        by_content=True,
    )
    linear_path: str = setting(
        "checkpoints/linear/linear.safetensors",
        "weights of the linear autoencoder, which `inspatio train prepare` fits",
        changes="generate",
        by_content=True,
    )
    image_vae_path: str = setting(
        "checkpoints/WorldFM/vae",
        "image autoencoder of WorldFM, a diffusers folder",
        option="--image_vae_path",
        metavar="DIR",
        changes="generate",
        by_content=True,
    )
    completion_path: str | None = setting(
        None,
        "weights of a network that corrects what the preview makes up, as `inspatio train` writes them; none ships",
        changes="generate",
        by_content=True,
        unset="none",
    )
    encoder: AutoencoderName = setting("wan", "encodes videos to latents", option="--encoder", changes="generate")
    decoder: AutoencoderName = setting("wan", "decodes latents to videos", option="--decoder", changes="generate")
    compile_dit: bool | None = setting(
        None,
        "compile the transformer blocks",
        option="--compile_dit",
        off="--no_compile_dit",
        unset="on a GPU, where it pays: some 10,000 frames, or precision fp8",
    )
    offload: bool = setting(
        False, "keep idle layers in host memory, for small GPUs", option="--offload", off="--no_offload"
    )
    cuda_graphs: bool = setting(
        False,
        "replay steady blocks as CUDA graphs; has not run on a GPU yet",
        option="--cuda_graphs",
        off="--no_cuda_graphs",
    )
    precision: Precision = setting(
        "bf16",
        "number format of the networks; fp8 needs an Ada or Hopper GPU and has not run on one yet",
        option="--precision",
        changes="generate",
    )
    steps: tuple[int, ...] = setting(
        (1000, 750, 500, 250), "denoising steps: falling numbers from 1000 to 1", least=1, changes="generate"
    )
    shift: float = setting(5.0, "shift of the noise schedule, above 0", changes="generate")
    frame_noise: FrameNoise = setting(
        "points",
        "noise that WorldFM's frames start from: attached to surfaces, one field for all, or fresh as published",
        option="--frame_noise",
        changes="generate",
    )
    faithful: bool = setting(
        False,
        "keep what the source shows untouched, and take the generated picture elsewhere (the preview always does)",
        option="--faithful",
        off="--no_faithful",
        changes="generate",
    )
    frames_at_once: int = setting(1, "frames that WorldFM makes at a time; results are the same", least=1, most=64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps[0] > 1000 or any(a <= b for a, b in pairwise(self.steps)):
            raise UsageError(f"steps: got denoising steps {list(self.steps)}, expected falling numbers from 1000 to 1")
        if self.backend == "worldfm" and self.steps[0] > 999:
            raise UsageError(f"steps: got {list(self.steps)} for worldfm, expected falling numbers from 999 to 1")
        if self.shift <= 0:
            raise UsageError(f"shift: got {self.shift:g}, expected a number above 0")
        if self.precision == "fp8" and self.offload:
            raise UsageError(
                "precision: got fp8 together with offload, which cannot go together. "
                "Use bf16 with offload, or fp8 without."
            )


@dataclass(frozen=True, kw_only=True)
class Profile(Settings):
    """One way of running the whole pipeline.

    Raises:
        UsageError: also where height or width is not a multiple of 16.
    """

    name: str = setting("", "name of the profile", unset="name of the file")
    description: str = setting("", "one line for people")
    height: int = setting(
        480, "height of the working frame in pixels, a multiple of 16", least=16, most=8192, changes="render"
    )
    width: int = setting(
        832, "width of the working frame in pixels, a multiple of 16", least=16, most=8192, changes="render"
    )
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.height % 16 or self.width % 16:
            raise UsageError(f"height and width: got {self.height}x{self.width}, expected multiples of 16")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the working frame in pixels."""
        return self.height, self.width


def profile_names() -> list[str]:
    """List the profiles that --profile can name."""
    return sorted({path.stem for folder in CONFIG_FOLDERS if folder.is_dir() for path in folder.glob("*.yaml")})


def find_profile(name: str) -> Path:
    """Find the YAML file of a profile.

    Raises:
        UsageError: there is none of that name; the message lists those there are.
    """
    # Only names that are there become paths: one that is too long for a file would be an error of its own.
    folders = CONFIG_FOLDERS if name in profile_names() else ()
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    raise UsageError(f"--profile {name[:80]}: no such profile; there are {', '.join(profile_names()) or 'none'}")


def load_profile(path: Path) -> Profile:
    """Load a profile from a YAML file; what it leaves out has the default, and its paths become absolute.

    Raises:
        UsageError: the file is missing or not YAML, a key is unknown, or a value has the wrong type or is out of range.
    """
    from omegaconf import OmegaConf  # here: dataclasses alone, as benchmarks use them, need no YAML reader
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        given = OmegaConf.to_container(_load_yaml(path), resolve=True)
        if not isinstance(given, dict):
            raise UsageError("not a config: got a list, expected keys with values")
        return _at_home(fill(Profile, {"name": path.stem} | given))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such config file; profiles: {', '.join(profile_names())}") from error
    except YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise UsageError(f"{path}: {str(error).splitlines()[0]}") from error


def _load_yaml(path: Path) -> DictConfig | ListConfig:
    from omegaconf import OmegaConf

    try:
        return OmegaConf.load(path)
    except AssertionError as error:  # OmegaConf's own check, of a quoted text that is itself a value: '"1"'
        raise UsageError("not a config: got a single value, expected keys with values") from error


def _at_home(profile: Profile) -> Profile:
    """The profile with absolute paths: those in a profile are relative to ``locations.home()``."""
    changed = {}
    for name, kind in blocks(Profile).items():
        block = getattr(profile, name)
        paths = {each.name: getattr(block, each.name) for each in declared(kind) if each.by_content}
        changed[name] = replace(block, **{key: str(in_home(path)) for key, path in paths.items() if path is not None})
    return replace(profile, **changed)
