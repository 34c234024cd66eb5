"""One resolved run: what the options ask for, checked and with every default filled in."""

from __future__ import annotations

import argparse
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inspatio import factory
from inspatio.cameras.anchored import AnchoredTrajectory
from inspatio.cameras.named import NamedTrajectory, load_file, split_trajectories
from inspatio.cameras.trajectory import Trajectory
from inspatio.captioning.captions import fixed_caption
from inspatio.clip_options import Controls
from inspatio.config import (
    BEST_PROFILES,
    DEFAULT_PROFILE,
    PREVIEW_PROFILE,
    Profile,
    find_profile,
    load_profile,
)
from inspatio.errors import UsageError
from inspatio.media.listing import FoundSource, identify, is_image_name, is_video_name
from inspatio.models.checkpoints import needs
from inspatio.pipeline.distributed import Worker
from inspatio.pipeline.engine_options import EngineOptions
from inspatio.pipeline.input_options import InputOptions
from inspatio.pipeline.options import (
    CaptionOptions,
    GenerateOptions,
    GeometryOptions,
    PartialOptions,
    RunOptions,
    TrajectoryOptions,
    ViewOptions,
    given,
)
from inspatio.pipeline.public_manifest import PUBLIC_NAME
from inspatio.settings import blocks

OUTPUT_ROOT = Path("output")
WORK_SUBFOLDERS = ("geometry", "sources", "prompts", "latents", "reports", "exports")
"""The folders in which a run writes below the work folder."""
RUN_SUBFOLDERS = ("render",)
"""The same below the run folder."""


@dataclass(frozen=True, kw_only=True)
class Job(
    InputOptions,
    RunOptions,
    EngineOptions,
    TrajectoryOptions,
    CaptionOptions,
    GeometryOptions,
    ViewOptions,
    GenerateOptions,
    PartialOptions,
):
    """One resolved run: every option that is not in the profile, and what follows from all of them."""

    work_folder: Path = OUTPUT_ROOT
    run_folder: Path | None = None
    """None for the stages that do not depend on the trajectory."""
    profile: Profile
    """With the command line's overrides."""
    controls: Controls
    named: NamedTrajectory | None
    """The trajectory and what it was asked for as; None for the stages that do not depend on it."""
    worker: Worker

    @property
    def single_source(self) -> FoundSource | None:
        """The input itself where it is one source: a file, a folder of views or of a scene."""
        return identify(self.input, as_views=self.views)

    @property
    def trajectory(self) -> Trajectory | None:
        """The path of the new camera."""
        return None if self.named is None else self.named.trajectory

    @property
    def input_folder(self) -> Path:
        """The folder that sources are read from; of a single one, the folder that it is in."""
        return _input_folder(self.input, self.views)

    @property
    def public_list(self) -> Path | None:
        """The public clip list that goes with the input, where there is one."""
        if self.input.suffix == ".json" and self.input.is_file():
            return self.input
        path = self.input_folder / PUBLIC_NAME
        return path if path.is_file() else None

    @property
    def skip(self) -> frozenset[str]:
        """Names of stages whose finished blocks are used unchecked. A caption that is given counts all the same."""
        skipped = {
            "caption": self.skip_step1 and self.caption is None,
            "geometry": self.skip_step2,
            "generate": self.skip_step3,
        }
        return frozenset(stage for stage, wanted in skipped.items() if wanted)

    @property
    def gpus(self) -> dict[str, list[str]]:
        """For each stage the GPUs it may use, as CUDA_VISIBLE_DEVICES spells them."""
        first, second, third = ([*map(str, ids)] for ids in (self.step1_gpus, self.step2_gpus, self.step3_gpus))
        return {"caption": first, "geometry": second, "render": second, "generate": third}

    def device(self, stage: str) -> str:
        """Where this process computes a stage: its GPU, or the CPU where there is none."""
        import torch  # here, so that --help does not wait for it

        if not torch.cuda.is_available():
            return "cpu"
        if self.worker.is_alone:
            return f"cuda:{self.gpus[stage][0]}"
        return f"cuda:{self.worker.local_rank % torch.cuda.device_count()}"


def resolve(arguments: argparse.Namespace) -> Job:
    """The job that the parsed options ask for.

    Raises:
        UsageError: no such input, profile or trajectory, or a value out of range.
    """
    options: dict[str, Any] = given(Job, arguments) | given(InputOptions, arguments)
    source: Path = options["input"]
    _check_input(source)
    inputs = _input_folder(source, options.get("views", False)).resolve()
    name = inputs.name or "root"
    work_folder: Path = options.pop("work_folder", OUTPUT_ROOT / name)

    named = _trajectory(arguments)
    run_folder = None
    if named is not None:
        run_folder = options.get("output_folder", work_folder / named.name)
        if run_folder.resolve() == work_folder.resolve():
            raise UsageError(
                f"--output_folder {run_folder}: is the work folder too; choose another, one for each trajectory"
            )
    for folder in (work_folder, run_folder, options.get("log_json")):
        if folder is not None and source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{folder}: is inside the input folder, which is never written to. Choose another folder")
    if "log_json" in options and options["log_json"].resolve() == source.resolve():
        raise UsageError(f"--log_json {options['log_json']}: is the input; choose another file")
    own = [work_folder / folder for folder in WORK_SUBFOLDERS]
    if run_folder is not None:
        for folder in own:
            if run_folder.resolve().is_relative_to(folder.resolve()):
                raise UsageError(
                    f"--output_folder {run_folder}: is inside {folder}, which the work folder needs for itself. "
                    "Choose another --output_folder."
                )
    own += [run_folder / folder for folder in RUN_SUBFOLDERS] if run_folder is not None else []
    for folder in own:
        if inputs.is_relative_to(folder.resolve()):
            raise UsageError(
                f"--input_dir {source}: is inside {folder}, where results are written. "
                "Choose another --work_folder or --output_folder."
            )
    if "caption" in options:
        options["caption"] = fixed_caption(options["caption"]).text
    worker = Worker.from_environment()
    profile = _profile(arguments, worker)
    job = Job(
        **options,
        work_folder=work_folder,
        run_folder=run_folder,
        profile=profile,
        controls=Controls(**given(Controls, arguments)),
        named=named,
        worker=worker,
    )
    if job.engine == "ray":
        _check_ray(job)
    return job


