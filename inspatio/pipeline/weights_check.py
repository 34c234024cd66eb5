"""Check a profile's weights part by part: `inspatio doctor --weights`.

For whoever has the published weights first. Each part is loaded strictly, runs once on a small synthetic clip, and its
numbers are compared with what a working model must show. No published weights were available when this was written, so
the bounds follow from definitions (normalised latents have unit variance; the flow is noise minus clean latents,
WorldFM's velocity at its noisiest step is minus the clean latents) and are wide: a failure means that something is
wrong, a pass does not prove parity.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from inspatio import factory
from inspatio.config import Profile
from inspatio.errors import UserError
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.inspatio_world.condition import condition_channels, pack_mask
from inspatio.generation.inspatio_world.loading import load_causal
from inspatio.generation.worldfm.loading import load_worldfm
from inspatio.generation.worldfm.pictures import to_images
from inspatio.generation.worldfm.sampler import sample_frames
from inspatio.geometry.depth_anything3 import DepthAnything3
from inspatio.geometry.store import load_geometry
from inspatio.models.checkpoints import TINY_PROFILES, Need, needs
from inspatio.models.wan.text_encoder import TextEncoder, pad_embeddings
from inspatio.models.worldfm.dit import LATENT_CHANNELS
from inspatio.types import Frames

PROMPT = "A wooden table in a bright living room, with a red ball and a blue vase on it."
FRAMES = 9
"""Of the synthetic clip: one block."""

Bounds = dict[str, tuple[float, float]]

PUBLISHED: Bounds = {
    "caption: words": (3, 1000),
    "depth: share of positive pixels": (0.9, 1),
    "depth: 95 % quantile over 5 % quantile": (1.02, 1000),
    "field of view: degrees": (15, 130),
    "text: standard deviation": (1e-3, 10),
    "text: distance of two prompts, relative": (0.05, 2),
    "latents: mean": (-1, 1),
    "latents: standard deviation": (0.3, 3),
    "decode of encode: PSNR in dB": (22, math.inf),
    "flow from noise: standard deviation": (0.5, 3),
    "generated latents: mean": (-1, 1),
    "generated latents: standard deviation": (0.3, 3),
}
"""What a trained model must show, by the name of the measurement. Random weights (profile tiny) are not held to it."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``passed`` is None for a measurement that nothing is expected of."""

    part: str
    text: str
    passed: bool | None

    def __str__(self) -> str:
        verdict = {True: "pass", False: "FAIL", None: "info"}[self.passed]
        return f"  {verdict}  {self.part}: {self.text}"


def check_weights(profile: Profile, device: str) -> Iterator[Finding]:
    """Check files, then every part that a profile has; a part that cannot be loaded or run is a failed finding."""
    bounds = {} if profile.name in TINY_PROFILES else PUBLISHED
    for need in needs(profile):
        yield from _check_files(need)
    clip = _synthetic_clip(profile.size)
    parts: list[tuple[str, Callable[[], dict[str, float]]]] = []
    if profile.caption.backend == "florence":
        parts.append(("caption", lambda: _measure_captioner(profile, clip, device)))
    if profile.geometry.backend == "da3":
        parts.append(("geometry", lambda: _measure_geometry(profile, clip, device)))
    if profile.generator.backend == "causal":
        parts.append(("text encoder", lambda: _measure_text(profile, device)))
        parts.append(("generator", lambda: _measure_generator(profile, clip, device)))
    if profile.generator.backend == "worldfm":
        parts.append(("generator", lambda: _measure_worldfm(profile, clip, device)))
    for part, measure in parts:
        try:
            measured = measure()
        except UserError as error:
            yield Finding(part, str(error), passed=False)
            continue
        finally:
            gc.collect()
        yield Finding(part, "loaded strictly and ran", passed=True)
        for name, value in measured.items():
            yield _judge(part, name, value, bounds.get(name))


