"""The options of every command, generated from dataclasses: the blocks of a profile (``config.py``) and those here.

Names are those of the public pipeline where it has the option. :data:`GROUPS` says which command takes which settings;
parser, help and docs/options.md follow from it. ``job.py`` makes a :class:`Job` of what was given.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspatio.clip_options import Controls
from inspatio.config import (
    BEST_PROFILES,
    PREVIEW_PROFILE,
    CaptionConfig,
    GeneratorConfig,
    GeometryConfig,
    Profile,
    RenderConfig,
)
from inspatio.errors import UsageError
from inspatio.evaluation.options import EvaluateOptions
from inspatio.pipeline.engine_options import EngineOptions
from inspatio.pipeline.frame_options import FrameOptions
from inspatio.pipeline.input_options import InputOptions
from inspatio.pipeline.path_options import ExportOptions, PathOptions, TrajectoryOptions
from inspatio.settings import Setting, Settings, StageName, blocks, convert, declared, setting
from inspatio.training.options import TrainOptions
from inspatio.types import ExportFormat, FitMode

AUTOMATIC = f"the first of {', '.join(BEST_PROFILES)} whose weights are complete, else {PREVIEW_PROFILE}"


@dataclass(frozen=True, kw_only=True)
class RunOptions(Settings):
    """How to run."""

    profile_name: str | None = setting(
        None, "a profile of configs/", option="--profile", metavar="NAME", unset=AUTOMATIC
    )
    config_path: Path | None = setting(
        None, "file of a profile, in place of --profile", option="--config_path", metavar="YAML"
    )
    seed: int = setting(
        0,
        "global seed; the seed of a clip follows from it and the clip's name",
        option="--seed",
        metavar="N",
        changes="generate",
    )
    force: bool = setting(
        False, "recompute all results, also up-to-date ones and those of other options", option="--force"
    )
    dry_run: bool = setting(
        False, "print what each stage would do with every clip, and why, and exit", option="--dry_run"
    )
    keep_going: bool = setting(False, "record failures and continue, which is the default", option="--keep_going")
    fail_fast: bool = setting(False, "stop at the first failing clip", option="--fail_fast")
    quiet: bool = setting(False, "show warnings and errors only", option="--quiet")
    verbose: bool = setting(False, "show details too, each line with its time and origin", option="--verbose")
    log_json: Path | None = setting(
        None,
        "also append every line to a file as JSON: time, level, event, stage, clip, seconds, reason, process, message",
        option="--log_json",
        metavar="FILE",
    )
    master_port: int = setting(
        29513, "port where the processes of a stage meet", option="--master_port", metavar="PORT", least=1, most=65535
    )
    worker_stage: StageName | None = setting(None, None, option="--worker")
    """Set by a run that starts this process to do its share of one stage, in folders that the run has locked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_going and self.fail_fast:
            raise UsageError("--keep_going and --fail_fast: not allowed together, choose one")
        if self.quiet and self.verbose:
            raise UsageError("--quiet and --verbose: not allowed together, choose one")
        if self.quiet and self.dry_run:
            raise UsageError("--quiet and --dry_run: not allowed together, the plan would not be seen")
        if self.profile_name and self.config_path:
            raise UsageError(f"--profile {self.profile_name} and --config_path {self.config_path}: choose one")


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(Settings):
    """What the caption stage takes besides the profile."""

    caption: str | None = setting(
        None,
        "the prompt of every clip, in place of <clip>.txt files and captions",
        option="--caption",
        metavar="TEXT",
        changes="caption",
    )
    step1_gpus: tuple[int, ...] = setting(
        (0,), "GPUs of the caption stage, comma-separated", option="--step1_gpus", metavar="IDS", least=0
    )


@dataclass(frozen=True, kw_only=True)
class GeometryOptions(Settings):
    """What the geometry stage takes besides the profile."""

    step2_gpus: tuple[int, ...] = setting(
        (0,), "GPUs of geometry and render, comma-separated", option="--step2_gpus", metavar="IDS", least=0
    )


