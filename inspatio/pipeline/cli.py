"""The command line: `inspatio run`, a command for every stage, `inspatio download`, `doctor` and `licenses`.

What a user can correct is one line on standard error; a traceback is a bug. For exit codes see :data:`EPILOG`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from inspatio.errors import UsageError, UserError
from inspatio.evaluation.options import EvaluateOptions
from inspatio.pipeline import download
from inspatio.pipeline.frame_options import FrameOptions
from inspatio.pipeline.log import Detail, log_to_json, log_to_stderr
from inspatio.pipeline.options import (
    CLIPS,
    DoctorOptions,
    LicenseOptions,
    ProfileChoice,
    RunOptions,
    VerifyOptions,
    add_options,
    given,
)
from inspatio.pipeline.path_options import ExportOptions, PathOptions
from inspatio.training.options import TrainOptions

COMMANDS = {
    "run": "the whole pipeline: caption, geometry, render, generate",
    "caption": "stage 1: a prompt for every clip",
    "geometry": "stage 2a: depth and cameras of every clip",
    "render": "stage 2b: every clip along the trajectory, and where it has holes",
    "generate": "stage 3: the novel-view videos",
    "live": "fly through a video in the browser",
    "frames": "pictures of a still scene (a panorama, a point cloud) from the poses of a meta.json",
    "path": "show a camera path (a picture, frames, angles, coverage), or convert it to another format",
    "export": "a clip's points, cameras and images for other programs",
    "download": "published weights, after showing their sizes and licences",
    "verify": "read all results and say which files are damaged or missing",
    "evaluate": "measure results against a truth, or generators on a suite of held-out clips",
    "train": "train a stage of the networks, or prepare its data",
    "licenses": "which weights and packages are used, and under what terms",
    "doctor": "what this machine and these checkpoints can do, and what is missing",
}

EPILOG = """\
examples:
  inspatio run --profile preview --input_dir examples --traj_txt_path traj/x_y_circle_cycle.txt
  inspatio run --input_dir my_clips --traj_txt_path traj/zoom_out_in.txt --dry_run
  inspatio geometry --input_dir my_clips --report
  inspatio live examples/living_room.mp4

results:
  output/<input name>/                      captions and geometry (--work_folder)
  output/<input name>/<trajectory name>/    renders and <clip>.mp4 (--output_folder)
  Running again computes only what is missing or out of date; --dry_run says what and why. Results of another
  trajectory or of other options are not replaced without --force; a trajectory that was edited in place is followed.
  The input folder is never written to.

exit codes:
  0    all clips done
  1    some clips failed, or the run could not continue
  2    wrong usage
  130  interrupted; finished clips are kept
"""


class _Parser(argparse.ArgumentParser):
    """Argparse, with errors of one line."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(prog="inspatio", description="The same scene, seen from a new camera.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"inspatio {version('inspatio')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        epilog = EPILOG if name in CLIPS else None
        command = commands.add_parser(name, help=about, description=f"{name}: {about}", epilog=epilog)
        if name == "live":
            command.add_argument("input_dir", metavar="VIDEO", type=Path, help="the clip to fly through")
        if name == "download":
            download.add_options(command)
        else:
            add_options(command, name)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: command and options; None: those of this process, which then is the program itself and handles SIGTERM.

    Returns:
        The exit code.
    """
    try:
        words = sys.argv[1:] if argv is None else list(argv)
        arguments = make_parser().parse_args(words)
        with log_to_stderr(_detail(arguments)):
            if argv is None:
                with _terminating_is_interrupting():
                    return _dispatch(arguments, words)
            return _dispatch(arguments, words)
    except UsageError as error:
        print(f"inspatio: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"inspatio: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("inspatio: interrupted; finished clips are kept, run again to continue", file=sys.stderr)
        return 130


@contextmanager
def _terminating_is_interrupting() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that temporary files are removed and locks released.

    Only the main thread may install a handler; elsewhere nothing is changed.
    """

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _detail(arguments: argparse.Namespace) -> Detail:
    options = given(RunOptions, arguments)
    return "quiet" if "quiet" in options else "verbose" if "verbose" in options else "normal"


def _dispatch(arguments: argparse.Namespace, argv: list[str]) -> int:
    if arguments.command in CLIPS:
        from inspatio.pipeline.job import each_trajectory, resolve

        jobs = [resolve(each) for each in each_trajectory(arguments)]
        from inspatio.pipeline.records import STAGES
        from inspatio.pipeline.run import run

        codes = []
        for job in jobs:
            # Workers get the command line: of several trajectories, the one that this run is about.
            words = [*argv, "--traj", job.trajectory_text or ""] if len(jobs) > 1 else argv
            with log_to_json(job.log_json):
                codes.append(run(job, tuple(STAGES) if arguments.command == "run" else (arguments.command,), words))
        return max(codes)
    if arguments.command == "live":
        from inspatio.pipeline.live import live

        return live(arguments)
    if arguments.command == "download":
        return download.download(arguments)
    if arguments.command == "verify":
        from inspatio.pipeline.verify import verify

        return verify(VerifyOptions(**given(VerifyOptions, arguments)))
    if arguments.command == "evaluate":
        from inspatio.pipeline.evaluate import evaluate

        return evaluate(EvaluateOptions(**given(EvaluateOptions, arguments)))
    if arguments.command == "train":
        from inspatio.pipeline.train import train

        return train(TrainOptions(**given(TrainOptions, arguments)))
    if arguments.command == "path":
        from inspatio.pipeline.path import path

        return path(PathOptions(**given(PathOptions, arguments)))
    if arguments.command == "export":
        from inspatio.pipeline.export import export_clip

        return export_clip(ExportOptions(**given(ExportOptions, arguments)))
    if arguments.command == "frames":
        return _frames(arguments)
    if LicenseOptions(**given(LicenseOptions, arguments)).dependencies:
        from inspatio.pipeline.dependencies import dependency_lines

        print("\n".join(dependency_lines()))
        return 0
    from inspatio.config import DEFAULT_PROFILE, find_profile, load_profile, profile_names
    from inspatio.pipeline.doctor import examine, examine_weights, print_licenses

    chosen = given(ProfileChoice, arguments).get("profile_name")
    if DoctorOptions(**given(DoctorOptions, arguments)).weights:
        return examine_weights(load_profile(find_profile(chosen or DEFAULT_PROFILE)))
    profiles = [load_profile(find_profile(name)) for name in ([chosen] if chosen else profile_names())]
    return print_licenses(profiles) if arguments.command == "licenses" else examine(profiles)


def _frames(arguments: argparse.Namespace) -> int:
    from inspatio.config import find_profile, load_profile
    from inspatio.pipeline.frames import frames
    from inspatio.pipeline.job import overridden

    options = FrameOptions(**given(FrameOptions, arguments))
    return frames(options, overridden(load_profile(find_profile(options.frame_profile)), arguments))
