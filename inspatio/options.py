"""The command line's options, declared once for `inspatio run` and every stage, and resolved into a :class:`Job`.

Names are the public ones where the public pipeline has them. Few are added; a test lists them all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inspatio.config import DEFAULT_PROFILE, Profile, find_profile, load_profile
from inspatio.controls import Controls
from inspatio.errors import UsageError
from inspatio.parallel import Worker
from inspatio.public_manifest import PUBLIC_NAME
from inspatio.trajectory import Direction, Trajectory, load_trajectory
from inspatio.types import FitMode

OUTPUT_ROOT = Path("output")


@dataclass(frozen=True)
class Job:
    """One resolved run: what to read, where to write, and how. The same in every worker."""

    input: Path
    """A folder of videos, or a public new.json."""
    work_folder: Path
    run_folder: Path | None
    """None for the stages that do not depend on the trajectory."""
    profile: Profile
    trajectory_path: Path | None
    trajectory_direction: Direction | None
    trajectory: Trajectory | None
    controls: Controls
    fit: FitMode
    caption: str | None
    seed: int
    force: bool
    fail_fast: bool
    dry_run: bool
    comparison: bool
    report: bool
    export: Literal["ply", "glb", "colmap"] | None
    export_frames: tuple[int, ...] | None
    skip: frozenset[str]
    """Names of stages whose finished blocks are trusted as they are."""
    gpus: dict[str, list[str]]
    """For each stage the GPUs it may use, as CUDA_VISIBLE_DEVICES spells them."""
    processes: int
    """Processes of the generate stage on this machine."""
    master_port: int
    worker: Worker

    @property
    def input_folder(self) -> Path:
        return self.input if self.input.is_dir() else self.input.parent

    def device(self, stage: str) -> str:
        """Where this process computes a stage: its GPU, or the CPU where there is none."""
        import torch  # here, so that --help does not wait for it

        if not torch.cuda.is_available():
            return "cpu"
        if self.worker.is_alone:
            return f"cuda:{self.gpus[stage][0]}"
        return f"cuda:{self.worker.local_rank % torch.cuda.device_count()}"

    @property
    def public_list(self) -> Path | None:
        """The public clip list that goes with the input, where there is one."""
        if self.input.is_file():
            return self.input
        path = self.input / PUBLIC_NAME
        return path if path.is_file() else None


def common(parser: argparse.ArgumentParser) -> None:
    """What every command that works on clips takes."""
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "--input_dir", type=Path, required=True, metavar="DIR", help="folder of videos (or a public new.json clip list)"
    )
    group.add_argument(
        "--work_folder",
        type=Path,
        metavar="DIR",
        help="captions and geometry, shared by all trajectories [output/<input name>]",
    )
    group = parser.add_argument_group("how to run")
    group.add_argument("--profile", metavar="NAME", help=f"a profile of configs/ [{DEFAULT_PROFILE}]")
    group.add_argument("--config_path", type=Path, metavar="YAML", help="a profile's file, in place of --profile")
    group.add_argument("--seed", type=int, default=0, help="global seed; a clip's own follows from it and its name [0]")
    group.add_argument("--force", action="store_true", help="make everything anew, also what is finished and fresh")
    group.add_argument(
        "--dry_run", action="store_true", help="print the plan (clips, stages, what is fresh, what will run) and stop"
    )
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--keep_going", action="store_true", help="a failing clip is recorded and the others go on (default)"
    )
    either.add_argument("--fail_fast", action="store_true", help="stop at the first failing clip")
    group.add_argument("--master_port", type=int, default=29513, help="port of torchrun's rendezvous [29513]")


def caption(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("caption (step 1)")
    group.add_argument(
        "--caption", metavar="TEXT", help="the prompt of every clip, in place of <clip>.txt files and captions"
    )
    group.add_argument("--florence_model_path", metavar="DIR", help="Florence-2 folder [checkpoints/Florence-2-large]")
    group.add_argument("--caption_batch_size", type=int, metavar="N", help="clips captioned at a time [4]")
    group.add_argument(
        "--caption_frame", metavar="WHICH", help="frame that is described: middle, or its number from 0 on [middle]"
    )
    group.add_argument(
        "--step1_gpus", default="0", metavar="IDS", help="GPUs of the caption stage, comma-separated [0]"
    )


def geometry(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("geometry (step 2a)")
    group.add_argument(
        "--geometry", choices=("da3", "files", "plane", "auto"), help="backend, in place of the profile's"
    )
    group.add_argument("--da3_model_path", metavar="DIR", help="Depth Anything 3 folder [checkpoints/DA3]")
    group.add_argument(
        "--da3_metric_path",
        metavar="DIR",
        help="metric model to go with an any-view one (base + metric-large: Apache-2.0)",
    )
    group.add_argument(
        "--geometry_window", type=int, metavar="N", help="frames estimated at once [as many as memory holds]"
    )
    group.add_argument(
        "--pose_smoothing", type=float, metavar="SIGMA", help="smoothing of the camera path in frames, 0: off [2]"
    )
    group.add_argument(
        "--step2_gpus", default="0", metavar="IDS", help="GPUs of geometry and render, comma-separated [0]"
    )


def geometry_views(parser: argparse.ArgumentParser) -> None:
    """What a person or another program gets to see of the geometry; `inspatio geometry` alone takes these."""
    group = parser.add_argument_group("to look at")
    group.add_argument(
        "--report", action="store_true", help="write reports/<clip>/: a picture, and what was found in words"
    )
    group.add_argument(
        "--export", choices=("ply", "glb", "colmap"), help="write exports/<clip>: a point cloud or a COLMAP text model"
    )
    group.add_argument(
        "--export_frames",
        metavar="NUMBERS",
        help="frames that points come from, comma-separated [8 of all]",
    )


def trajectory(parser: argparse.ArgumentParser) -> None:
    """What decides the target cameras and with them the run folder: for render and generate."""
    group = parser.add_argument_group("trajectory")
    group.add_argument(
        "--traj_txt_path",
        type=Path,
        required=True,
        metavar="TXT",
        help="trajectory file: pitch, yaw, displacement, or matrices",
    )
    group.add_argument(
        "--traj_direction",
        choices=("world_to_camera", "camera_to_world"),
        help="what the matrices of a matrix trajectory are, where its header does not say",
    )
    group.add_argument(
        "--output_folder",
        type=Path,
        metavar="DIR",
        help="renders and results [output/<input name>/<trajectory name>]",
    )
    group.add_argument(
        "--relative_to_source",
        action="store_true",
        help="add the trajectory to the source camera's own motion (default: undo it)",
    )
    group.add_argument("--rotation_only", action="store_true", help="turn the camera on the spot, without moving it")
    group.add_argument(
        "--disable_adaptive_frame",
        action="store_true",
        help="keep the clip's frame count whatever the trajectory's speed",
    )
    group.add_argument(
        "--freeze_repeat", type=int, default=0, metavar="N", help="show one frame N more times (bullet time) [0]"
    )
    group.add_argument(
        "--freeze_frame",
        default="middle",
        metavar="WHICH",
        help="which frame: middle, or its number from 0 on [middle]",
    )
    group.add_argument(
        "--fit",
        choices=("crop", "pad", "stretch"),
        default="crop",
        help="how a source of another shape becomes the working frame: cut it, add borders, or distort it [crop]",
    )


def render(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("render (step 2b)")
    group.add_argument("--render_backend", choices=("warper", "ply"), help="forward splat or points as discs [warper]")


def generate(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generate (step 3)")
    group.add_argument("--checkpoint_path", metavar="FILE", help="InSpatio-World weights [of the profile]")
    group.add_argument(
        "--use_tae", action="store_true", help="TAEHV for encode and decode: 20 times cheaper than the Wan VAE"
    )
    for part, about in (("encoder", "videos to latents"), ("decoder", "latents to videos")):
        group.add_argument(f"--{part}", choices=("wan", "taehv"), help=f"the autoencoder for {about} alone [wan]")
    group.add_argument("--tae_checkpoint_path", metavar="FILE", help="TAEHV weights [checkpoints/taehv/taew2_1.pth]")
    group.add_argument(
        "--compile_dit", action="store_true", help="compile the transformer blocks (pays off on long clips)"
    )
    group.add_argument(
        "--precision", choices=("bf16", "fp32", "fp8"), help="of the generator; fp8 needs an Ada or Hopper GPU [bf16]"
    )
    group.add_argument("--offload", action="store_true", help="keep idle layers in host memory, for small GPUs")
    group.add_argument(
        "--step3_gpus", default="0", metavar="IDS", help="GPUs of the generate stage, comma-separated [0]"
    )
    group.add_argument("--step3_nproc", type=int, default=1, metavar="N", help="processes of the generate stage [1]")
    group.add_argument(
        "--comparison", action="store_true", help="also write <clip>.comparison.mp4: source, render and result"
    )


def skips(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("partial runs")
    group.add_argument("--skip_step1", action="store_true", help="do not caption; trust the captions that are there")
    group.add_argument(
        "--skip_step2", action="store_true", help="do not estimate geometry; trust what is there (render still runs)"
    )
    group.add_argument("--skip_step3", action="store_true", help="stop after the render")


STAGE_OPTIONS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], ...]] = {
    "caption": (common, caption),
    "geometry": (common, geometry, geometry_views),
    "render": (common, trajectory, render),
    "generate": (common, trajectory, generate),
    "run": (common, trajectory, caption, geometry, render, generate, skips),
}
"""Which groups of options each command takes."""


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options of a stage, or of ``run``, on its parser."""
    for declare in STAGE_OPTIONS[command]:
        declare(parser)


