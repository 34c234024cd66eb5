"""The settings of a training run: one YAML file per stage in ``configs/train``, an unknown key is an error.

InSpatio-World's and WorldFM's training settings are not published: neither learning rates nor steps, batch sizes or the
weight between JDMD's two losses. Defaults are those of Self-Forcing (arXiv 2506.08009), from whose code
InSpatio-World's derives, unless the field says otherwise; each YAML file says it again at the value.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from inspatio.config import CONFIG_FOLDERS
from inspatio.errors import UsageError
from inspatio.settings import Settings, fill, setting

StageName = Literal["teacher", "init", "self_forcing", "dmd", "jdmd", "worldfm", "worldfm_dmd", "completion"]
CLIP_STAGES: tuple[StageName, ...] = ("teacher", "init", "self_forcing", "dmd", "jdmd")
"""The stages that train InSpatio-World; ``completion`` trains the preview's network, the others WorldFM."""
DISTILLED: tuple[StageName, ...] = ("dmd", "jdmd", "worldfm_dmd")
"""The stages with frozen teachers and trained fake scores."""


def kind_of(stage: StageName) -> str:
    """The kind of samples that a stage takes (``shards.py``)."""
    if stage == "completion":
        return "completions"
    return "clips" if stage in CLIP_STAGES else "frames"


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Which samples, and what is done to them."""

    folder: str = setting("", "shards that `inspatio train prepare` wrote", required=True)
    held_out: int = setting(4, "samples kept out of training, to measure on: the last ones of the folder", least=0)
    text_drop: float = setting(0.1, "share of samples without their prompt, for guidance later", least=0, most=1)
    reference_drop: float = setting(0.1, "share of samples without the source's latents", least=0, most=1)
    render_drop: float = setting(0.1, "share of samples without render: all of the mask is holes", least=0, most=1)
    hole_share: float = setting(0.0, "share of samples with further rectangles cut out of the render", least=0, most=1)
    render_noise: float = setting(0.0, "standard deviation of noise added to the render's latents", least=0)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Settings):
    """Where the networks start."""

    initial: str = setting("", "weights that training starts from; completion: empty for random ones")
    teacher: str = setting("", "frozen motion teacher of dmd, jdmd, worldfm_dmd and init's teacher targets")
    perceptual_teacher: str = setting("", "frozen text-to-video teacher of jdmd: the Wan base model")
    fake: str = setting("", "where the fake scores start", unset="the teachers")
    wan_path: str = setting("checkpoints/Wan2.1-T2V-1.3B", "Wan folder, whose config.json says the network's size")
    lora_rank: int = setting(0, "train low-rank additions of this rank to the linear layers; 0: all weights", least=0)
    lora_scale: float = setting(1.0, "factor of the additions (alpha / rank of other programs)")
    recompute: bool = setting(False, "recompute each layer in the backward pass: less memory, a third more time")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """AdamW, clipping and the moving average."""

    learning_rate: float = setting(2e-6, "of the student, or of what the stage trains", least=0)
    fake_learning_rate: float = setting(4e-7, "of the fake scores", least=0)
    betas: tuple[float, ...] = setting((0.0, 0.999), "of AdamW", least=0, most=1)
    weight_decay: float = setting(0.01, "of AdamW", least=0)
    clip: float = setting(10.0, "longest gradient", least=0)
    warmup: int = setting(0, "steps over which the learning rate rises from zero", least=0)
    average: float = setting(0.99, "decay of the moving average of the weights; 0 for none", least=0, most=1)
    average_from: int = setting(200, "step from which on weights are averaged", least=0)


@dataclass(frozen=True, kw_only=True)
class LossConfig(Settings):
    """What is minimised."""

    steps: tuple[int, ...] = setting((1000, 750, 500, 250), "the student's denoising steps", least=1, most=1000)
    shift: float = setting(5.0, "shift of the noise schedule", least=0.01)
    weighting: Literal["bell", "none"] = setting("bell", "weight of the teacher's loss over time")
    target: Literal["data", "trajectories", "consistency"] = setting(
        "data", "init: what a noisy block is to become: the clip's own, the end of a teacher's path, or consistency"
    )
    levels: Literal["student", "all"] = setting("student", "init: noise levels: the student's steps, or all of them")
    teacher_steps: int = setting(48, "init: steps of the teacher's paths", least=2, most=1000)
    guidance: float = setting(4.0, "scale of the teacher's classifier-free guidance, 1 for none", least=0)
    time_low: int = setting(20, "earliest time of distribution matching", least=0, most=1000)
    time_high: int = setting(980, "latest time of distribution matching", least=0, most=1000)
    fake_updates: int = setting(5, "updates of the fake score for one of the student", least=1)
    control_weight: float = setting(1.0, "jdmd: weight of the V2V loss (not published)", least=0)
    through_context: bool = setting(True, "gradients also reach the keys and values of the context")
    render_from: int = setting(0, "worldfm: step from which on the render is brought in", least=0)
    render_ramp: int = setting(0, "worldfm: steps over which it is brought in", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_low > self.time_high:
            raise UsageError(f"time_low: got {self.time_low}, expected at most time_high ({self.time_high})")


@dataclass(frozen=True, kw_only=True)
class ProcessConfig(Settings):
    """How the work is spread."""

    parallel: Literal["none", "ddp", "fsdp"] = setting(
        "none", "none: one process; ddp: whole networks in each; fsdp: weights and optimiser shared out"
    )
    precision: Literal["fp32", "bf16"] = setting("fp32", "number format of the passes; bf16 needs fsdp")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision == "bf16" and self.parallel != "fsdp":
            raise UsageError(
                "precision: got bf16 without parallel fsdp, which keeps the float32 weights. Use fsdp, also for one GPU"
            )


@dataclass(frozen=True, kw_only=True)
class RecordConfig(Settings):
    """What is written down, and how often, in steps."""

    log_every: int = setting(10, "losses to log.jsonl and TensorBoard", least=1)
    evaluate_every: int = setting(100, "held-out loss and a picture", least=1)
    save_every: int = setting(100, "checkpoints", least=1)
    keep: int = setting(2, "checkpoints kept, the latest ones", least=1)
    profile: str = setting("", "profile whose decoder shows the pictures, by name or file", unset="no pictures")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """One run of one stage."""

    name: str = setting("", "name of the run", unset="name of the file")
    stage: StageName = setting("teacher", "what is trained")
    steps: int = setting(1000, "optimiser steps", least=1)
    batch_size: int = setting(64, "samples to a step, over all processes", least=1)
    seed: int = setting(0, "of every random number", least=0)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    processes: ProcessConfig = field(default_factory=ProcessConfig)
    record: RecordConfig = field(default_factory=RecordConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = {"data.folder": self.data.folder}
        if self.stage != "completion":
            needed["network.initial"] = self.network.initial
        if self.stage in DISTILLED or (self.stage == "init" and self.loss.target != "data"):
            needed["network.teacher"] = self.network.teacher
        if self.stage == "jdmd":
            needed["network.perceptual_teacher"] = self.network.perceptual_teacher
        if missing := [key for key, value in needed.items() if not value]:
            raise UsageError(f"stage {self.stage}: got no {' and no '.join(missing)}, expected paths. Add them")


FREE = ("name", "steps", "record", "processes")
"""Keys that a run may go on with other values of: they do not change what a step computes."""


def differing_keys(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The keys (``loss.shift``) whose values differ between two configs, but for those of :data:`FREE`."""

    def flat(config: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for key, value in config.items():
            if isinstance(value, dict):
                found |= {f"{key}.{name}": each for name, each in value.items() if key not in FREE}
            elif key not in FREE:
                found[key] = value
        return found

    left, right = flat(one), flat(other)
    return sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))


def as_json(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON values."""
    return {
        key: {name: list(each) if isinstance(each, tuple) else each for name, each in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in asdict(config).items()
    }


def find_config(path: Path) -> Path:
    """Find a YAML file: the file itself, or a shipped one by its place (``configs/train/teacher.yaml``).

    Raises:
        UsageError: there is none.
    """
    shipped = [folder / path.relative_to("configs") for folder in CONFIG_FOLDERS if path.parts[:1] == ("configs",)]
    for candidate in (path, *shipped):
        if candidate.is_file():
            return candidate
    raise UsageError(f"{path}: no such file, expected a YAML file. See configs/train")


def load_config(path: Path) -> TrainConfig:
    """Load a training config from its YAML file.

    Raises:
        UsageError: the file is missing or not YAML, a key is unknown, or a value is wrong.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    file = find_config(path)
    try:
        given = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
        if not isinstance(given, dict):
            raise UsageError("not a config: got a list, expected keys with values")
        return fill(TrainConfig, {"name": file.stem} | given)
    except YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except (OSError, ValueError, OmegaConfBaseException, AssertionError) as error:
        raise UsageError(f"{path}: {str(error).splitlines()[0]}") from error