def _check_ray(job: Job) -> None:
    """Raise UsageError where options of the processes of one machine go with --engine ray, which starts its own."""
    if not job.worker.is_alone:
        raise UsageError(f"--engine ray: got {job.worker.world_size} processes of torchrun, expected one. Use either.")
    if job.processes > 1 or any(ids != ["0"] for ids in job.gpus.values()):
        raise UsageError(
            "--engine ray: got GPUs or processes of one machine, which Ray gives out itself. "
            "Leave out --step1_gpus, --step2_gpus, --step3_gpus and --step3_nproc."
        )


def each_trajectory(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """The parsed options once for each trajectory that --traj lists.

    Raises:
        UsageError: there are several for one run folder.
    """
    text = given(TrajectoryOptions, arguments).get("trajectory_text")
    texts = [] if text is None else split_trajectories(text)
    if len(texts) < 2:
        return [arguments]
    if "output_folder" in given(TrajectoryOptions, arguments):
        raise UsageError(
            f"--output_folder: got one folder for {len(texts)} trajectories, expected one for each. Leave it out"
        )
    return [argparse.Namespace(**{**vars(arguments), "traj": each}) for each in texts]


def _trajectory(arguments: argparse.Namespace) -> NamedTrajectory | None:
    """The trajectory of a command that needs one.

    Raises:
        UsageError: none is given, two are, or it is none.
    """
    if arguments.command not in ("run", "render", "generate"):
        return None
    options = given(TrajectoryOptions, arguments)
    names = [name for name in ("trajectory_path", "trajectory_text") if name in options]
    if len(names) != 1:
        raise UsageError(
            f"--traj and --traj_txt_path: got {'both' if names else 'neither'}, expected one of them. "
            "Give --traj orbit_left, for example"
        )
    asked, direction = options[names[0]], options.get("trajectory_direction")
    named = load_file(asked, direction) if isinstance(asked, Path) else factory.make_trajectory(asked, direction)
    if isinstance(named.trajectory, AnchoredTrajectory) and given(Controls, arguments).get("relative_to_source"):
        raise UsageError("--relative_to_source: the trajectory has steady or lock_off. Leave one of them out")
    return named


def _check_input(source: Path) -> None:
    """Raise UsageError unless the input is a folder that can be read, a video, an image or a clip list."""
    shown = f"--input_dir {str(source)[:200]}"
    try:
        mode = source.stat().st_mode
        folder = source if stat.S_ISDIR(mode) else source.parent
        next(folder.iterdir(), None)
        (folder / PUBLIC_NAME).is_file()  # fails where names can be listed but nothing can be opened
    except FileNotFoundError:
        raise UsageError(f"{shown}: no such folder; expected a folder of videos") from None
    except (OSError, ValueError) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{shown}: cannot be read ({fault}); expected a folder of videos") from None
    known = source.suffix == ".json" or is_video_name(source) or is_image_name(source)
    if not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and known):
        raise UsageError(f"{shown}: is a file; expected a folder of videos, a video, an image, or a new.json clip list")


def _input_folder(source: Path, views: bool) -> Path:
    if not source.is_dir():
        return source.parent
    return source.resolve().parent if identify(source, as_views=views) is not None else source


def _profile(arguments: argparse.Namespace, worker: Worker) -> Profile:
    """The profile that is named, else the best one whose weights are complete, else the preview.

    It is chosen for the whole pipeline, whatever the command, so that its stages go together.

    Raises:
        UsageError: none is named for several processes, which could find different weights.
    """
    run = RunOptions(**given(RunOptions, arguments))
    if run.config_path or run.profile_name:
        return overridden(load_profile(run.config_path or find_profile(run.profile_name or "")), arguments)
    if not worker.is_alone:
        raise UsageError(
            f"--profile: got none for {worker.world_size} processes, expected the same for all. "
            f"Add --profile {DEFAULT_PROFILE}, or another."
        )
    for name in BEST_PROFILES:
        profile = overridden(load_profile(find_profile(name)), arguments)
        if not any(need.missing for need in needs(profile)):
            return profile
    return overridden(load_profile(find_profile(PREVIEW_PROFILE)), arguments)


def overridden(profile: Profile, arguments: argparse.Namespace) -> Profile:
    """A profile with the command line's overrides."""
    overrides: dict[str, dict[str, Any]] = {name: given(kind, arguments) for name, kind in blocks(Profile).items()}
    if given(GenerateOptions, arguments).get("use_tae"):
        overrides["generator"] = {"encoder": "taehv", "decoder": "taehv"} | overrides["generator"]
    return replace(profile, **{name: replace(getattr(profile, name), **changes) for name, changes in overrides.items()})