@dataclass(frozen=True, kw_only=True)
class ViewOptions(Settings):
    """What a person or another program gets to see of the geometry."""

    report: bool = setting(False, "write reports/<clip>/: a picture, and the findings in words", option="--report")
    export: ExportFormat | None = setting(
        None, "write exports/<clip>: points, cameras, images for other programs", option="--export", unset="none"
    )
    export_frames: tuple[int, ...] | None = setting(
        None,
        "frames that the exported points come from, comma-separated",
        option="--export_frames",
        metavar="NUMBERS",
        unset="8 of all",
        least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.export == "v15":
            raise UsageError("--export v15: a scene folder has a path too; write it with inspatio export v15 CLIP")
        if self.export_frames is not None and self.export is None:
            raise UsageError("--export_frames: got no --export, expected both together. Add --export ply, for example.")


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(Settings):
    """What the generate stage takes besides the profile."""

    use_tae: bool = setting(
        False, "TAEHV as encoder and decoder: 20 times cheaper than the Wan VAE", option="--use_tae", changes="generate"
    )
    step3_gpus: tuple[int, ...] = setting(
        (0,), "GPUs of the generate stage, comma-separated", option="--step3_gpus", metavar="IDS", least=0
    )
    processes: int = setting(
        1, "processes of the generate stage, at least one for each GPU", option="--step3_nproc", metavar="N", least=1
    )
    result: Path | None = setting(
        None,
        "also write the result of the only clip here: a file .mp4 or .gif, or a folder for PNG pictures",
        option="-o",
        metavar="PATH",
        unset="none",
    )
    comparison: bool = setting(
        False, "also write <clip>.comparison.mp4: source, render and result", option="--comparison"
    )


@dataclass(frozen=True, kw_only=True)
class PartialOptions(Settings):
    """Stages to leave out."""

    skip_step1: bool = setting(False, "do not caption; use the captions that are there", option="--skip_step1")
    skip_step2: bool = setting(
        False, "do not estimate geometry; use what is there (render still runs)", option="--skip_step2"
    )
    skip_step3: bool = setting(False, "stop after the render", option="--skip_step3")


@dataclass(frozen=True, kw_only=True)
class ProfileChoice(Settings):
    """What the commands about profiles take."""

    profile_name: str | None = setting(
        None,
        "this profile only (doctor then predicts its GPU memory too)",
        option="--profile",
        metavar="NAME",
        unset="all profiles",
    )


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(Settings):
    """What `inspatio doctor` takes besides the profile."""

    weights: bool = setting(
        False,
        "load and run the weights of a profile; compare their numbers with what they must show",
        option="--weights",
    )


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Settings):
    """What `inspatio verify` takes."""

    work_folder: Path = setting(
        Path(), "captions and geometry, as for `inspatio run`", option="--work_folder", metavar="DIR", required=True
    )
    output_folder: Path | None = setting(
        None,
        "renders and results",
        option="--output_folder",
        metavar="DIR",
        unset="all of the work folder",
    )


@dataclass(frozen=True, kw_only=True)
class LicenseOptions(Settings):
    """What `inspatio licenses` takes besides the profile."""

    dependencies: bool = setting(
        False, "list the installed packages and bundled GPL libraries instead of weights", option="--dependencies"
    )


@dataclass(frozen=True, kw_only=True)
class LiveOptions(Settings):
    """What `inspatio live` takes besides the video, the profile and its settings."""

    profile_name: str | None = setting(
        None, "a profile of configs/", option="--profile", metavar="NAME", unset=AUTOMATIC
    )
    config_path: Path | None = setting(
        None, "file of a profile, in place of --profile", option="--config_path", metavar="YAML"
    )
    work_folder: Path | None = setting(
        None,
        "geometry, recorded flights and their renders",
        option="--work_folder",
        metavar="DIR",
        unset="output/<input name>",
    )
    fit: FitMode = setting(
        "crop",
        "how a source of another shape becomes the working frame: cut it, add borders, or distort it",
        option="--fit",
    )
    turn: bool = setting(
        True,
        "keep the profile's wide frame for portrait sources too, which else get one on its end (480x832)",
        off="--no_turn",
    )
    deterministic: bool = setting(
        False,
        "on a GPU too, replaying a flight's event log gives the same frames bit for bit; what it costs is not measured",
        option="--deterministic",
    )
    host: str = setting(
        "127.0.0.1",
        "address to listen on; another than this machine's own lets everybody in who has the token",
        option="--host",
        metavar="ADDRESS",
    )
    port: int = setting(
        8765, "port to listen on, 0 for any free one", option="--port", metavar="PORT", least=0, most=65535
    )
    allow_host: tuple[str, ...] | None = setting(
        None,
        "further names that browsers may address this machine by, comma-separated",
        option="--allow_host",
        metavar="NAMES",
        unset="none",
    )
    no_browser: bool = setting(False, "only print the address, open no browser", option="--no_browser")
    max_session: float | None = setting(
        None, "end after so many minutes", option="--max_session", metavar="MINUTES", unset="never", least=0.01
    )


