"""`inspatio live VIDEO`: prepare the clip as a run would, then serve it as a live world."""

from __future__ import annotations

import argparse
import logging
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from inspatio import factory
from inspatio.cameras.trajectory import MAX_DEGREES_PER_FRAME
from inspatio.errors import UsageError, UserError
from inspatio.live.jobs import RenderPlan
from inspatio.media import VideoInfo
from inspatio.media.listing import identify
from inspatio.models.checkpoints import require
from inspatio.pipeline.job import Job, resolve
from inspatio.pipeline.options import GROUPS, Group, LiveOptions, dest, given
from inspatio.pipeline.run import READING, run
from inspatio.pipeline.scenes import crop_note, open_clip, turn_note
from inspatio.pipeline.workspace import Workspace
from inspatio.settings import Setting, declared
from inspatio.storage import folder_lock

FLIGHTS_FOLDER = "flights"
"""Where in the work folder recorded flights and their renders are kept, one folder to a clip."""

END_SECONDS = 0.5
"""How long the end waits for a block that is being made."""

_log = logging.getLogger(__name__)


def live(arguments: argparse.Namespace) -> int:
    """Caption and geometry of one clip, then its live world until a signal; returns the exit code.

    Raises:
        UsageError: the input is no video, or the address cannot be listened on.
        UserError: the extra `live` is not installed, weights are missing, or the clip cannot be used.
    """
    options = LiveOptions(**given(LiveOptions, arguments))
    try:
        from inspatio.live.flights import FlightFolder
        from inspatio.live.hub import Hub
        from inspatio.live.server import Address, LiveServer, bind, leave_if_busy
        from inspatio.live.world import LiveOptions as WorldOptions
        from inspatio.live.world import World
    except ModuleNotFoundError as error:
        raise UserError(
            f"inspatio live needs the package {error.name}, which is not installed. "
            "Start it with `bash run_pipeline.sh live VIDEO`, or install inspatio[live]."
        ) from error
    if options.deterministic:
        make_deterministic()
    address = Address(options.host, options.port, options.allow_host or (), not options.no_browser, options.max_session)
    job = resolve(arguments)
    if not job.input.exists() or identify(job.input) is None:
        raise UsageError(
            f"{job.input}: got no single source, expected a video, an image, a panorama, a point cloud's folder or a "
            "scene folder. Try examples/living_room.mp4."
        )
    require(job.profile, {"generate"})
    listening = bind(address)  # before the long part, so that a port that is taken is told at once
    if run(job, ("caption", "geometry"), []) != 0:
        listening.close()
        return 1
    with ExitStack() as stack:
        stack.callback(listening.close)
        lock = folder_lock(job.work_folder, wait=True, notice=_log.info, name=READING, shared=True)
        stack.enter_context(lock)
        workspace = Workspace.open(job)
        (state,) = workspace.clips
        info, scene = workspace.info(state), stack.enter_context(open_clip(state, workspace))
        for note in (*crop_note(state, job), *turn_note(state, job)):
            _log.info("    note: %s", note)
        device, profile = job.device("generate"), job.profile
        prompts = workspace.work.folder / "prompts"
        factory.prepare_prompts(profile.generator, [scene.prompt], prompts, device)
        renderer = factory.make_renderer(profile.render, device)
        generator = factory.make_generator(
            profile.generator, profile.size, device, prompts, renderer=renderer, live=True
        )
        is_preview, reads_prompt = (profile.generator.backend == name for name in ("preview", "causal"))
        folder = job.work_folder / FLIGHTS_FOLDER / state.id
        clips = Path(stack.enter_context(TemporaryDirectory(prefix="inspatio-live-")))
        world = World(
            scene,
            generator,
            renderer,
            WorldOptions(
                name=profile.name,
                source_first=is_preview or profile.generator.faithful,
                max_turn=MAX_DEGREES_PER_FRAME if reads_prompt else None,
                reads_prompt=reads_prompt,
            ),
            FlightFolder(folder),
            clips,
            info if isinstance(info, VideoInfo) else None,
        )
        hub = Hub(world, offline_plan(arguments, job, folder, state.id))
        server = LiveServer(hub, address, listening, clips)
        print(server.url, flush=True)
        with suppress(KeyboardInterrupt):  # how a person ends it
            server.run()
    leave_if_busy(END_SECONDS)
    return 0


def make_deterministic() -> None:
    """Have torch add up in a fixed order in this process, on a GPU as it does on a CPU; call it before CUDA is used.

    The splat's sums are what differs from run to run otherwise. An operation that cannot be repeated raises.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable with workspaces of its own only
    torch.use_deterministic_algorithms(True)
    # Filling memory that nobody has written is a search for bugs, at the cost of time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def offline_plan(arguments: argparse.Namespace, job: Job, folder: Path, clip_id: str) -> RenderPlan:
    """How a flight of this clip is rendered: `inspatio run` with the same settings."""
    settings = _spelled(arguments, "live", "run")
    if not (job.profile_name or job.config_path):
        settings += ["--profile", job.profile.name]

    def command(flight: Path, name: str) -> list[str]:
        folders = ["--work_folder", str(job.work_folder), "--output_folder", str(folder / name)]
        words = ["-m", "inspatio", "run", "--input_dir", str(job.input), "--traj_txt_path", str(flight)]
        return [*words, *folders, *settings, "--verbose"]

    return RenderPlan(command, lambda name: folder / name / f"{clip_id}.mp4")


def _spelled(arguments: argparse.Namespace, command: str, other: str) -> list[str]:
    """The words that give another command the settings that this one was given, as far as both have them."""
    takes = {each.options[0] for group in GROUPS if other in group.commands for each in _options_of(group)}
    words = []
    for each in (each for group in GROUPS if command in group.commands for each in _options_of(group)):
        value = vars(arguments).get(dest(each))
        if value is None or each.options[0] not in takes:
            continue
        if each.kind is bool:
            words.append((each.option if value else each.off) or each.options[0])
        else:
            words += [each.options[0], ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


def _options_of(group: Group) -> list[Setting]:
    return [each for kind in group.settings for each in declared(kind) if each.options]
