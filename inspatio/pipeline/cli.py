"""The command line: `inspatio run`, a command for every stage, and `inspatio doctor`.

Exit codes: 0 all done, 1 some clips failed (or nothing could go on), 2 wrong usage, 130 interrupted. What a user can
mend is one line on standard error; a traceback is a bug.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from inspatio.errors import UsageError, UserError
from inspatio.pipeline.distributed import LOCK_HELD
from inspatio.pipeline.log import log_to_stderr

ABOUT = {
    "run": "the whole pipeline: caption, geometry, render, generate",
    "caption": "stage 1: a prompt for every clip",
    "geometry": "stage 2a: depth and cameras of every clip",
    "render": "stage 2b: every clip along the trajectory, and where it has holes",
    "generate": "stage 3: the novel-view videos",
    "download": "published weights, after showing their sizes and licences",
    "licenses": "which weights are used, and under what terms",
    "doctor": "what this machine and these checkpoints can do, and what is missing",
}

EPILOG = """\
examples:
  inspatio run --profile preview --input_dir examples --traj_txt_path traj/x_y_circle_cycle.txt
  inspatio run --input_dir my_clips --traj_txt_path traj/zoom_out_in.txt --dry_run

Running again does only what is missing or out of date. Results: output/<input name>/<trajectory name>/<clip>.mp4
"""


class _Parser(argparse.ArgumentParser):
    """Argparse, with errors of one line."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    from inspatio.pipeline import download
    from inspatio.pipeline.options import STAGE_OPTIONS, add_options

    parser = _Parser(prog="inspatio", description="The same scene, seen from a new camera.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"inspatio {version('inspatio')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, about in ABOUT.items():
        epilog = EPILOG if name == "run" else None
        command = commands.add_parser(name, help=about, description=f"{name}: {about}", epilog=epilog)
        if name in STAGE_OPTIONS:
            add_options(command, name)
        elif name == "download":
            download.add_options(command)
        else:
            only = "this profile only (doctor then predicts its GPU memory too)"
            command.add_argument("--profile", metavar="NAME", help=only)
            if name == "doctor":
                about_weights = "load and run the weights of a profile; compare their numbers with what they must show"
                command.add_argument("--weights", action="store_true", help=about_weights)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    # A terminated run unwinds like an interrupted one: temporary files go, locks are released.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        with log_to_stderr():
            return _dispatch(argv)
    except UsageError as error:
        print(f"inspatio: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"inspatio: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("inspatio: interrupted; finished clips are kept, run again to go on", file=sys.stderr)
        return 130


def _dispatch(argv: list[str]) -> int:
    parser = make_parser()
    # A worker gets the whole command line of the run that started it and takes what its stage knows.
    arguments = parser.parse_known_args(argv)[0] if LOCK_HELD in os.environ else parser.parse_args(argv)
    if arguments.command == "download":
        from inspatio.pipeline.download import download

        return download(arguments)
    if arguments.command in ("doctor", "licenses"):
        from inspatio.config import DEFAULT_PROFILE, find_profile, load_profile, profile_names

        names = [arguments.profile] if arguments.profile else profile_names()
        profiles = [load_profile(find_profile(name)) for name in names]
        if arguments.command == "licenses":
            from inspatio.pipeline.doctor import print_licenses

            return print_licenses(profiles)
        from inspatio.pipeline.doctor import examine, examine_weights

        if arguments.weights:
            return examine_weights(load_profile(find_profile(arguments.profile or DEFAULT_PROFILE)))
        return examine(profiles)
    from inspatio.pipeline.job import resolve

    job = resolve(arguments)
    from inspatio.pipeline.manifest import STAGES
    from inspatio.pipeline.run import run

    stages = tuple(STAGES) if arguments.command == "run" else (arguments.command,)
    return run(job, stages, argv[1:])
