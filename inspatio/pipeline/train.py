"""`inspatio train`: train a stage from its config, and `inspatio train prepare`: encode clips into training data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from inspatio import factory
from inspatio.config import Profile, find_profile, load_profile
from inspatio.errors import UsageError
from inspatio.generation.inspatio_world.frames import to_frames
from inspatio.generation.inspatio_world.loading import autoencoder_path
from inspatio.generation.inspatio_world.prompts import PromptCache
from inspatio.models.wan.checkpoint import load_decoder, load_encoder
from inspatio.models.worldfm import checkpoint as worldfm
from inspatio.pipeline.distributed import Worker, destroy_process_group
from inspatio.pipeline.log import progress_bar
from inspatio.storage import folder_lock
from inspatio.training.config import CLIP_STAGES, find_config, kind_of, load_config
from inspatio.training.data.clips import find_views
from inspatio.training.data.completions import write_completions
from inspatio.training.data.prepare import ClipEncoder, FrameEncoder, described, fit_linear, prepare
from inspatio.training.data.rooms import make_views
from inspatio.training.data.views import ViewsSource, whole_blocks
from inspatio.training.loop import Show, Trainer
from inspatio.training.options import TrainOptions
from inspatio.training.parallel import Processes, lost_process
from inspatio.training.setup import make_stage
from inspatio.training.shards import Shards
from inspatio.training.tensors import write_tensors
from inspatio.types import Frames

FITTED_CLIPS = 12
"""Clips that a linear autoencoder is fitted to: 700 000 patches at 416x240, for 768 directions."""

_log = logging.getLogger(__name__)


def train(options: TrainOptions) -> int:
    """Do what the options ask for; returns the exit code.

    Raises:
        UserError: it cannot be done; the message says why.
    """
    return prepare_data(options) if options.action == "prepare" else run_stage(options)


def run_stage(options: TrainOptions) -> int:
    """Train one stage; under torchrun every process of the job calls it."""
    assert options.train_config is not None, "the options were checked"
    config = load_config(options.train_config)
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    run = options.folder or Path("output/training") / config.name
    shards = Shards.open(Path(config.data.folder), kind_of(config.stage))
    worker = Worker.from_environment()
    device = torch.device("cuda", worker.local_rank) if torch.cuda.is_available() else torch.device("cpu")
    with _lock(run, worker), _reported(), progress_bar(config.steps, config.name, "step") as progress:
        processes = Processes(config.processes, device, worker.rank, worker.world_size)
        trainer = Trainer(
            make_stage(config, processes), shards, run, _show(config.record.profile, config.stage, device)
        )
        try:
            trainer.resume()
            trainer.train(progress)
        finally:
            trainer.close()
    if worker.is_main:
        _log.info("checkpoints, log and pictures: %s", run)
    return 0


@contextmanager
def _lock(run: Path, worker: Worker) -> Iterator[None]:
    """Hold the run's folder, in the main process."""
    if not worker.is_main:
        yield
        return
    with folder_lock(run, wait=False, notice=_log.info):
        yield


@contextmanager
def _reported() -> Iterator[None]:
    """Say in one line that a process of the job has gone, wherever the others notice it; leave the job at the end."""
    try:
        yield
    except RuntimeError as error:
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1 and _lost(error):
            raise lost_process(error) from error
        raise
    else:
        destroy_process_group()


def _lost(error: RuntimeError) -> bool:
    """Whether an error is that of a connection, as gloo and NCCL word it."""
    words = str(error).lower()
    return any(each in words for each in ("connection closed", "connection reset", "gloo", "nccl", "timed out"))


def _show(profile: str, stage: str, device: torch.device) -> Show | None:
    """A profile's decoder, as far as pictures were asked for."""
    if not profile:
        return None
    config = _profile(profile).generator
    if stage in CLIP_STAGES:
        decoder = load_decoder(config.decoder, autoencoder_path(config, config.decoder), device=device)

        @torch.inference_mode()
        def show(latents: torch.Tensor) -> Frames:
            dtype = next(decoder.parameters()).dtype  # type: ignore[attr-defined]
            return to_frames(decoder.decode(latents.to(device, dtype), decoder.start())).cpu().numpy()

        return show
    return None


def _profile(name: str) -> Profile:
    """A profile by its name, or by the path of its YAML file."""
    return load_profile(find_config(Path(name)) if name.endswith(".yaml") else find_profile(name))


def prepare_data(options: TrainOptions) -> int:
    """Encode clips, triples or synthetic rooms into shards."""
    assert options.folder is not None, "the options were checked"
    profile = _profile(options.encoding_profile)
    if whole_blocks(options.frames) != options.frames:
        raise UsageError(f"--frames: got {options.frames}, expected whole blocks of frames: 9, 21, 33, 45 and so on")
    seeds = range(options.first_seed, options.first_seed + options.rooms)
    if options.kind == "completions":
        with (
            folder_lock(options.folder, wait=False, notice=_log.info),
            progress_bar(len(seeds), "prepare", "clip") as bar,
        ):
            count = write_completions(seeds, profile.size, options.folder, bar)
        _log.info("%d samples: %s", count, options.folder)
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    renderer = factory.make_renderer(profile.render, str(device))
    if options.clips is not None:
        source = find_views(options.clips, options.frames, profile.size, renderer, options.first_seed)
    else:
        source = ViewsSource(
            len(seeds), lambda: (make_views(seed, options.frames, profile.size, renderer) for seed in seeds)
        )
    facts = described(profile.generator, options.kind, profile.size, options.frames)
    with (
        folder_lock(options.folder, wait=False, notice=_log.info),
        TemporaryDirectory(prefix="inspatio-prompts-") as prompts,
        progress_bar(source.count, "prepare", "clip") as progress,
    ):
        embed = PromptCache(Path(profile.generator.wan_path), Path(prompts), device=device)
        encode = _encoder(profile, options.kind, source, device)
        count = prepare(source, encode, embed, options.folder, facts, options.guidance_prompt, progress)
    _log.info("%d samples: %s", count, options.folder)
    return 0


def _encoder(profile: Profile, kind: str, source: ViewsSource, device: torch.device) -> ClipEncoder | FrameEncoder:
    config = profile.generator
    if kind == "frames":
        encoder = worldfm.load_encoder(Path(config.image_vae_path), device=device, dtype=torch.float32)
        return FrameEncoder(encoder, device)
    path = autoencoder_path(config, config.encoder)
    if config.encoder == "linear" and not path.exists():
        _log.info("fitting the linear autoencoder to the first %d clips: %s", FITTED_CLIPS, path)
        write_tensors(path, fit_linear(source, FITTED_CLIPS))
    return ClipEncoder(load_encoder(config.encoder, path, device=device, dtype=torch.float32), device)