def resolve(arguments: argparse.Namespace) -> Job:
    """The job that the parsed options ask for.

    Raises:
        UsageError: no such input folder, profile or trajectory, or a value out of range.
    """
    given = vars(arguments)
    source: Path = given["input_dir"]
    if not source.exists():
        raise UsageError(f"--input_dir {source}: no such folder; expected a folder of videos")
    if source.is_file() and source.suffix != ".json":
        raise UsageError(f"--input_dir {source}: is a file; expected a folder of videos (or a new.json clip list)")
    name = (source if source.is_dir() else source.parent).resolve().name or "root"
    work_folder: Path = given["work_folder"] or OUTPUT_ROOT / name

    path: Path | None = given.get("traj_txt_path")
    run_folder = None
    if path is not None:
        run_folder = given["output_folder"] or work_folder / path.stem
        if run_folder.resolve() == work_folder.resolve():
            raise UsageError(
                f"--output_folder {run_folder}: is the work folder too; choose another, one for each trajectory"
            )
    for folder in (work_folder, run_folder):
        if folder is not None and source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{folder}: lies in the input folder, which is never written to; choose another")

    processes = given.get("step3_nproc", 1)
    if processes < 1:
        raise UsageError(f"--step3_nproc {processes}: expected 1 or more")
    return Job(
        input=source,
        work_folder=work_folder,
        run_folder=run_folder,
        profile=_profile(given),
        trajectory_path=path,
        trajectory_direction=given.get("traj_direction"),
        trajectory=None if path is None else load_trajectory(path, given["traj_direction"]),
        controls=Controls(
            relative_to_source=given.get("relative_to_source", False),
            rotation_only=given.get("rotation_only", False),
            adaptive_frames=not given.get("disable_adaptive_frame", False),
            freeze_repeat=given.get("freeze_repeat", 0),
            freeze_frame=_freeze_frame(given),
        ),
        fit=given.get("fit", "crop"),
        caption=given.get("caption"),
        seed=given["seed"],
        force=given["force"],
        fail_fast=given["fail_fast"],
        dry_run=given["dry_run"],
        comparison=given.get("comparison", False),
        report=given.get("report", False),
        export=given.get("export"),
        export_frames=_export_frames(given),
        skip=frozenset(
            stage
            for stage, option in (("caption", "skip_step1"), ("geometry", "skip_step2"), ("generate", "skip_step3"))
            if given.get(option) and not (stage == "caption" and given.get("caption"))
        ),
        gpus={
            "caption": _ids(given, "step1_gpus"),
            "geometry": _ids(given, "step2_gpus"),
            "render": _ids(given, "step2_gpus"),
            "generate": _ids(given, "step3_gpus"),
        },
        processes=processes,
        master_port=given["master_port"],
        worker=Worker.from_environment(),
    )