def _judge(part: str, name: str, value: float, expected: tuple[float, float] | None) -> Finding:
    if not math.isfinite(value):
        return Finding(part, f"{name}: got {value}, expected a finite number", passed=False)
    if expected is None:
        return Finding(part, f"{name}: {value:.4g} (random weights: nothing is expected)", passed=None)
    low, high = expected
    return Finding(part, f"{name}: {value:.4g}, expected {low:g} to {high:g}", passed=low <= value <= high)


def _check_files(need: Need) -> Iterator[Finding]:
    """Compare sizes and SHA-256 with the table, for the files whose values are published."""
    if need.missing:
        yield Finding(need.what, f"missing {', '.join(map(str, need.missing))}", passed=False)
        return
    row = need.checkpoint
    known = [file for file in (row.files if row and "tiny" not in need.path.parts else ()) if file.sha256]
    for file in known:
        path = need.path / file.name
        if not path.is_file():
            continue
        size = path.stat().st_size
        with path.open("rb") as handle:
            same = size == file.size and hashlib.file_digest(handle, "sha256").hexdigest() == file.sha256
        said = "size and SHA-256 are the published ones"
        wrong = f"got {size} bytes or another SHA-256 than the published file of {file.size} bytes"
        yield Finding(need.what, f"{file.name}: {said if same else wrong}", passed=same)
    if not known:
        yield Finding(need.what, f"{need.path}: in place; no checksum is published for it", passed=None)


def _measure_captioner(profile: Profile, clip: Frames, device: str) -> dict[str, float]:
    captioner = factory.make_captioner(profile.caption, device)
    (caption,) = captioner.caption([clip[0]])
    return {"caption: words": len(caption.text.split())}


def _measure_geometry(profile: Profile, clip: Frames, device: str) -> dict[str, float]:
    backend = factory.make_geometry(profile.geometry, device)
    assert isinstance(backend, DepthAnything3), f"backend da3 is {type(backend).__name__}"
    with TemporaryDirectory(prefix="inspatio-doctor-") as name:
        frames = _Clip(clip[:3])
        backend.estimate_frames(frames, clip.shape[1:3], Path(name), lambda done, total: None)
        geometry = load_geometry(Path(name))
        depth = np.asarray(geometry.depth, np.float32)
        low, high = np.quantile(depth, [0.05, 0.95])
        width, focal = geometry.image_size[1], geometry.intrinsics[0, 0, 0]
        return {
            "depth: share of positive pixels": float((depth > 0).mean()),
            "depth: 95 % quantile over 5 % quantile": float(high / low) if low > 0 else math.inf,
            "field of view: degrees": math.degrees(2 * math.atan(width / 2 / focal)),
        }


def _measure_text(profile: Profile, device: str) -> dict[str, float]:
    encoder = TextEncoder.load(Path(profile.generator.wan_path), device=device)
    ours, other = (encoder.embed(text).float().mean(dim=0) for text in (PROMPT, "A storm at sea, at night."))
    return {
        "text: standard deviation": encoder.embed(PROMPT).float().std().item(),
        "text: distance of two prompts, relative": ((ours - other).norm() / ours.norm()).item(),
    }