@dataclass(frozen=True)
class Group:
    """Settings that are shown under one title, and the commands that take them."""

    title: str
    commands: tuple[str, ...]
    settings: tuple[type[Settings], ...]


CLIPS = ("run", "caption", "geometry", "render", "generate")
"""The commands that work on a folder of clips."""

GROUPS = (
    Group("input and output", CLIPS, (InputOptions,)),
    Group("how to run", CLIPS, (RunOptions, EngineOptions)),
    Group("trajectory", ("run", "render", "generate"), (TrajectoryOptions, Controls)),
    Group("caption (step 1)", ("run", "caption"), (CaptionOptions, CaptionConfig)),
    Group("geometry (step 2a)", ("run", "geometry", "live"), (GeometryOptions, GeometryConfig)),
    Group("views of the geometry", ("geometry",), (ViewOptions,)),
    Group("render (step 2b)", ("run", "render", "live"), (RenderConfig,)),
    Group("generate (step 3)", ("run", "generate"), (GenerateOptions, GeneratorConfig)),
    Group("the live world", ("live",), (LiveOptions, GeneratorConfig)),
    Group("partial runs", ("run",), (PartialOptions,)),
    Group("profiles", ("doctor", "licenses"), (ProfileChoice,)),
    Group("weights", ("doctor",), (DoctorOptions,)),
    Group("results to check", ("verify",), (VerifyOptions,)),
    Group("what to measure", ("evaluate",), (EvaluateOptions,)),
    Group("training", ("train",), (TrainOptions,)),
    Group("pictures of a still scene", ("frames",), (FrameOptions, GeneratorConfig)),
    Group("what to show or convert", ("path",), (PathOptions,)),
    Group("what to export", ("export",), (ExportOptions,)),
    Group("dependencies", ("licenses",), (LicenseOptions,)),
)

BLOCK_NAMES = {kind: name for name, kind in blocks(Profile).items()}
"""The settings classes that are blocks of a profile, and the blocks' names in its YAML."""


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options of a command to its parser. Options that are not given leave no trace in the namespace."""
    for group in GROUPS:
        if command in group.commands:
            from_profile = any(kind in BLOCK_NAMES for kind in group.settings)
            note = "In brackets: the value where the profile sets none." if from_profile else None
            section = parser.add_argument_group(group.title, note)
            for kind in group.settings:
                for each in declared(kind):
                    _add(section, each)


def given(kind: type[Settings], arguments: argparse.Namespace) -> dict[str, Any]:
    """The values that the command line gives for settings of a class, by field name."""
    values = vars(arguments)
    return {each.name: values[dest(each)] for each in declared(kind) if each.options and dest(each) in values}


def dest(each: Setting) -> str:
    """The name of a setting's value in the parsed arguments."""
    return each.options[0].lstrip("-")


def _add(section: argparse._ArgumentGroup, each: Setting) -> None:
    about = argparse.SUPPRESS if each.help is None else help_text(each)
    shared: dict[str, Any] = {"dest": dest(each), "default": argparse.SUPPRESS} if each.options else {}
    if each.is_switch:
        if each.option:
            section.add_argument(each.option, action="store_true", help=about, **shared)
        if each.off:
            opposite = f"the opposite of {each.option}, where the profile has it on" if each.option else about
            section.add_argument(each.off, action="store_false", help=opposite, **shared)
    elif each.option:

        def value(text: str) -> Any:
            try:
                return convert(text, each.kind, each.least, each.most)
            except ValueError as error:
                raise argparse.ArgumentTypeError(str(error)) from error

        metavar = f"{{{','.join(each.choices)}}}" if each.choices else each.metavar
        if each.option.startswith("-"):
            section.add_argument(each.option, type=value, metavar=metavar, required=each.required, help=about, **shared)
        else:  # a word without an option before it
            section.add_argument(each.option, type=value, nargs="?", help=about)


def help_text(each: Setting) -> str:
    """What a setting does and, in brackets, its default."""
    shown = "" if (each.is_switch and not each.unset) or each.required else each.default_text
    return f"{each.help} [{shown}]" if shown else f"{each.help}"
