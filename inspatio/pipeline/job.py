"""One resolved run: what the options ask for, checked and with every default filled in."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inspatio.cameras.controls import Controls
from inspatio.cameras.formats import Direction, load_trajectory
from inspatio.cameras.trajectory import Trajectory
from inspatio.captioning.captions import fixed_caption
from inspatio.config import DEFAULT_PROFILE, Profile, find_profile, load_profile
from inspatio.errors import UsageError
from inspatio.locations import find_trajectory
from inspatio.pipeline.distributed import Worker
from inspatio.pipeline.public_manifest import PUBLIC_NAME
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
    path = path and find_trajectory(path)
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
        caption=None if given.get("caption") is None else fixed_caption(given["caption"]).text,
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
            if given.get(option) and not (stage == "caption" and given.get("caption") is not None)
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
