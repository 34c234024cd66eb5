"""About how much disk a run fills, told before it begins, and whether it fits.

The bytes per pixel were measured (docs/benchmarks.md) on the clip with the most detail, so that most runs need less.
Results that are replaced count in full: the old files stay until the new ones are whole. Not counted are reports and
exports, and what Depth Anything 3 keeps on disk while it works on a clip (twice its maps).
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from inspatio.errors import ClipError, MissingWeightsError
from inspatio.geometry.motion.backend import MAP_LONGEST
from inspatio.pipeline.log import facts
from inspatio.pipeline.stage import Stage
from inspatio.pipeline.workspace import ClipState
from inspatio.settings import StageName

BYTES_PER_PIXEL: dict[StageName, tuple[float, float]] = {"render": (0.14, 0.25), "generate": (0.043, 0.086)}
"""Of a frame in the files of a stage: at 832x480 pixels and at 160x96, where codecs save less. Sizes between these lie
between them by the logarithm of their pixels, others take the nearer one."""
_LARGE, _SMALL = 480 * 832, 96 * 160
KEYFRAME = 7
"""How many other frames take as much as a keyframe, of which there is one every two seconds: it counts at low rates."""
USUAL_RATE = 24
"""Frames per second of the clips that were measured."""
LATENT_BYTES_PER_PIXEL = 0.125
"""Of a source frame in half precision: 16 numbers for 8x8 pixels of four frames; networks that encode keep them."""
MAP_BYTES_PER_PIXEL = {"da3": 7, "motion": 4, "files": 4}
"""Of depth (float32) and, by Depth Anything 3, of confidence (float16) and sky (uint8)."""
LONG_RUN = 1e9
"""Bytes from which a run says what it needs though it fits."""

_log = logging.getLogger(__name__)


def bytes_needed(stage: Stage, state: ClipState) -> float:
    """About how many bytes the files of a clip's result take."""
    frames, job = stage.units(state), stage.job
    if stage.name == "geometry":
        return _geometry_bytes(stage, state)
    if stage.name not in BYTES_PER_PIXEL:
        return 0
    pixels = math.prod(job.profile.size)  # turned for a portrait clip it has as many
    large, small = BYTES_PER_PIXEL[stage.name]
    share = min(max(math.log(_LARGE / pixels) / math.log(_LARGE / _SMALL), 0), 1)
    panels = 4 if stage.name == "generate" and job.comparison else 1  # three are in the comparison
    low_rate = _frame_cost(Fraction(state.facts.frame_rate)) / _frame_cost(Fraction(USUAL_RATE))
    encoded = stage.name == "generate" and job.profile.generator.backend == "causal"
    latents = LATENT_BYTES_PER_PIXEL if encoded else 0
    return frames * pixels * ((large + share * (small - large)) * panels * low_rate + latents)


def _frame_cost(rate: Fraction) -> float:
    """What a frame takes on average, in units of one that is no keyframe."""
    return 1 + (KEYFRAME - 1) / max(round(2 * rate), 1)


def _geometry_bytes(stage: Stage, state: ClipState) -> float:
    video, config = state.facts, stage.job.profile.geometry
    try:
        backend = stage.made_from(state)["inputs"].get("backend")
    except (ClipError, MissingWeightsError):  # processing the clip will report it
        backend = config.backend
    if backend == "plane":  # one map for all frames
        return video.height * video.width * 4
    # Imported maps may have any size; the source's is the largest that is usual.
    longest = {"da3": config.longest, "motion": MAP_LONGEST}.get(backend, math.inf)
    scale = min(1.0, longest / max(video.height, video.width))
    return video.frame_count * video.height * video.width * scale**2 * MAP_BYTES_PER_PIXEL.get(backend, 7)


def log_disk_use(work: Mapping[StageName, tuple[Stage, Sequence[ClipState]]], *, always: bool = False) -> None:
    """Log what the clips to do will take, and warn where it is more than what is free.

    A run that fits and is not long is told ``always`` only.
    """
    needed: dict[StageName, float] = {
        name: sum(bytes_needed(stage, state) for state in clips) for name, (stage, clips) in work.items()
    }
    total = sum(needed.values())
    if not total:
        return
    parts = ", ".join(f"{name} {size_text(size)}" for name, size in needed.items() if size)
    level = logging.INFO if always or total >= LONG_RUN else logging.DEBUG
    _log.log(level, "%8s: about %s will be written (%s)", "disk", size_text(total), parts, extra=facts("disk"))
    for folders, size in _by_device(work, needed):
        free = shutil.disk_usage(_there(folders[0])).free
        if size > free:
            shown = " and ".join(map(str, folders))
            _log.warning(
                "%8s: about %s will be written to %s, where %s are free: it is likely not to fit. "
                "Free some space or choose other folders.",
                "disk",
                size_text(size),
                shown,
                size_text(free),
            )


def size_text(size: float) -> str:
    """A number of bytes for people, with two digits or more."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= length:
            return f"{size / length:.{0 if size >= 10 * length else 1}f} {unit}"
    return f"{size / 1e3:.0f} kB"


def _by_device(
    work: Mapping[StageName, tuple[Stage, Sequence[ClipState]]], needed: Mapping[StageName, float]
) -> list[tuple[list[Path], float]]:
    """The folders that are written to and how much, those of one file system together."""
    found: dict[int, tuple[list[Path], float]] = {}
    for name, (stage, _) in work.items():
        folder = stage.workspace.folder_of(name)
        device = _there(folder).stat().st_dev
        folders, size = found.get(device, ([], 0.0))
        found[device] = ([*folders, *([folder] if folder not in folders else [])], size + needed[name])
    return list(found.values())


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