@torch.inference_mode()
def _measure_generator(profile: Profile, clip: Frames, device: str) -> dict[str, float]:
    """Encode the clip, decode it again, and generate one block that sees it from where it was filmed."""
    config = profile.generator
    embeddings = TextEncoder.load(Path(config.wan_path), device=device).embed(PROMPT)
    renderer = factory.make_renderer(profile.render, device)
    generator = load_causal(
        config, profile.size, torch.device(device), prompts=lambda _: pad_embeddings(embeddings), renderer=renderer
    )
    dit, encoder, decoder = generator.dit, generator.encoder, generator.decoder

    video = torch.from_numpy(clip).permute(3, 0, 1, 2)[None].to(dit.device, dit.dtype) / 127.5 - 1
    latents = encoder.encode(video, encoder.start())
    decoded = decoder.decode(latents, decoder.start()).float().clamp(-1, 1)
    error = (decoded - video.float()).square().mean().item()

    schedule = Schedule.make(dit, config.steps, config.shift)
    text = dit.encode_text(pad_embeddings(embeddings))
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(len(schedule.sigmas), *latents.shape, generator=random).to(dit.device)
    loop = BlockLoop(dit, schedule, text)
    mask = pack_mask(torch.ones_like(video[:, :1]), first=True)
    condition = condition_channels(mask, latents)
    loop.prefill(latents)
    assert loop.cache is not None, "prefill fills the cache"
    flow = dit.denoise(noise[0], condition, schedule.steps[0], text, loop.cache)
    generated = loop.denoise(condition, noise)
    return {
        "latents: mean": latents.float().mean().item(),
        "latents: standard deviation": latents.float().std().item(),
        "decode of encode: PSNR in dB": 10 * math.log10(4 / error) if error else math.nan,
        "flow from noise: standard deviation": flow.float().std().item(),
        "generated latents: mean": generated.mean().item(),
        "generated latents: standard deviation": generated.std().item(),
    }


@torch.inference_mode()
def _measure_worldfm(profile: Profile, clip: Frames, device: str) -> dict[str, float]:
    """Encode two of the clip's pictures, decode one again, and generate one from the other as its reference."""
    renderer = factory.make_renderer(profile.render, device)
    generator = load_worldfm(profile.generator, profile.size, torch.device(device), renderer=renderer)
    images = to_images(clip[:: FRAMES - 1], generator.device)
    latents = generator.encoder(images)
    decoded = generator.decoder(latents[:1]).clamp(-1, 1)
    error = (decoded - images[:1]).square().mean().item()
    random, steps, first = torch.Generator().manual_seed(0), generator.options.steps, list[torch.Tensor]()

    def predict(noisy: torch.Tensor, step: int) -> torch.Tensor:
        first.append(generator.network(noisy, latents[:1], latents[1:], generator.schedule[step])[:, :LATENT_CHANNELS])
        return first[-1]

    def noise(step: int) -> torch.Tensor:
        return torch.randn(latents[:1].shape, generator=random).to(generator.device)

    generated = sample_frames(predict, noise, steps)
    return {
        "latents: mean": latents.mean().item(),
        "latents: standard deviation": latents.std().item(),
        "decode of encode: PSNR in dB": 10 * math.log10(4 / error) if error else math.nan,
        "flow from noise: standard deviation": first[0].std().item(),
        "generated latents: mean": generated.mean().item(),
        "generated latents: standard deviation": generated.std().item(),
    }


def _synthetic_clip(size: tuple[int, int]) -> Frames:
    """``t h w c`` uint8 frames: a red disc moves over a floor and a wall with soft stripes."""
    rows, columns = np.mgrid[: size[0], : size[1]] / size[0]
    wall = np.stack([0.6 + 0.1 * np.sin(9 * columns), 0.6 + 0.1 * rows, 0.7 - 0.2 * rows], axis=-1)
    floor = np.stack([0.5 * rows, 0.35 * rows, 0.2 + 0 * rows], axis=-1) + 0.05 * np.sin(40 / rows.clip(0.1))[..., None]
    picture = np.where((rows > 0.6)[..., None], floor, wall)
    frames = []
    for i in range(FRAMES):
        distance = np.hypot(rows - 0.6, columns - 0.6 - 0.02 * i)
        inside = 1 / (1 + np.exp((distance - 0.2) * 80))
        frames.append(picture + inside[..., None] * (np.array([0.8, 0.1, 0.1]) - picture))
    return (np.stack(frames).clip(0, 1) * 255).round().astype(np.uint8)


class _Clip:
    """Frames in memory as a source of frames."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, indices: Sequence[int]) -> Frames:
        return self._frames[list(indices)]
