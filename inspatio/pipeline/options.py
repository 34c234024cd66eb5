"""The command line's options, declared once for `inspatio run` and every stage.

Names are the public ones where the public pipeline has them. Few are added; a test lists them all. ``job.py`` makes a
:class:`Job` of what was given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from inspatio.config import DEFAULT_PROFILE


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
