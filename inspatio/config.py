"""Profiles: one YAML per way of running, filled into frozen dataclasses; an unknown key is an error.

A profile names the backends and their settings. The command line overrides a few of them; ``factory.py`` turns the
names into implementations.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from inspatio.errors import UsageError
from inspatio.locations import in_home, shipped

CONFIG_FOLDERS = (Path("configs"), shipped("configs"))
"""Where profiles are looked for: the current folder's ``configs/``, then the shipped ones."""

DEFAULT_PROFILE = "inference_1.3b"


@dataclass(frozen=True)
class CaptionConfig:
    """``backend``: ``florence`` (Florence-2), or ``sidecar`` (text files beside the clips, no network)."""

    backend: str = "florence"
    model_path: str = "checkpoints/Florence-2-large"
    batch_size: int = 4
    max_new_tokens: int = 1024
    frame: str = "middle"
    """Which frame is described: ``middle``, or its number from 0 on."""


@dataclass(frozen=True)
class GeometryConfig:
    """``backend``: ``da3`` (Depth Anything 3), ``files``, ``plane``, or ``auto``: files where a clip has them,
    else ``fallback``. ``window``: frames that Depth Anything 3 sees at once (None: as many as memory holds);
    ``longest``: pixels of the frame's longer side as it sees it; ``compile``: compile its repeated block, which costs
    time before the first clip (there is no option for it on the command line)."""

    backend: str = "da3"
    fallback: str = "plane"
    model_path: str = "checkpoints/DA3"
    metric_path: str | None = None
    window: int | None = None
    pose_smoothing: float = 2.0
    longest: int = 504
    compile: bool = False


@dataclass(frozen=True)
class RenderConfig:
    """``backend``: ``warper`` (forward splat) or ``ply`` (points as discs)."""

    backend: str = "warper"


@dataclass(frozen=True)
class GeneratorConfig:
    """``backend``: ``causal`` (the published networks) or ``preview`` (no network)."""

    backend: str = "causal"
    checkpoint_path: str = "checkpoints/InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors"
    wan_path: str = "checkpoints/Wan2.1-T2V-1.3B"
    tae_checkpoint_path: str = "checkpoints/taehv/taew2_1.pth"
    encoder: str = "wan"
    decoder: str = "wan"
    compile_dit: bool = False
    offload: bool = False
    precision: str = "bf16"
    steps: list[int] = field(default_factory=lambda: [1000, 750, 500, 250])
    shift: float = 5.0


@dataclass(frozen=True)
class Profile:
    """One way of running the whole pipeline; ``height`` and ``width`` are the working frame in pixels."""

    name: str
    description: str = ""
    height: int = 480
    width: int = 832
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)

    def __post_init__(self) -> None:
        if self.height % 16 or self.width % 16 or min(self.height, self.width) < 16:
            raise UsageError(
                f"profile {self.name}: height and width must be multiples of 16, got {self.height}x{self.width}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the working frame."""
        return self.height, self.width


def profile_names() -> list[str]:
    """The profiles that can be named with --profile."""
    return sorted({path.stem for folder in CONFIG_FOLDERS if folder.is_dir() for path in folder.glob("*.yaml")})


def find_profile(name: str) -> Path:
    """The YAML of a profile name.

    Raises:
        UsageError: there is none of that name; the message lists those there are.
    """
    for folder in CONFIG_FOLDERS:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    raise UsageError(f"--profile {name}: no such profile; there are {', '.join(profile_names()) or 'none'}")


def load_profile(path: Path) -> Profile:
    """Load a profile from a YAML file; what it leaves out has the default, and its paths become absolute.

    Raises:
        UsageError: the file is missing or not YAML, a key is unknown, or a value has the wrong type.
    """
    try:
        given = OmegaConf.load(path)
        merged = OmegaConf.merge(OmegaConf.structured(Profile(name=path.stem)), given)
        profile = OmegaConf.to_object(merged)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such config file; profiles: {', '.join(profile_names())}") from error
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "(the file)"
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: key {key}: {reason}; see the dataclasses in inspatio/config.py") from error
    except UsageError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: not a config: {str(error).splitlines()[0]}") from error
    except YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    assert isinstance(profile, Profile), f"OmegaConf gave {type(profile)}"
    return _at_home(profile)


def _at_home(profile: Profile) -> Profile:
    """The profile with absolute paths: those in a profile are relative to ``locations.home()``."""
    caption, geometry, generator = profile.caption, profile.geometry, profile.generator
    metric = geometry.metric_path
    return replace(
        profile,
        caption=replace(caption, model_path=str(in_home(caption.model_path))),
        geometry=replace(
            geometry,
            model_path=str(in_home(geometry.model_path)),
            metric_path=None if metric is None else str(in_home(metric)),
        ),
        generator=replace(
            generator,
            checkpoint_path=str(in_home(generator.checkpoint_path)),
            wan_path=str(in_home(generator.wan_path)),
            tae_checkpoint_path=str(in_home(generator.tae_checkpoint_path)),
        ),
    )