def _ids(given: dict[str, object], option: str) -> list[str]:
    text = str(given.get(option, "0"))
    ids = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in ids):
        raise UsageError(f"--{option} {text}: expected GPU numbers separated by commas, such as 0,1")
    return ids


def _export_frames(given: dict[str, object]) -> tuple[int, ...] | None:
    text = given.get("export_frames")
    if text is None:
        return None
    parts = [part.strip() for part in str(text).split(",")]
    if not given.get("export") or not all(part.isdigit() for part in parts):
        raise UsageError(f"--export_frames {text}: expected frame numbers separated by commas, together with --export")
    return tuple(int(part) for part in parts)


def _freeze_frame(given: dict[str, object]) -> int | Literal["middle"]:
    text = str(given.get("freeze_frame", "middle"))
    if text == "middle":
        return "middle"
    if not text.isdigit():
        raise UsageError(f"--freeze_frame {text}: expected middle or a frame number from 0 on")
    return int(text)


def _profile(given: dict[str, object]) -> Profile:
    """The chosen profile with the command line's overrides."""
    name, path = given["profile"], given["config_path"]
    if name and path:
        raise UsageError(f"--profile {name} and --config_path {path}: choose one")
    profile = load_profile(Path(str(path)) if path else find_profile(str(name or DEFAULT_PROFILE)))
    frame = given.get("caption_frame")
    if frame is not None and frame != "middle" and not str(frame).isdigit():
        raise UsageError(f"--caption_frame {frame}: expected middle or a frame number from 0 on")
    caption = _override(
        profile.caption,
        given,
        model_path="florence_model_path",
        batch_size="caption_batch_size",
        frame="caption_frame",
    )
    geometry = _override(
        profile.geometry,
        given,
        backend="geometry",
        model_path="da3_model_path",
        metric_path="da3_metric_path",
        window="geometry_window",
        pose_smoothing="pose_smoothing",
    )
    render = _override(profile.render, given, backend="render_backend")
    generator = _override(
        profile.generator, given, checkpoint_path="checkpoint_path", tae_checkpoint_path="tae_checkpoint_path"
    )
    if given.get("use_tae"):
        generator = replace(generator, encoder="taehv", decoder="taehv")
    generator = _override(generator, given, encoder="encoder", decoder="decoder", precision="precision")
    generator = replace(
        generator,
        compile_dit=generator.compile_dit or bool(given.get("compile_dit")),
        offload=generator.offload or bool(given.get("offload")),
    )
    return replace(profile, caption=caption, geometry=geometry, render=render, generator=generator)


def _override(config, given: dict[str, object], **options: str):
    changes = {key: given[option] for key, option in options.items() if given.get(option) is not None}
    return replace(config, **changes)
